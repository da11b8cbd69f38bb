"""Bilinear interpolation as in RoIAlign."""

import torch
from torch import Tensor


def corners(y: Tensor, x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the four pixels around each point and their weights.

    A point up to one pixel outside of the map is moved to the edge; a point beyond has weight 0.

    Args:
        y: Vertical positions in pixels, any shape.
        x: Horizontal positions, same shape.
        height: Size of the map.
        width: Size of the map.

    Returns:
        Indices (…, 4) into the flattened map, int64, and weights (…, 4).
    """
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.detach().floor(), x.detach().floor()
    below, right = y - top, x - left
    weights = torch.stack(
        [(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right], -1
    )
    rows = torch.stack([top, top, top + 1, top + 1], -1).clamp(max=height - 1).long()
    columns = torch.stack([left, left + 1, left, left + 1], -1).clamp(max=width - 1).long()
    return rows * width + columns, weights * inside[..., None]
