"""Deformable convolution whose taps are displaced by a predicted affine map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import deform_conv2d

from .fuse import scale_and_shift
from .norm import build_norm
from .precision import at_least_float32, full_precision

_TAPS = 9  # of a 3x3 kernel
_FEW = 64  # positions that are interpolated together


class AdaptiveActivationBlock(nn.Module):
    """Residual deformable 3x3 convolution with separate taps for each group.

    For each pixel and group, a convolution predicts an affine map of the plane, which displaces the
    nine taps.

    Paper: [Bottom-Up Human Pose Estimation Via Disentangled Keypoint
    Regression](https://arxiv.org/abs/2104.02300). As in ConvNeXtPose, the affine map is added to
    the regular taps. The block computes in float32 or float64, since half precision is too coarse
    for positions. `PointReader` evaluates the block at single pixels.

    Args:
        channels: Channels of input and output, a multiple of `groups`.
        groups: Number of groups, usually the number of joints.
        norm_cfg: Config of a batch norm, `dict(type='BN')` or `dict(type='SyncBN')`.

    Raises:
        ValueError: If the norm is not a batch norm; other norms cannot be computed at single
            pixels.
    """

    def __init__(self, channels: int, groups: int, norm_cfg: dict):
        super().__init__()
        self.groups = groups
        steps = torch.tensor((-1.0, 0.0, 1.0))
        taps = torch.cartesian_prod(steps, steps)  # (9, 2) as y, x
        self.register_buffer(
            'regular_matrix',
            torch.cat((taps, torch.ones(_TAPS, 1)), dim=1).T.contiguous(),
            persistent=False,
        )
        self.transform_matrix_conv = nn.Conv2d(channels, 6 * groups, 3, padding=1, groups=groups)
        self.adapt_conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.norm = build_norm(norm_cfg, channels)
        if not isinstance(self.norm, _BatchNorm):
            raise ValueError(f'norm_cfg is {norm_cfg!r}: expected a batch norm, BN or SyncBN')
        self.init_weights()

    def init_weights(self) -> None:
        """Initialize without displacements, and the kernel as mmcv's deformable convolution."""
        nn.init.zeros_(self.transform_matrix_conv.weight)
        nn.init.zeros_(self.transform_matrix_conv.bias)
        nn.init.kaiming_uniform_(self.adapt_conv.weight, nonlinearity='relu')

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block at all pixels.

        Args:
            x: (N, channels, H, W).

        Returns:
            The same shape.
        """
        with full_precision(x):
            x = at_least_float32(x).contiguous()
            out = deform(
                x, self.transform_matrix_conv(x), self.regular_matrix, self.adapt_conv.weight
            )
            return F.relu(self.norm(out) + x)


def deform(x: Tensor, affine: Tensor, taps: Tensor, weight: Tensor) -> Tensor:
    """Compute a padded deformable 3x3 convolution with groups.

    On a GPU and in traces, this is torchvision's `deform_conv2d`. On a CPU, that operator uses one
    thread and computes the tap positions again for each channel; `grid_sample` for each group
    takes half the time, and a sixth of it in the backward pass.

    Args:
        x: (N, C, H, W).
        affine: (N, groups * 2 * 3, H, W), for each pixel and group the map
            (2, 3) from `taps` to their displacements in pixels, y before x.
        taps: (3, 9), y, x and 1 of each tap.
        weight: (C, C / groups, 3, 3).

    Returns:
        (N, C, H, W).
    """
    if x.device.type != 'cpu' or torch.jit.is_tracing():
        return deform_by_operator(x, affine, taps, weight)
    count, _, height, width = x.shape
    groups = affine.shape[1] // 6
    affine = affine.reshape(count * groups, 2, 3, height * width)
    # Positions in the coordinates of grid_sample, from -1 to 1.
    size = taps.new_tensor((height, width)).view(2, 1, 1)
    rows = torch.arange(height, device=x.device).repeat_interleave(width)
    columns = torch.arange(width, device=x.device).repeat(height)
    regular = torch.stack((rows, columns))[:, None] + taps[:2, :, None]
    regular = (2 * regular + 1) / size - 1
    y, x_ = ((2 / size * taps.T) @ affine).add_(regular).unbind(1)
    sampled = F.grid_sample(
        x.view(count * groups, -1, height, width),
        torch.stack((x_, y), -1).view(-1, _TAPS * height, width, 2),
        align_corners=False,
    )
    columns = sampled.view(count, groups, -1, height * width)
    weight = weight.reshape(groups, -1, columns.shape[2])  # any layout
    return (weight @ columns).view_as(x)


def deform_by_operator(x: Tensor, affine: Tensor, taps: Tensor, weight: Tensor) -> Tensor:
    """Compute `deform` with torchvision's operator."""
    count, _, height, width = x.shape
    affine = affine.reshape(-1, 2, 3, height * width)
    offsets = (taps.T @ affine).transpose(1, 2).reshape(count, -1, height, width)
    return deform_conv2d(x, offsets, weight, padding=1)


class PointReader:
    """Evaluate a map, or a chain of blocks applied to it, at single pixels.

    For a few points, this takes a small part of the time of the whole map. As in the blocks, half
    precision is not used.

    Args:
        x: (N, groups * c, H, W).
        groups: Number of channel groups; each group has its own points.
        blocks: Blocks that are applied to `x` one after the other. Their norms use fixed
            statistics.
        static: Whether to use few operations, as needed for exported graphs, instead of little
            memory.
    """

    def __init__(
        self, x: Tensor, groups: int, blocks: list[AdaptiveActivationBlock], static: bool = False
    ):
        self.size = x.shape[-2:]
        self.static = static
        self.block = blocks[-1] if blocks else None
        self.source = PointReader(x, groups, blocks[:-1], static) if blocks else None
        self.map = None if blocks else at_least_float32(x).contiguous().unflatten(1, (groups, -1))

    def at(self, points: Tensor) -> Tensor:
        """Return the values of pixels.

        Args:
            points: (N, groups, P, 2), integers, x and y.

        Returns:
            (N, groups, P, c); zero outside of the map.
        """
        height, width = self.size
        x, y = points.unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        points = torch.where(inside[..., None], points, 0)
        if self.block is None:
            index = points[..., 1] * width + points[..., 0]
            values = self.map.flatten(3)
            index = index[:, :, None].expand(-1, -1, values.shape[2], -1)
            values = values.gather(3, index).transpose(2, 3)
        else:
            with full_precision(self.block.adapt_conv.weight):
                values = self._evaluate(points)
        return values * inside[..., None]

    def sample(self, positions: Tensor) -> Tensor:
        """Interpolate bilinearly between pixels, zero outside of the map.

        Args:
            positions: (N, groups, P, 2), x and y; 0 is the center of the first pixel.

        Returns:
            (N, groups, P, c).
        """
        if self.block is None:
            height, width = self.size  # numbers, since tensors would fix the size when exported
            x, y = (2 * positions + 1).unbind(-1)
            grid = torch.stack((x / width - 1, y / height - 1), -1)
            values = F.grid_sample(
                self.map.flatten(0, 1), grid.flatten(0, 1)[:, None], align_corners=False
            )
            return values[:, :, 0].transpose(1, 2).unflatten(0, positions.shape[:2])
        together = self.static or positions.shape[2] <= _FEW
        return _interpolate(self.at, positions, together)

    def _evaluate(self, points: Tensor) -> Tensor:
        """Return the output (N, groups, P, c) of the block at pixels inside the map."""
        block, groups, count = self.block, points.shape[1], points.shape[2]
        taps = block.regular_matrix[:2].T.flip(-1)  # (9, 2) as x, y
        around = (points[..., None, :] + taps.long()).flatten(2, 3)
        patch = self.source.at(around)  # (N, groups, P * 9, c)
        center = patch.unflatten(2, (count, _TAPS))[..., _TAPS // 2, :]
        # (groups, 9 * c, 6), rows in the order of the patch
        weight = block.transform_matrix_conv.weight.unflatten(0, (groups, 6))
        weight = weight.flatten(3).permute(0, 3, 2, 1).flatten(1, 2)
        affine = patch.unflatten(2, (count, _TAPS)).flatten(3) @ weight
        affine = affine + block.transform_matrix_conv.bias.view(groups, 1, 6)
        offsets = affine.unflatten(-1, (2, 3)) @ block.regular_matrix
        positions = around + offsets.transpose(-1, -2).flip(-1).flatten(2, 3)
        sampled = self.source.sample(positions)
        sampled = sampled.unflatten(2, (count, _TAPS)).flatten(3)
        scale, shift = scale_and_shift(block.norm)
        weight = block.adapt_conv.weight.unflatten(0, (groups, -1))
        weight = weight.flatten(3).permute(0, 3, 2, 1).flatten(1, 2)
        out = sampled @ (weight * scale.view(groups, 1, -1))
        return F.relu(out + shift.view(groups, 1, -1) + center)


def _interpolate(at, positions: Tensor, together: bool) -> Tensor:
    """Interpolate bilinearly between the four pixels around each position.

    Args:
        at: Function from points to values, see `PointReader.at`.
        positions: See `PointReader.sample`.
        together: Whether to call `at` once instead of four times, which is faster for few points.
    """
    corner = positions.floor()
    right, down = (positions - corner).unbind(-1)
    steps = corner.new_tensor(((0, 0), (0, 1), (1, 0), (1, 1))).long()
    corners = corner.long()[..., None, :] + steps
    x_weights, y_weights = (torch.stack((1 - part, part), -1) for part in (right, down))
    weights = (x_weights[..., None] * y_weights[..., None, :]).flatten(-2)
    parts = corners.split(len(steps) if together else 1, -2)
    values = [at(part.flatten(2, 3)).unflatten(2, part.shape[2:4]) for part in parts]
    return (torch.cat(values, 3) * weights[..., None]).sum(3)
