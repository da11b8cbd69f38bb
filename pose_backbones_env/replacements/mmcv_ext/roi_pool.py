"""RoIPool (arXiv 1504.08083), with mmcv's bins, which differ from those of torchvision."""

import torch
from torch import Tensor

from .autograd import widen


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Compute the maximum of each bin of each region of interest; 0 for an empty bin.

    A region ends at (x2 + 1, y2 + 1) and is not rounded; the bins are rounded outwards. The bins
    are computed one by one, which is slow for many regions.

    Args:
        input: (B, C, H, W).
        rois: (N, 5): index of the image, x1, y1, x2, y2.
        output: (N, C, pooled_height, pooled_width), is overwritten.
        argmax: Shape of `output`, int32; receives the index of the pixel with the maximum in the
            flattened map, or -1.
        pooled_height: Height of the output.
        pooled_width: Width of the output.
        spatial_scale: Size of the map relative to the image.
    """
    height, width = input.shape[2:]
    output.zero_()
    argmax.fill_(-1)
    boxes = widen(rois)
    starts = boxes[:, [2, 1]] * spatial_scale
    lengths = (boxes[:, [4, 3]] + 1) * spatial_scale - starts
    edges = []
    for axis, (count, limit) in enumerate([(pooled_height, height), (pooled_width, width)]):
        index = torch.arange(count + 1, device=rois.device, dtype=boxes.dtype)
        positions = index * (lengths[:, axis, None] / count) + starts[:, axis, None]
        low, high = positions[:, :-1].floor(), positions[:, 1:].ceil()
        edges.append(torch.stack([low, high], -1).clamp(0, limit).long().tolist())
    valid = (lengths > 0).all(1).tolist()
    for n, image in enumerate(rois[:, 0].long().tolist()):
        if not valid[n]:
            continue
        for row, (top, bottom) in enumerate(edges[0][n]):
            for column, (left, right) in enumerate(edges[1][n]):
                if bottom <= top or right <= left:
                    continue
                values, best = input[image, :, top:bottom, left:right].flatten(1).max(1)
                output[n, :, row, column] = values
                size = right - left
                argmax[n, :, row, column] = (top + best // size) * width + left + best % size


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the gradient of `roi_pool_forward` for the input into `grad_input`."""
    channels, height, width = grad_input.shape[1:]
    maps = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)  # (N, C)
    pixels = (argmax.long() + (maps * height * width)[..., None, None])[argmax >= 0]
    gradient = widen(torch.zeros_like(grad_input)).flatten()
    gradient.index_add_(0, pixels, widen(grad_output)[argmax >= 0])
    grad_input.copy_(gradient.view_as(grad_input))
