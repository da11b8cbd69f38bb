"""RoIAlign (arXiv 1703.06870) on `torchvision.ops.roi_align`, with average and maximum pooling."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .autograd import gradients, widen
from .bilinear import corners

#: value of an empty bin with maximum pooling, and its position, outside of the map
_EMPTY = -10000.0
_NOWHERE = -2.0


def _average(
    rois: Tensor, size: tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool
) -> Callable[[Tensor], Tensor]:
    from torchvision.ops import roi_align

    return lambda input: roi_align(
        input, rois.to(input.dtype), size, spatial_scale, sampling_ratio, aligned
    )


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool each region of interest to a fixed size.

    Args:
        input: (B, C, H, W).
        rois: (N, 5): index of the image, x1, y1, x2, y2.
        output: (N, C, aligned_height, aligned_width), is overwritten.
        argmax_y: With maximum pooling, shape of `output`; positions of the maxima are written.
        argmax_x: As `argmax_y`.
        aligned_height: Height of the output.
        aligned_width: Width of the output.
        spatial_scale: Size of the map relative to the image.
        sampling_ratio: Samples per bin and axis; 0: as many as the bin has pixels, rounded up.
        pool_mode: 0: maximum, 1: average.
        aligned: Whether pixels have their centers at .5.
    """
    size = aligned_height, aligned_width
    if pool_mode == 1:
        pool = _average(rois, size, spatial_scale, sampling_ratio, aligned)
        output.copy_(pool(widen(input)))
        return
    height, width = input.shape[2:]
    maps, boxes = widen(input).flatten(2), widen(rois)
    starts = boxes[:, [2, 1]] * spatial_scale - 0.5 * aligned
    lengths = (boxes[:, [4, 3]] - boxes[:, [2, 1]]) * spatial_scale
    bins = (lengths if aligned else lengths.clamp(min=1)) / boxes.new_tensor(size)
    output.fill_(_EMPTY)
    for index, (image, bin_size) in enumerate(zip(boxes[:, 0].long().tolist(), bins.tolist())):
        samples = [
            sampling_ratio if sampling_ratio > 0 else math.ceil(length) for length in bin_size
        ]
        if min(samples) > 0:
            y, x = (
                starts[index, axis]
                + (torch.arange(size[axis] * count, device=boxes.device) + 0.5)
                * (bins[index, axis] / count)
                for axis, count in enumerate(samples)
            )
            rows, columns = torch.meshgrid(y, x, indexing='ij')
            pixels, weights = corners(rows, columns, height, width)
            values = (maps[image][:, pixels] * weights).sum(-1)  # (C, rows, columns)
            values = values.unflatten(2, (-1, samples[1])).unflatten(1, (-1, samples[0]))
            values, best = values.transpose(2, 3).flatten(3).max(-1)
            output[index] = values.to(output.dtype)
            top = torch.arange(size[0], device=boxes.device)[:, None] * samples[0]
            left = torch.arange(size[1], device=boxes.device) * samples[1]
            argmax_y[index] = y[top + best // samples[1]].to(argmax_y.dtype)
            argmax_x[index] = x[left + best % samples[1]].to(argmax_x.dtype)
        else:
            argmax_y[index] = argmax_x[index] = _NOWHERE


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of `roi_align_forward` for the input into `grad_input`.

    Deviation: with maximum pooling, mmcv omits the gradient of samples at exactly y = -1.
    """
    if pool_mode == 1:
        size = aligned_height, aligned_width
        pool = _average(rois, size, spatial_scale, sampling_ratio, aligned)
        # The gradient does not depend on the values of the input.
        grad_input.copy_(gradients(pool, (grad_input,), grad_output)[0])
        return
    channels, height, width = grad_input.shape[1:]
    pixels, weights = corners(widen(argmax_y), widen(argmax_x), height, width)
    maps = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)  # (N, C)
    pixels = pixels + (maps * height * width)[..., None, None, None]
    gradient = torch.zeros_like(grad_input, dtype=weights.dtype).flatten()
    values = weights * widen(grad_output)[..., None]
    gradient.index_add_(0, pixels.flatten(), values.flatten())
    grad_input.copy_(gradient.view_as(grad_input))
