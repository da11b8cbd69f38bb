"""Convolutional branches of `HRCoMerHead`."""

from collections.abc import Sequence
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import (
    BasicBlock,
    ChannelsFirst,
    ConvNorm,
    PackedConv2d,
    at_least_float32,
    full_precision,
    fuse_children,
    init_convolution,
)
from ..layers.adaptive_conv import AdaptiveActivationBlock, PointReader

#: initial probability of outputs of which few are positive
_PRIOR = 0.01
#: factors of x and y that mirror a vector
MIRROR = (-1.0, 1.0)


class ConfidenceBranch(nn.Module):
    """Predict for each query the confidence that it is matched to a person.

    Args:
        in_channels: Channels of each query map.
        channels: Channels of the hidden layers.
        norm_cfg: Config of the norm layer.
        conv_init: See `HRCoMerHead`.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, norm_cfg: dict, conv_init: str):
        super().__init__()
        self.trans_blocks = nn.ModuleList(
            ConvNorm(width, channels, norm_cfg) for width in in_channels
        )
        self.filter_blocks = nn.ModuleList(BasicBlock(channels, norm_cfg) for _ in in_channels)
        self.cls_layer = nn.Conv2d(channels, 1, 1)
        _init_convolutions(self, conv_init)
        nn.init.constant_(self.cls_layer.bias, -log(1 / _PRIOR - 1))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return logits (N, 1, h, w) for each map (N, in_channels[i], h, w)."""
        return [
            at_least_float32(self.cls_layer(block(trans(x))))
            for x, trans, block in zip(maps, self.trans_blocks, self.filter_blocks)
        ]


