"""Deformable RoI pooling (arXiv 1703.06211): RoIAlign with an offset for each bin."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .autograd import gradients, widen
from .bilinear import corners


def _pool(
    input: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Tensor:
    """Return the averages of the bins, (N, C, *size), computed by `F.embedding_bag`.

    The pixels are the embeddings; a bag contains the pixels of a bin, with their weights.
    """
    device, rois = rois.device, rois.to(input.dtype)
    starts = rois[:, [2, 1]] * spatial_scale - 0.5  # (N, 2), y and x
    lengths = (rois[:, [4, 3]] - rois[:, [2, 1]]) * spatial_scale
    bins = lengths / rois.new_tensor(size)
    samples = bins.ceil().clamp(min=0).long()
    if sampling_ratio > 0:
        samples = torch.full_like(samples, sampling_ratio)
    position = torch.stack(
        torch.meshgrid(*(torch.arange(n, device=device) for n in size), indexing='ij'), -1
    )
    corner = starts[:, None, None] + position * bins[:, None, None]  # (N, *size, 2)
    if offset is not None:
        corner = corner + gamma * lengths[:, None, None] * offset.permute(0, 2, 3, 1).flip(-1)
    corner = corner.flatten(0, 2)  # (bins of all regions, 2)

    region = torch.arange(len(rois), device=device).repeat_interleave(size[0] * size[1])
    counts = samples.prod(1)[region]
    first = counts.cumsum(0) - counts
    bag = torch.arange(len(counts), device=device).repeat_interleave(counts)
    number = torch.arange(len(bag), device=device) - first[bag]  # of the sample in its bag
    region = region[bag]
    grid = samples[region]
    step = torch.stack([number // grid[:, 1], number % grid[:, 1]], -1) + 0.5
    y, x = (corner[bag] + step * bins[region] / grid).unbind(1)

    channels, height, width = input.shape[1:]
    pixels, weights = corners(y, x, height, width)
    pixels = pixels + (rois[region, 0].long() * height * width)[:, None]
    weights = weights / counts[bag][:, None]
    output = F.embedding_bag(
        pixels.flatten(),
        input.permute(0, 2, 3, 1).reshape(-1, channels),
        4 * first,
        mode='sum',
        per_sample_weights=weights.flatten(),
    )
    return output.view(len(rois), *size, channels).permute(0, 3, 1, 2)


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Pool each region of interest to a fixed size, with shifted bins.

    Args:
        input: (B, C, H, W).
        rois: (N, 5): index of the image, x1, y1, x2, y2.
        offset: (N, 2, pooled_height, pooled_width), x before y, relative to the size of the region
            times `gamma`; empty for none.
        output: (N, C, pooled_height, pooled_width), is overwritten.
        pooled_height: Height of the output.
        pooled_width: Width of the output.
        spatial_scale: Size of the map relative to the image.
        sampling_ratio: Samples per bin and axis; 0: as many as the bin has pixels, rounded up.
        gamma: Factor of the offsets.
    """
    size = pooled_height, pooled_width
    shift = widen(offset) if offset.numel() else None
    output.copy_(_pool(widen(input), rois, shift, size, spatial_scale, sampling_ratio, gamma))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Write the gradients of `deform_roi_pool_forward` into `grad_input` and `grad_offset`.

    Deviation: a sample that is moved to the edge of the map has no gradient for its offset in the
    direction of the move; mmcv's kernel extrapolates there.
    """
    size = pooled_height, pooled_width

    def pool(input: Tensor, offset: Tensor | None = None) -> Tensor:
        return _pool(input, rois, offset, size, spatial_scale, sampling_ratio, gamma)

    tensors = [input, offset] if offset.numel() else [input]
    for buffer, gradient in zip([grad_input, grad_offset], gradients(pool, tensors, grad_output)):
        buffer.copy_(gradient)
