"""Decode the outputs of a batch with PyTorch, on their device.

MMPose decodes one person at a time with NumPy and OpenCV. The modules here compute the same for a
batch, with operations that can be exported, see `pose_backbones.deploy`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmpose.codecs import (
    IntegralRegressionLabel,
    MegviiHeatmap,
    MSRAHeatmap,
    RegressionLabel,
    SimCCLabel,
    UDPHeatmap,
)
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor, nn

from ..errors import ConfigError
from .coarse_to_fine_heatmap import BORDER, MIN_SCORE, PEAK, CoarseToFineHeatmap
from .map_operations import (
    INVALID,
    GaussianBlur,
    find_peaks,
    has_peak,
    last_cell,
    newton_step,
    read_cells,
    shift_directions,
    unravel,
)

#: keypoints (N, K, 2), x and y in pixels of the input; scores (N, K)
Decoded = tuple[Tensor, Tensor]


def batched_decoder(codec: BaseKeypointCodec) -> nn.Module:
    """Return a module that decodes a batch as the codec decodes each sample.

    Args:
        codec: Codec of a top-down model.

    Returns:
        A module from the outputs of the head, as they are passed to MMPose's `BaseHead.decode`, to
        keypoints (N, K, 2) in pixels of the input, and scores (N, K). It computes in float32.


    Raises:
        ConfigError: If the codec is not supported.
    """
    # The exact type: a subclass may decode in another way.
    factory = _FACTORIES.get(type(codec))
    if factory is None:
        supported = ', '.join(sorted(kind.__name__ for kind in _FACTORIES))
        raise ConfigError(
            f'the codec {type(codec).__name__} cannot be decoded in batches: expected {supported}'
        )
    return factory(codec)


class HeatmapDecoder(nn.Module):
    """Base class of decoders of heatmaps (N, K, H, W).

    Args:
        scale: Pixels of the input per cell, along x and y.
    """

    scale: Tensor

    def __init__(self, scale: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer('scale', torch.tensor(np.array(scale), dtype=torch.float32))

    def forward(self, maps: Tensor) -> Decoded:
        """Decode heatmaps (N, K, H, W)."""
        raise NotImplementedError


class QuarterShiftDecoder(HeatmapDecoder):
    """`MSRAHeatmap`: a quarter of a cell from the peak towards the higher neighbour."""

    def forward(self, maps: Tensor) -> Decoded:
        """Decode heatmaps (N, K, H, W)."""
        maps = maps.float()
        points, scores = find_peaks(maps)
        shift = shift_directions(maps, points, low=(1, 0))
        return (points + 0.25 * shift) * self.scale, scores


class BlurredDecoder(HeatmapDecoder):
    """Base class of decoders that smooth the maps.

    Args:
        scale: See `HeatmapDecoder`.
        blur_kernel_size: Side of the kernel in cells, odd.
    """

    def __init__(self, scale: Sequence[float], blur_kernel_size: int) -> None:
        super().__init__(scale)
        self.blur = GaussianBlur(blur_kernel_size)


class DarkDecoder(BlurredDecoder):
    """`MSRAHeatmap` with `unbiased`: a Newton step on the logarithm of the smoothed map.

    Paper: https://arxiv.org/abs/1910.06278
    """

    def forward(self, maps: Tensor) -> Decoded:
        """Decode heatmaps (N, K, H, W)."""
        maps = maps.float()
        points, scores = find_peaks(maps)
        maps = self.blur.keep_maximum(maps).clamp(min=1e-10).log()
        height, width = maps.shape[-2:]
        x, y = points.unbind(-1)
        inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)

        def at(dx: int, dy: int) -> Tensor:
            return read_cells(maps, points, dx, dy)

        center = at(0, 0)
        offset = newton_step(
            0.5 * (at(1, 0) - at(-1, 0)),
            0.5 * (at(0, 1) - at(0, -1)),
            0.25 * (at(2, 0) - 2 * center + at(-2, 0)),
            0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)),
            0.25 * (at(0, 2) - 2 * center + at(0, -2)),
        )
        return (points + torch.where(inside[..., None], offset, 0.0)) * self.scale, scores


class UDPDecoder(BlurredDecoder):
    """`UDPHeatmap` of type `gaussian`.

    Paper: https://arxiv.org/abs/1911.07524
    """

    def forward(self, maps: Tensor) -> Decoded:
        """Decode heatmaps (N, K, H, W)."""
        maps = maps.float()
        points, scores = find_peaks(maps)
        maps = self.blur.keep_maximum(maps).clamp(1e-3, 50.0).log()
        width = maps.shape[-1] + 2
        padded = F.pad(maps, (1, 1, 1, 1), 'replicate').flatten(2)
        x, y = points.long().unbind(-1)
        # As in MMPose, the cell of a map without a positive value is the corner of the padded map,
        # and its neighbours are partly in the previous map.
        first = torch.arange(padded.shape[1], device=maps.device) * padded.shape[2]
        index = first + (y + 1) * width + x + 1
        padded = padded.flatten(1)

        def at(offset: int) -> Tensor:
            return padded.gather(-1, (index + offset) % padded.shape[1]).double()

        center, right, left, below, above = map(at, (0, 1, -1, width, -width))
        epsilon = torch.finfo(torch.float32).eps
        offset = newton_step(
            0.5 * (right - left),
            0.5 * (below - above),
            right - 2 * center + left + epsilon,
            0.5 * (at(width + 1) - right - below + 2 * center - left - above + at(-width - 1)),
            below - 2 * center + above + epsilon,
        )
        # A map of zeros is scaled by 0 / 0.
        return (points + torch.where(offset.isfinite(), offset, 0.0)) * self.scale, scores


class UDPOffsetDecoder(HeatmapDecoder):
    """`UDPHeatmap` of type `combined`: for each keypoint, a classification map and two offsets.

    Args:
        scale: See `HeatmapDecoder`.
        blur_kernel_size: As in the codec.
        radius: Factor of the offsets, in cells.
    """

    def __init__(self, scale: Sequence[float], blur_kernel_size: int, radius: float) -> None:
        super().__init__(scale)
        self.blur = GaussianBlur(2 * blur_kernel_size + 1, 'reflect')
        self.radius = radius

    def forward(self, maps: Tensor) -> Decoded:
        """Decode maps (N, 3 * K, H, W)."""
        maps = maps.float()
        points, scores = find_peaks(self.blur(maps[:, ::3]))
        offsets = torch.stack([read_cells(maps[:, i::3], points) for i in (1, 2)], -1)
        offsets = torch.where(has_peak(points), offsets * self.radius, 0.0)
        return (points + offsets) * self.scale, scores


class MegviiDecoder(BlurredDecoder):
    """MMPose's `MegviiHeatmap`: a quarter of a cell from the peak of the smoothed map."""

    def forward(self, maps: Tensor) -> Decoded:
        """Decode heatmaps (N, K, H, W)."""
        maps = self.blur.keep_maximum(maps.float())
        points, scores = find_peaks(maps)
        inside = ((points > 1) & (points < last_cell(maps))).all(-1)
        shift = 0.25 * shift_directions(maps, points, low=(1, 1)) + 0.5
        return (
            points + torch.where(inside[..., None], shift, 0.0)
        ) * self.scale, scores / PEAK + MIN_SCORE