class HeatmapBranch(nn.Module):
    """Predict heatmaps of the joints of all people.

    Args:
        in_channels: Channels of the input map.
        num_keypoints: Number of keypoints, K.
        channels: Channels of the hidden layers.
        norm_cfg: Config of the norm layer.
        conv_init: See `HRCoMerHead`.
    """

    def __init__(
        self, in_channels: int, num_keypoints: int, channels: int, norm_cfg: dict, conv_init: str
    ):
        super().__init__()
        self.trans_block = ConvNorm(in_channels, channels, norm_cfg)
        self.filter_block = BasicBlock(channels, norm_cfg)
        self.heatmap_layer = nn.Conv2d(channels, num_keypoints, 1)
        _init_convolutions(self, conv_init)
        nn.init.constant_(self.heatmap_layer.bias, -log(1 / _PRIOR - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return heatmaps (N, K, H, W), from 0 to 1, for a map (N, in_channels, H, W)."""
        x = self.filter_block(self.trans_block(x))
        return at_least_float32(self.heatmap_layer(x)).sigmoid()

    def fused(self) -> 'HeatmapBranch':
        """Return an equivalent branch for inference, whose output has channels first in memory."""
        return fuse_children(
            self,
            {'heatmap_layer': nn.Sequential(PackedConv2d(self.heatmap_layer), ChannelsFirst())},
        )


class JointBranch(nn.Module):
    """Predict the joints of one person for each query.

    Args:
        in_channels: Channels of each query map, of strides 8, 16, ….
        num_keypoints: Number of keypoints, K.
        channels: Channels for each joint.
        norm_cfg: Config of a batch norm.
        conv_init: See `HRCoMerHead`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_keypoints: int,
        channels: int,
        norm_cfg: dict,
        conv_init: str,
    ):
        super().__init__()
        width = num_keypoints * channels
        self.trans_blocks = nn.ModuleList(
            ConvNorm(channels_in, width, norm_cfg) for channels_in in in_channels
        )
        self.filter_blocks = nn.ModuleList(
            _adaptive(width, num_keypoints, norm_cfg) for _ in in_channels
        )
        self.reg_layer = nn.Conv2d(width, 2 * num_keypoints, 1, groups=num_keypoints)
        _init_convolutions(self, conv_init)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Compute the joints of all queries.

        Args:
            maps: A map (N, in_channels[i], h, w) for each level i.

        Returns:
            A tensor (N, h, w, K, 2) for each level, x and y in pixels of the map of stride 4. Pixel
            i covers [i, i + 1).
        """
        joints = []
        for level, x in enumerate(maps):
            x = self.filter_blocks[level](self.trans_blocks[level](x))
            offsets = _regress(self.reg_layer, x).permute(0, 3, 4, 1, 2)
            y, x = torch.meshgrid(
                *(torch.arange(side, device=x.device) for side in x.shape[-2:]), indexing='ij'
            )
            cells = torch.stack((x, y), -1)[:, :, None]
            joints.append((offsets + cells + 0.5) * 2 ** (level + 1))
        return joints

    def forward_queries(
        self, maps: Sequence[Tensor], chosen: Tensor, static: bool = False
    ) -> Tensor:
        """Compute the joints of selected queries only.

        Args:
            maps: As for `forward`.
            chosen: (N, P), indices of queries, counted over all maps.
            static: Whether the operations must not depend on the values of `chosen`, as in an
                exported graph; this takes more time.

        Returns:
            (N, P, K, 2), the values that `forward` returns for these queries in evaluation mode.
        """
        images = torch.arange(chosen.shape[0], device=chosen.device)[:, None]
        dtype = torch.promote_types(maps[0].dtype, torch.float32)
        joints = maps[0].new_zeros(*chosen.shape, self.reg_layer.groups, 2, dtype=dtype)
        start = 0
        for level, x in enumerate(maps):
            count, width = x[0, 0].numel(), x.shape[-1]
            in_level = (chosen >= start) & (chosen < start + count)
            if static:
                points = _points((chosen - start).clamp(0, count - 1), width)
                joints = torch.where(
                    in_level[..., None, None], self._at(x, level, points, static), joints
                )
                start += count
                continue
            most = int(in_level.sum(1).max()) if in_level.numel() else 0
            if most:
                order = in_level.int().argsort(dim=1, descending=True, stable=True)[:, :most]
                cells = (chosen[images, order] - start).clamp(0, count - 1)
                joints[images, order] = torch.where(
                    in_level[images, order][..., None, None],
                    self._at(x, level, _points(cells, width)),
                    joints[images, order],
                )
            start += count
        return joints

    def _at(self, x: Tensor, level: int, points: Tensor, static: bool = False) -> Tensor:
        """Return the joints (N, P, K, 2) of the queries at points (N, P, 2), x and y."""
        groups = self.reg_layer.groups
        blocks = list(self.filter_blocks[level])
        reader = PointReader(self.trans_blocks[level](x), groups, blocks, static)
        values = reader.at(points[:, None].expand(-1, groups, -1, -1))
        offsets = _regress_values(self.reg_layer, values)
        return (offsets + points[:, :, None] + 0.5) * 2 ** (level + 1)


class RefineBranch(nn.Module):
    """Predict short offsets that lead from a position near a joint to the joint.

    Args:
        in_channels: Channels of the input map.
        num_keypoints: Number of keypoints, K.
        channels: Channels for each joint.
        norm_cfg: Config of a batch norm.
        conv_init: See `HRCoMerHead`.
    """

    def __init__(
        self, in_channels: int, num_keypoints: int, channels: int, norm_cfg: dict, conv_init: str
    ):
        super().__init__()
        width = num_keypoints * channels
        self.trans_block = ConvNorm(in_channels, width, norm_cfg)
        self.filter_block = _adaptive(width, num_keypoints, norm_cfg)
        self.reg_layer = nn.Conv2d(width, 2 * num_keypoints, 1, groups=num_keypoints)
        _init_convolutions(self, conv_init)

    def forward(self, x: Tensor) -> Tensor:
        """Return offsets (N, K, 2, H, W), x and y in pixels, for a map (N, in_channels, H, W)."""
        return _regress(self.reg_layer, self.filter_block(self.trans_block(x)))

    def sample_at(
        self,
        x: Tensor,
        joints: Tensor,
        flip_indices: Sequence[int] | None = None,
        static: bool = False,
    ) -> Tensor:
        """Compute the offsets at given joints only.

        Args:
            x: (N, in_channels, H, W).
            joints: (N, P, K, 2), x and y in pixels of the map. Pixel i covers [i, i + 1). Positions
                outside the map are moved to its border.
            flip_indices: If given, `x` has the shape (2 N, in_channels, H, W), and its second half
                are the mirrored images. The offsets of both halves are averaged.
            static: See `PointReader`.

        Returns:
            (N, P, K, 2), the values that `sample` reads from the output of `forward` in evaluation
            mode.
        """
        if flip_indices is None:
            return self._at(x, joints, static)
        flip, sign = list(flip_indices), joints.new_tensor(MIRROR)
        mirrored = (joints * sign)[:, :, flip]
        mirrored[..., 0] += x.shape[-1]
        offsets, mirrored_offsets = halves(self._at(x, torch.cat((joints, mirrored)), static))
        return (offsets + mirrored_offsets[:, :, flip] * sign) / 2

    def _at(self, x: Tensor, joints: Tensor, static: bool) -> Tensor:
        """Return the offsets (N, P, K, 2) at joints (N, P, K, 2)."""
        groups = self.reg_layer.groups
        height, width = x.shape[-2:]
        column, row = (joints.transpose(1, 2) - 0.5).unbind(-1)
        positions = torch.stack((column.clamp(0, width - 1), row.clamp(0, height - 1)), -1)
        reader = PointReader(self.trans_block(x), groups, list(self.filter_block), static)
        return _regress_values(self.reg_layer, reader.sample(positions))


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the halves of a batch (2 N, …), such as images and mirrored images."""
    count = x.shape[0] // 2  # `chunk` would fix the size when exported
    return x[:count], x[count:]


def _points(cells: Tensor, width: int) -> Tensor:
    """Convert indices of pixels (…) in a map of a width to x and y (…, 2)."""
    rows = cells // width
    return torch.stack((cells - rows * width, rows), -1)


def sample(offsets: Tensor, joints: Tensor) -> Tensor:
    """Sample offsets at joints by bilinear interpolation.

    Args:
        offsets: (N, K, 2, H, W).
        joints: (N, P, K, 2), as for `RefineBranch.sample_at`.

    Returns:
        (N, P, K, 2), NaN for joints that are NaN.
    """
    count, groups = offsets.shape[:2]
    size = joints.new_tensor(offsets.shape[:-3:-1])
    # With this padding, grid_sample reads and writes at arbitrary addresses for NaN.
    is_nan = joints.isnan().any(-1, keepdim=True)
    joints = joints.masked_fill(is_nan, 0)
    grid = (2 * joints / size - 1).transpose(1, 2).flatten(0, 1)[:, None]
    values = F.grid_sample(offsets.flatten(0, 1), grid, padding_mode='border', align_corners=False)
    values = values[:, :, 0].unflatten(0, (count, groups)).permute(0, 3, 1, 2)
    return values.masked_fill(is_nan, torch.nan)


def without_padding(logits: Tensor, sizes: Tensor) -> Tensor:
    """Set the logits of queries in the padding of images to minus infinity.

    Args:
        logits: (N, 1, h, w).
        sizes: (N, 2), width and height of the images without padding, in pixels of the map.

    Returns:
        The logits, with minus infinity where the center of a pixel is outside the image.
    """
    x, y = (torch.arange(side, device=logits.device) + 0.5 for side in logits.shape[:-3:-1])
    outside = (x >= sizes[:, :1])[:, None] | (y >= sizes[:, 1:])[..., None]
    return logits.masked_fill(outside[:, None], -torch.inf)


def _adaptive(width: int, groups: int, norm_cfg: dict) -> nn.Sequential:
    return nn.Sequential(*(AdaptiveActivationBlock(width, groups, norm_cfg) for _ in range(2)))


def _regress(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a grouped layer in at least float32: (N, K * c, h, w) → (N, K, 2, h, w)."""
    with full_precision(x):
        return layer(at_least_float32(x)).unflatten(1, (layer.groups, 2))


def _regress_values(layer: nn.Conv2d, values: Tensor) -> Tensor:
    """Apply the layer as `_regress` does, to single pixels: (N, K, P, c) → (N, P, K, 2)."""
    weight = layer.weight.flatten(1).unflatten(0, (layer.groups, 2))
    with full_precision(values):
        offsets = values @ weight.transpose(1, 2)
        return (offsets + layer.bias.view(layer.groups, 1, 2)).transpose(1, 2)


def _init_convolutions(branch: nn.Module, method: str) -> None:
    """Initialize a branch: output layers with small weights, adaptive blocks unchanged."""
    adaptive = {
        id(conv)
        for block in branch.modules()
        if isinstance(block, AdaptiveActivationBlock)
        for conv in block.modules()
    }
    for module in branch.modules():
        if isinstance(module, nn.Conv2d) and id(module) not in adaptive:
            # A convolution with a bias is an output layer: no norm follows it.
            init_convolution(module, method if module.bias is None else 'small')
