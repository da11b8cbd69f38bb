"""Sampling grids of crops and heatmaps, in positions of the bounding box of a person.

A position in the box is a number from 0 (left or top edge) to 1 (right or bottom edge). MMPose has
several conventions. On an axis of `n` points, the position of index `i` is
`(i + offset) / length`:

==========================  ==========  ======
                            length      offset
==========================  ==========  ======
crop of TopdownAffine       n           0
the same, `use_udp=True`    n - 1       0
map of MSRAHeatmap          n           0
map of UDPHeatmap           n - 1       0
map of MegviiHeatmap        n           1/2
==========================  ==========  ======

These conventions follow from the decoding of the codecs and from
`TopdownPoseEstimator.add_pred_to_datasample`. Heatmaps and crops of different conventions are
aligned if they are sampled at the same positions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from mmpose.codecs import MegviiHeatmap, MSRAHeatmap, UDPHeatmap
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor
from torch.nn import functional as F

CODECS = (MSRAHeatmap, UDPHeatmap, MegviiHeatmap)
#: Slope of the cubic kernel at 1; with -1/2, parabolas are reproduced exactly.
#: See Keys, Cubic convolution interpolation (1981).
_SLOPE = -0.5


@dataclass(frozen=True)
class SamplingGrid:
    """Sampling points of a crop or a heatmap in a box; pairs are (x, y).

    Args:
        size: Number of points.
        length: See the table above.
        offset: See the table above.
    """

    size: tuple[int, int]
    length: tuple[int, int]
    offset: float = 0.0

    def indices_in(self, other: 'SamplingGrid', zoom: np.ndarray) -> list[np.ndarray]:
        """Return the positions of these points as fractional indices of another grid.

        Args:
            other: Grid of a box with the same center.
            zoom: Size of this box relative to the other one, (N, 2).

        Returns:
            Fractional indices along x (N, width) and y (N, height).
        """
        indices = []
        for axis in (0, 1):
            position = (np.arange(self.size[axis]) + self.offset) / self.length[axis]
            position = 0.5 + (position - 0.5) * zoom[:, axis, None]
            indices.append(position * other.length[axis] - other.offset)
        return indices


def crop_grid(size: tuple[int, int], use_udp: bool) -> SamplingGrid:
    """Return the grid of the pixels of a crop.

    Args:
        size: Width and height.
        use_udp: As in `TopdownAffine`.
    """
    width, height = size
    border = 1 if use_udp else 0
    return SamplingGrid((width, height), (width - border, height - border))


def map_grid(codec: BaseKeypointCodec) -> SamplingGrid:
    """Return the grid of the cells of a codec's heatmaps.

    Args:
        codec: An instance of one of `CODECS`.
    """
    width, height = codec.heatmap_size
    grid = crop_grid((width, height), isinstance(codec, UDPHeatmap))
    if isinstance(codec, MegviiHeatmap):
        grid = SamplingGrid(grid.size, grid.length, 0.5)
    return grid


def map_unit(codec: BaseKeypointCodec) -> float:
    """Return the maximum value of the target heatmaps of a codec."""
    return 255.0 if isinstance(codec, MegviiHeatmap) else 1.0


def _is_same(target: SamplingGrid, source: SamplingGrid, zoom: np.ndarray) -> bool:
    return target == source and bool((zoom == 1).all())


def resample_crops(
    crops: Tensor, source: SamplingGrid, target: SamplingGrid, zoom: np.ndarray
) -> Tensor:
    """Resample crops to smaller crops.

    The interpolation is bilinear without smoothing, as in `TopdownAffine`.

    Args:
        crops: (N, C, height, width) on `source`.
        source: Grid of the input.
        target: Grid of the output.
        zoom: Size of the box of `target` relative to that of `source`, (N, 2), at most 1.

    Returns:
        (N, C, height, width) on `target`; `crops` itself if the grids and boxes are the same.
    """
    if _is_same(target, source, zoom):
        return crops
    coordinates = []
    for index, count in zip(target.indices_in(source, zoom), source.size):
        values = index * (2 / (count - 1)) - 1  # coordinates of grid_sample
        coordinates.append(torch.as_tensor(values, dtype=crops.dtype, device=crops.device))
    x, y = coordinates
    shape = len(crops), target.size[1], target.size[0]
    grid = torch.stack((x[:, None, :].expand(shape), y[:, :, None].expand(shape)), dim=-1)
    return F.grid_sample(crops, grid, mode='bilinear', padding_mode='border', align_corners=True)


def resample_maps(
    maps: Tensor, source: SamplingGrid, target: SamplingGrid, zoom: np.ndarray
) -> Tensor:
    """Resample heatmaps to another grid.

    The interpolation is cubic, which preserves the position of a peak between cells. Outside, the
    outermost cells are repeated once; farther away, the value is 0.

    Args:
        maps: (N, K, height, width) on `source`.
        source: Grid of the input.
        target: Grid of the output.
        zoom: Size of the box of `target` relative to that of `source`, (N, 2).

    Returns:
        (N, K, height, width) on `target`; `maps` itself if the grids and boxes are the same.
    """
    if _is_same(target, source, zoom):
        return maps
    x, y = (
        torch.as_tensor(_cubic(index, count), dtype=maps.dtype, device=maps.device)
        for index, count in zip(target.indices_in(source, zoom), source.size)
    )
    return y[:, None] @ maps @ x[:, None].transpose(-1, -2)


def _cubic(index: np.ndarray, count: int) -> np.ndarray:
    """Return the interpolation weights of `count` cells at fractional indices.

    Args:
        index: (N, n).
        count: Number of cells.

    Returns:
        (N, n, count).
    """
    inside = (index > -1) & (index < count)
    index = index.clip(0, count - 1)
    distance = np.abs(index[..., None] - np.arange(-1, count + 1))
    near = ((_SLOPE + 2) * distance - (_SLOPE + 3)) * distance**2 + 1
    far = _SLOPE * (((distance - 5) * distance + 8) * distance - 4)
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
    # The outermost cells are repeated outside the map.
    weights[..., 1] += weights[..., 0]
    weights[..., -2] += weights[..., -1]
    return weights[..., 1:-1] * inside[..., None]