class CoarseToFineDecoder(BlurredDecoder):
    """`CoarseToFineHeatmap`: a quarter of a cell from the peak towards the second highest cell."""

    def forward(self, maps: Tensor) -> Decoded:
        """Decode heatmaps (N, K, H, W)."""
        maps = maps.float()
        flat = self.blur(F.pad(maps, (BORDER,) * 4)).flatten(2)
        first = flat.argmax(-1, keepdim=True)
        second = flat.scatter(-1, first, 0.0).argmax(-1, keepdim=True)
        span = maps.shape[-1] + 2 * BORDER
        peak, other = (unravel(index[..., 0], span) - BORDER for index in (first, second))
        direction = other - peak
        length = direction.square().sum(-1, keepdim=True).sqrt().clamp(min=1)
        limits = last_cell(maps)
        cells = torch.minimum((peak + 0.25 * direction / length).clamp(min=0), limits)
        values = read_cells(maps, cells.round())
        # Smoothing spreads a NaN, and the peak may then be at a cell with another value.
        values = values + 0 * maps.sum((-2, -1))
        return (cells + 0.5) * self.scale, values / PEAK + MIN_SCORE


class SimCCDecoder(nn.Module):
    """`SimCCLabel`: the peaks of a vector along x and one along y.

    Args:
        split_ratio: Bins per pixel of the input.
        blur_kernel_sizes: Sizes of the kernels along x and y for `use_dark`; None: no refinement.
    """

    def __init__(
        self, split_ratio: float, blur_kernel_sizes: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.split_ratio = split_ratio
        self.blurs = nn.ModuleList(map(GaussianBlur, blur_kernel_sizes or ()))

    def forward(self, x: Tensor, y: Tensor) -> Decoded:
        """Decode vectors (N, K, Wx) along x and (N, K, Wy) along y."""
        x, y = x.float(), y.float()
        peaks = [vector.max(-1) for vector in (x, y)]
        scores = torch.minimum(*(peak.values for peak in peaks))
        columns = [peak.indices.float() for peak in peaks]
        positive = ~(scores <= 0)
        columns = [torch.where(positive, column, INVALID) for column in columns]
        if len(self.blurs):
            columns = [
                self._refined(column, vector, blur)
                for column, vector, blur in zip(columns, (x, y), self.blurs)
            ]
        return torch.stack(columns, -1) / self.split_ratio, scores

    @staticmethod
    def _refined(column: Tensor, vector: Tensor, blur: 'GaussianBlur') -> Tensor:
        vector = blur.keep_maximum_1d(vector).clamp(1e-3, 50.0).log()
        length = vector.shape[-1]
        index = (column + 0.5).long()

        def at(offset: int) -> Tensor:
            position = (index + offset).clamp(0, length - 1)
            return vector.gather(-1, position[..., None])[..., 0]

        first = 0.5 * (at(1) - at(-1))
        second = 1e-9 + 0.25 * (at(2) - 2 * at(0) + at(-2))
        return column - first / second


class RegressionDecoder(nn.Module):
    """`RegressionLabel`: coordinates relative to the size of the input.

    Args:
        input_size: Width and height of the input.
    """

    input_size: Tensor

    def __init__(self, input_size: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer('input_size', torch.tensor(input_size, dtype=torch.float32))

    def forward(self, coordinates: Tensor) -> Decoded:
        """Decode coordinates (N, 1, K, 2), or (N, 1, K, 4) with their deviations."""
        coordinates = coordinates[:, 0].float()
        points = coordinates[..., :2]
        if coordinates.shape[-1] == 4:
            scores = (1 - coordinates[..., 2:]).mean(-1)
        else:
            scores = torch.ones_like(points[..., 0])
        return points * self.input_size, scores


def _msra(codec: MSRAHeatmap) -> nn.Module:
    if codec.unbiased:
        return DarkDecoder(codec.scale_factor, codec.blur_kernel_size)
    return QuarterShiftDecoder(codec.scale_factor)


def _udp(codec: UDPHeatmap) -> nn.Module:
    last = np.array(codec.heatmap_size) - 1
    scale = np.array(codec.input_size) / last
    if codec.heatmap_type == 'gaussian':
        return UDPDecoder(scale, codec.blur_kernel_size)
    radius = codec.radius_factor * max(codec.heatmap_size)
    return UDPOffsetDecoder(scale, codec.blur_kernel_size, radius)


def _simcc(codec: SimCCLabel) -> nn.Module:
    if codec.decode_visibility:
        raise ConfigError(
            'the codec SimCCLabel has decode_visibility=True, which cannot be decoded in batches: '
            'expected False'
        )
    if not codec.use_dark:
        return SimCCDecoder(codec.simcc_split_ratio)
    sizes = [int((sigma * 20 - 7) // 3) for sigma in codec.sigma]
    sizes = [size - (size % 2 == 0) for size in sizes]
    return SimCCDecoder(codec.simcc_split_ratio, (sizes[0], sizes[1]))


_FACTORIES: dict[type, Callable] = {
    MSRAHeatmap: _msra,
    UDPHeatmap: _udp,
    MegviiHeatmap: lambda codec: MegviiDecoder(codec.scale_factor, codec.kernel_size),
    CoarseToFineHeatmap: lambda codec: CoarseToFineDecoder(
        codec.scale_factor, codec.blur_kernel_size
    ),
    SimCCLabel: _simcc,
    RegressionLabel: lambda codec: RegressionDecoder(codec.input_size),
    IntegralRegressionLabel: lambda codec: RegressionDecoder(codec.keypoint_codec.input_size),
}
