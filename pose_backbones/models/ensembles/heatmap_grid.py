"""Where pixels of crops and cells of heat maps lie in a person's box.

A position in the box is a number from 0 (its left or upper edge) to 1 (its
right or lower edge). MMPose has several conventions; with index `i` on an
axis of `n`, the position is `(i + offset) / length`:

==========================  ==========  ======
                            length      offset
==========================  ==========  ======
crop of TopdownAffine       n           0
the same, `use_udp=True`    n - 1       0
map of MSRAHeatmap          n           0
map of UDPHeatmap           n - 1       0
map of MegviiHeatmap        n           1/2
==========================  ==========  ======

The codec's decoding and `TopdownPoseEstimator.add_pred_to_datasample` imply
these; maps and crops of several conventions line up when they are read at
the same positions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from mmpose.codecs import MegviiHeatmap, MSRAHeatmap, UDPHeatmap
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor
from torch.nn import functional as F

CODECS = (MSRAHeatmap, UDPHeatmap, MegviiHeatmap)
#: Slope of the cubic kernel at 1; with -1/2, parabolas are kept exactly.
#: See Keys, Cubic convolution interpolation (1981).
_SLOPE = -0.5


@dataclass(frozen=True)
class SamplingGrid:
    """Points of a crop or a heat map in a box; pairs are (x, y).

    Args:
        size: Number of points.
        length: See the table above.
        offset: See the table above.
    """

    size: tuple[int, int]
    length: tuple[int, int]
    offset: float = 0.0

    def indices_in(self, other: 'SamplingGrid', zoom: np.ndarray) -> list[np.ndarray]:
        """Where these points are among another grid's.

        Args:
            other: Of a box with the same centre.
            zoom: Size of this box, in sizes of the other: (N, 2).

        Returns:
            Indices, no whole numbers, along x (N, width) and y (N, height).
        """
        found = []
        for axis in (0, 1):
            place = (np.arange(self.size[axis]) + self.offset) / self.length[axis]
            place = 0.5 + (place - 0.5) * zoom[:, axis, None]
            found.append(place * other.length[axis] - other.offset)
        return found


def crop_grid(size: tuple[int, int], use_udp: bool) -> SamplingGrid:
    """The pixels of a crop.

    Args:
        size: Width and height.
        use_udp: As in `TopdownAffine`.

    Returns:
        Their grid.
    """
    width, height = size
    less = 1 if use_udp else 0
    return SamplingGrid((width, height), (width - less, height - less))


def map_grid(codec: BaseKeypointCodec) -> SamplingGrid:
    """The cells of a codec's heat maps; of those in `CODECS`.

    Args:
        codec: Has `heatmap_size`.

    Returns:
        Their grid.
    """
    width, height = codec.heatmap_size
    grid = crop_grid((width, height), isinstance(codec, UDPHeatmap))
    if isinstance(codec, MegviiHeatmap):
        grid = SamplingGrid(grid.size, grid.length, 0.5)
    return grid


def map_unit(codec: BaseKeypointCodec) -> float:
    """The value of a heat map where it is sure of a key point."""
    return 255.0 if isinstance(codec, MegviiHeatmap) else 1.0


def _is_same(target: SamplingGrid, source: SamplingGrid, zoom: np.ndarray) -> bool:
    return target == source and bool((zoom == 1).all())


def resample_crops(
    crops: Tensor, source: SamplingGrid, target: SamplingGrid, zoom: np.ndarray
) -> Tensor:
    """Cut smaller crops out of crops.

    Pixels are interpolated as `TopdownAffine` does, between the nearest four
    and without smoothing.

    Args:
        crops: (N, C, height, width) on `source`.
        source: SamplingGrid of what is given.
        target: SamplingGrid of what is asked for.
        zoom: Size of the box of `target`, in sizes of that of `source`,
            (N, 2), at most 1.

    Returns:
        (N, C, height, width) on `target`; `crops` itself where nothing
        changes.
    """
    if _is_same(target, source, zoom):
        return crops
    places = []
    for index, count in zip(target.indices_in(source, zoom), source.size):
        place = index * (2 / (count - 1)) - 1  # as grid_sample counts
        places.append(torch.as_tensor(place, dtype=crops.dtype, device=crops.device))
    x, y = places
    shape = len(crops), target.size[1], target.size[0]
    grid = torch.stack((x[:, None, :].expand(shape), y[:, :, None].expand(shape)), dim=-1)
    return F.grid_sample(crops, grid, mode='bilinear', padding_mode='border', align_corners=True)


def resample_maps(
    maps: Tensor, source: SamplingGrid, target: SamplingGrid, zoom: np.ndarray
) -> Tensor:
    """Read heat maps at other points.

    By cubic interpolation, which keeps the place of a peak between cells.
    Beyond the outermost cells, a map goes on for one cell, then it is 0.

    Args:
        maps: (N, K, height, width) on `source`.
        source: SamplingGrid of what is given.
        target: SamplingGrid of what is asked for.
        zoom: Size of the box of `target`, in sizes of that of `source`,
            (N, 2).

    Returns:
        (N, K, height, width) on `target`; `maps` itself where nothing
        changes.
    """
    if _is_same(target, source, zoom):
        return maps
    x, y = (
        torch.as_tensor(_cubic(index, count), dtype=maps.dtype, device=maps.device)
        for index, count in zip(target.indices_in(source, zoom), source.size)
    )
    return y[:, None] @ maps @ x[:, None].transpose(-1, -2)


def _cubic(index: np.ndarray, count: int) -> np.ndarray:
    """What each of `count` cells adds to the values at indices.

    Args:
        index: (N, n).
        count: Number of cells.

    Returns:
        (N, n, count).
    """
    inside = (index > -1) & (index < count)
    index = index.clip(0, count - 1)
    apart = np.abs(index[..., None] - np.arange(-1, count + 1))
    near = ((_SLOPE + 2) * apart - (_SLOPE + 3)) * apart**2 + 1
    far = _SLOPE * (((apart - 5) * apart + 8) * apart - 4)
    shares = np.where(apart <= 1, near, np.where(apart < 2, far, 0))
    # The outermost cells stand for what is beyond them.
    shares[..., 1] += shares[..., 0]
    shares[..., -2] += shares[..., -1]
    return shares[..., 1:-1] * inside[..., None]
