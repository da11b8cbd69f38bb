"""Make the targets of a batch with PyTorch, on their device.

MMPose encodes the keypoints of one person at a time with NumPy and OpenCV, in the data workers. The
modules here compute the same for a batch; see `pose_backbones.engine.device_targets`, which uses
them in training, and `batched`, which decodes.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from mmpose.codecs import MegviiHeatmap, MSRAHeatmap, SimCCLabel, UDPHeatmap
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor, nn

from ..errors import ConfigError
from .coarse_to_fine_heatmap import PEAK, CoarseToFineHeatmap, smoothed_cells


def batched_encoder(codec: BaseKeypointCodec) -> nn.Module:
    """Return a module that encodes a batch as the codec encodes each person.

    Args:
        codec: Codec of a top-down model.

    Returns:
        A module from keypoints (N, K, 2), x and y in pixels of the input, and their visibility
        (N, K) to a dict with the entries of the codec's `encode`: `heatmaps` (N, C, height, width),
        or `keypoint_x_labels` and `keypoint_y_labels` (N, K, bins), in float32; and
        `keypoint_weights` (N, K).

    Raises:
        ConfigError: If the codec or one of its settings is not supported.
    """
    # The exact type: a subclass may encode in another way.
    factory = _FACTORIES.get(type(codec))
    if factory is None:
        supported = ', '.join(sorted(kind.__name__ for kind in _FACTORIES))
        raise _unsupported(codec, '', supported)
    return factory(codec)


class Encoder(nn.Module):
    """Base class of encoders.

    Args:
        size: Number of cells of the targets along x and y.
    """

    limits: Tensor

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)
        self.register_buffer('limits', torch.tensor(self.size, dtype=torch.float64))

    def forward(self, keypoints: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Encode keypoints (N, K, 2) and their visibility (N, K)."""
        raise NotImplementedError

    def overlaps(self, points: Tensor, radius: float | Tensor) -> Tensor:
        """Return for which points (N, K, 2) a window around them overlaps with the map: (N, K)."""
        outside = (points - radius >= self.limits) | (points + radius + 1 < 0)
        return ~outside.any(-1)  # True for NaN

    def grids(self) -> list[Tensor]:
        """Return the coordinates of the cells along x (width,) and y (height,)."""
        return [
            torch.arange(length, dtype=torch.float64, device=self.limits.device)
            for length in self.size
        ]


class GaussianEncoder(Encoder):
    """`MSRAHeatmap`, and `UDPHeatmap` of type `gaussian`: a Gaussian in a window of 3 sigma.

    Args:
        codec: The codec, with a single `sigma` in cells.
        subcell: Whether the center of the Gaussian is the keypoint; otherwise, it is the nearest
            cell.
    """

    scale: Tensor

    def __init__(self, codec: MSRAHeatmap | UDPHeatmap, subcell: bool) -> None:
        super().__init__(codec.heatmap_size)
        self.register_buffer('scale', torch.from_numpy(codec.scale_factor))
        self.sigma, self.subcell = codec.sigma, subcell

    def forward(self, keypoints: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Encode keypoints (N, K, 2) and their visibility (N, K)."""
        points = keypoints / self.scale
        cells = (points + 0.5).trunc().double()
        fraction = points.double() - cells if self.subcell else torch.zeros_like(cells)
        radius = 3 * self.sigma
        low, high = (cells - radius).trunc(), (cells + radius + 1).trunc()
        inside = ((low < self.limits) & (high >= 0)).all(-1)
        drawn = _is_labelled(visible) & inside
        # MMPose draws the Gaussian in an array of its own, and places it in the map.
        peak = low + (2 * radius + 1) // 2 + fraction
        x, y = (
            torch.where(
                drawn[..., None] & (grid >= low[..., axis, None]) & (grid < high[..., axis, None]),
                _gaussian(grid, peak[..., axis], self.sigma),
                0,
            )
            for axis, grid in enumerate(self.grids())
        )
        return dict(heatmaps=_outer(x, y), keypoint_weights=_weights(visible, inside))


class UnbiasedEncoder(Encoder):
    """`MSRAHeatmap` with `unbiased`: a Gaussian around the keypoint, in the whole map.

    Paper: https://arxiv.org/abs/1910.06278

    Args:
        codec: The codec, with a single `sigma` in cells.
    """

    scale: Tensor

    def __init__(self, codec: MSRAHeatmap) -> None:
        super().__init__(codec.heatmap_size)
        self.register_buffer('scale', torch.from_numpy(codec.scale_factor))
        self.sigma = codec.sigma

    def forward(self, keypoints: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Encode keypoints (N, K, 2) and their visibility (N, K)."""
        points = (keypoints / self.scale).double()
        inside = self.overlaps(points, 3 * self.sigma)
        drawn = (_is_labelled(visible) & inside)[..., None]
        x, y = (
            torch.where(drawn, _gaussian(grid, points[..., axis], self.sigma), 0)
            for axis, grid in enumerate(self.grids())
        )
        return dict(heatmaps=_outer(x, y), keypoint_weights=_weights(visible, inside))


class MegviiEncoder(Encoder):
    """MMPose's `MegviiHeatmap`: a cell that is smoothed and scaled to 255.

    Args:
        codec: The codec.
    """

    scale: Tensor
    columns: Tensor
    rows: Tensor

    def __init__(self, codec: MegviiHeatmap) -> None:
        super().__init__(codec.heatmap_size)
        self.register_buffer('scale', torch.from_numpy(codec.scale_factor))
        for name, length in zip(('columns', 'rows'), self.size):
            bumps = cv2.GaussianBlur(np.eye(length, dtype=np.float32), (codec.kernel_size, 1), 0)
            bumps /= bumps.diagonal()[:, None]
            self.register_buffer(name, torch.from_numpy(bumps))

    def forward(self, keypoints: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Encode keypoints (N, K, 2) and their visibility (N, K)."""
        cells = (keypoints / self.scale).trunc()
        inside = ((cells >= 0) & (cells < self.limits)).all(-1)
        drawn = (_is_labelled(visible) & inside)[..., None]
        column, row = torch.where(drawn, cells, 0).long().unbind(-1)
        x, y = torch.where(drawn, self.columns[column], 0), PEAK * self.rows[row]
        return dict(heatmaps=_outer(x, y), keypoint_weights=_weights(visible, inside))


class CoarseToFineEncoder(Encoder):
    """`CoarseToFineHeatmap`: the maps of all kernels, those of the first kernel first.

    Args:
        codec: The codec.
    """

    input_size: Tensor
    columns: Tensor
    rows: Tensor

    def __init__(self, codec: CoarseToFineHeatmap) -> None:
        super().__init__(codec.heatmap_size)
        self.register_buffer('input_size', torch.tensor(codec.input_size, dtype=torch.float64))
        for name, length in zip(('columns', 'rows'), self.size):
            bumps = np.stack([smoothed_cells(length, kernel) for kernel in codec.kernel_sizes])
            self.register_buffer(name, torch.from_numpy(bumps))

    def forward(self, keypoints: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Encode keypoints (N, K, 2) and their visibility (N, K)."""
        points = keypoints.double()
        inside = ((points >= 0) & (points <= self.input_size - 1)).all(-1)
        weights = torch.where(inside, visible.float(), 0)
        drawn = (weights != 0)[..., None]
        cells = torch.where(drawn, points * self.limits / self.input_size, 0)
        column, row = cells.long().unbind(-1)
        # (L, N, K, length) for L kernels
        x, y = torch.where(drawn, self.columns[:, column], 0), PEAK * self.rows[:, row]
        maps = _outer(x.transpose(0, 1), y.transpose(0, 1))
        return dict(heatmaps=maps.flatten(1, 2), keypoint_weights=weights)


class SimCCEncoder(Encoder):
    """`SimCCLabel` with Gaussian smoothing: a vector along x and one along y.

    Args:
        codec: The codec.
    """

    radius: Tensor

    def __init__(self, codec: SimCCLabel) -> None:
        ratio = codec.simcc_split_ratio
        super().__init__([int(np.around(length * ratio)) for length in codec.input_size])
        self.ratio = ratio
        self.register_buffer('radius', torch.from_numpy(3.0 * codec.sigma))
        self.sigma: list[float] = codec.sigma.tolist()
        norm = codec.sigma * np.sqrt(2 * np.pi) if codec.normalize else np.ones(2)
        self.norm: list[float] = norm.tolist()

    def forward(self, keypoints: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Encode keypoints (N, K, 2) and their visibility (N, K)."""
        bins = (keypoints * self.ratio).round().double()
        inside = self.overlaps(bins, self.radius) & ~bins.isnan().any(-1)
        drawn = (_is_labelled(visible) & inside)[..., None]
        x, y = (
            torch.where(drawn, _gaussian(grid, bins[..., axis], self.sigma[axis]), 0)
            / self.norm[axis]
            for axis, grid in enumerate(self.grids())
        )
        return dict(
            keypoint_x_labels=x, keypoint_y_labels=y, keypoint_weights=_weights(visible, inside)
        )


def _gaussian(grid: Tensor, center: Tensor, sigma: float) -> Tensor:
    """Return Gaussians (N, K, length) with a peak of 1 around centers (N, K), in float32."""
    return (-(grid - center[..., None]).square() / (2 * sigma**2)).exp().float()


def _outer(x: Tensor, y: Tensor) -> Tensor:
    """Return maps (..., height, width), the products of vectors (..., width) and (..., height)."""
    return y[..., :, None] * x[..., None, :]


def _is_labelled(visible: Tensor) -> Tensor:
    return visible >= 0.5


def _weights(visible: Tensor, inside: Tensor) -> Tensor:
    """Return the visibility, and 0 for labelled keypoints that are not inside."""
    return torch.where(_is_labelled(visible) & ~inside, 0, visible)


def _unsupported(codec: BaseKeypointCodec, setting: str, expected: str) -> ConfigError:
    return ConfigError(
        f'the codec {type(codec).__name__}{setting} cannot be encoded in batches: expected '
        f'{expected}'
    )


def _check_sigma(codec: MSRAHeatmap | UDPHeatmap) -> None:
    if not isinstance(codec.sigma, (int, float)):
        raise _unsupported(codec, f' with sigma={codec.sigma!r}', 'a number of cells')


def _msra(codec: MSRAHeatmap) -> nn.Module:
    _check_sigma(codec)
    return UnbiasedEncoder(codec) if codec.unbiased else GaussianEncoder(codec, subcell=False)


def _udp(codec: UDPHeatmap) -> nn.Module:
    if codec.heatmap_type != 'gaussian':
        raise _unsupported(codec, f' with heatmap_type={codec.heatmap_type!r}', "'gaussian'")
    _check_sigma(codec)
    return GaussianEncoder(codec, subcell=True)


def _simcc(codec: SimCCLabel) -> nn.Module:
    if codec.smoothing_type != 'gaussian':
        raise _unsupported(codec, f' with smoothing_type={codec.smoothing_type!r}', "'gaussian'")
    return SimCCEncoder(codec)


_FACTORIES: dict[type, Callable] = {
    MSRAHeatmap: _msra,
    UDPHeatmap: _udp,
    MegviiHeatmap: MegviiEncoder,
    CoarseToFineHeatmap: CoarseToFineEncoder,
    SimCCLabel: _simcc,
}
