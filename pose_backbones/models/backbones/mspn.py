"""MSPN: several stages of a residual network with upsampling."""

import re
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoints.names.mspn import convert_backbone
from ...registry import MODELS
from ...utils.arguments import check_ints, check_positive_int
from ..layers import (
    EXPANSION,
    ChannelsLast,
    checkpointed,
    fuse,
    fuse_children,
    fuse_residual_block,
    init_conv_fan_out,
)
from ..layers.mspn import UNITS, BiasedConvNorm, check_stages, resize
from .base import BaseBackbone

torch.fx.wrap('resize')  # depends on values that torch.fx does not have


class MSPNBottleneck(nn.Module):
    """Residual block: 1x1 convolution to `width` channels, 3x3, 1x1 to four times as many.

    Args:
        in_channels: Channels of the input.
        width: Channels of the 3x3 convolution.
        norm_cfg: Config of the norm layer.
        stride: Stride of the 3x3 convolution.
    """

    def __init__(self, in_channels: int, width: int, norm_cfg: dict, stride: int = 1):
        super().__init__()
        channels = EXPANSION * width
        self.conv_bn_relu1 = BiasedConvNorm(in_channels, width, norm_cfg)
        self.conv_bn_relu2 = BiasedConvNorm(width, width, norm_cfg, kernel=3, stride=stride)
        self.conv_bn_relu3 = BiasedConvNorm(width, channels, norm_cfg, relu=False)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = BiasedConvNorm(
                in_channels, channels, norm_cfg, stride=stride, relu=False
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_bn_relu3(self.conv_bn_relu2(self.conv_bn_relu1(x)))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)

    def fused(self) -> nn.Module:
        """Return an equivalent block for inference, see `fuse`."""
        pairs = (self.conv_bn_relu1, self.conv_bn_relu2, self.conv_bn_relu3)
        return fuse_residual_block(self, map(tuple, pairs), self.downsample)


class Upsampling(nn.Module):
    """Layers of one upsampling unit; `MSPN` connects them.

    Args:
        in_channels: Channels of the downsampling map of the same stride.
        channels: Channels of the unit.
        norm_cfg: Config of the norm layer.
        first: Whether the unit is the first one of the stage.
        skip: Whether the unit passes maps to the next stage.
        cross_channels: Channels of the input of the next stage if this unit computes it, else 0.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        norm_cfg: dict,
        first: bool,
        skip: bool,
        cross_channels: int,
    ):
        super().__init__()
        self.u_skip = BiasedConvNorm(in_channels, channels, norm_cfg, relu=False)
        if not first:
            self.up_conv = BiasedConvNorm(channels, channels, norm_cfg, relu=False)
        if skip:
            self.skip1 = BiasedConvNorm(in_channels, in_channels, norm_cfg)
            self.skip2 = BiasedConvNorm(channels, in_channels, norm_cfg)
        if cross_channels:
            self.cross_conv = BiasedConvNorm(channels, cross_channels, norm_cfg)


class Stage(nn.Module):
    """One stage: `downsample.layer1` to `layer4`, then `upsample.up1` to `up4`.

    Args:
        base_channels: Channels of the input; the four layers have 4, 8, 16 and 32 times as many.
        num_blocks: Number of blocks of each layer.
        unit_channels: Channels of the upsampling units.
        norm_cfg: Config of the norm layer.
        last: Whether the stage is the last one.
    """

    def __init__(
        self,
        base_channels: int,
        num_blocks: Sequence[int],
        unit_channels: int,
        norm_cfg: dict,
        last: bool,
    ):
        super().__init__()
        self.downsample, self.upsample = nn.Module(), nn.Module()
        previous = base_channels
        for i, depth in enumerate(num_blocks):
            width, layer = base_channels * 2**i, nn.Sequential()
            for block in range(depth):
                stride = 2 if i and not block else 1
                layer.append(MSPNBottleneck(previous, width, norm_cfg, stride))
                previous = EXPANSION * width
            self.downsample.add_module(f'layer{i + 1}', layer)
        for i in range(UNITS):
            cross = base_channels if i == UNITS - 1 and not last else 0
            self.upsample.add_module(
                f'up{i + 1}',
                Upsampling(
                    previous // 2**i,
                    unit_channels,
                    norm_cfg,
                    first=i == 0,
                    skip=not last,
                    cross_channels=cross,
                ),
            )

    @property
    def layers(self) -> list[nn.Sequential]:
        """Downsampling layers, from stride 4 to stride 32."""
        return list(self.downsample.children())

    @property
    def units(self) -> list[Upsampling]:
        """Upsampling units, from stride 32 to stride 4."""
        return list(self.upsample.children())


class Top(nn.Module):
    """Stem of stride 4: a 7x7 convolution and a max pooling."""

    def __init__(self, in_channels: int, channels: int, norm_cfg: dict):
        super().__init__()
        self.conv = BiasedConvNorm(in_channels, channels, norm_cfg, kernel=7, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv(x), 3, stride=2, padding=1)

    def fused(self) -> 'Top':
        """Return an equivalent stem for inference, whose output has channels last in memory."""
        return fuse_children(self, {'conv': nn.Sequential(ChannelsLast(), fuse(self.conv))})


@MODELS.register_module()
class MSPN(BaseBackbone):
    """Multi-stage pose network.

    Each stage is a ResNet followed by four units that upsample its maps from stride 32 to stride 4.
    The downsampling and upsampling maps of a stage are added to those of the next stage
    (cross-stage feature aggregation). `MSPNHead` predicts heatmaps from every unit.

    Paper: [Rethinking on Multi-Stage Networks for Human Pose
    Estimation](https://arxiv.org/abs/1901.00148). Source:
    https://github.com/megvii-research/MSPN. The parameters have the names of its checkpoints. The
    layers that predict heatmaps belong to the head.

    The stages of `BaseBackbone` (`out_indices`, `frozen_stages`, the attributes `num_stages`,
    `embed_dims`, `strides`) are the units of MSPN, four for each stage, in the order in which they
    are computed: unit `4 s + u` is the u-th unit of stage s. Layers of a unit that only the next
    stage uses belong to the first unit of the next stage.

    Deviations from the source: any norm layer; any multiple of 32 as input size; all convolutions
    are initialized by fan-out (in the source, those of the upsampling units have PyTorch's default
    initialization); ImageNet weights are loaded into every stage, as in MMPose. In evaluation mode
    with fixed norms, the 1x1 convolution of an upsampled map is computed before the interpolation.
    The result is the same, since the weights of the interpolation sum to 1, at a quarter of the
    cost.

    Args:
        stages: Number of stages.
        num_blocks: Number of residual blocks of the four layers; with (3, 4, 6, 3), a stage is a
            ResNet-50.
        base_channels: Channels of the input map of a stage.
        unit_channels: Channels of the maps of the units.
        in_channels: Channels of the image.
        norm_cfg: Config of the norm layer, such as `dict(type='SyncBN')`; None means
            `dict(type='BN')`.
        out_indices: Units whose maps are returned; None means all, which `MSPNHead` requires.
        frozen_stages: Units 0 to this one are frozen; -1 freezes none.
        norm_eval: Whether batch norms stay in evaluation mode in training.
        with_cp: Whether the blocks and the layers of the units use activation checkpointing ("run
            efficient" in the source).
        init_cfg: See `BaseBackbone`. ImageNet weights of a ResNet-50 can be loaded too.

    Raises:
        ValueError, TypeError: If an argument is invalid; the message has the value and the choices.
    """

    #: ImageNet weights have only the downsampling layers
    optional_keys = tuple(f'stage{s}.upsample.' for s in range(9))

    def __init__(
        self,
        stages: int = 2,
        num_blocks: Sequence[int] = (3, 4, 6, 3),
        base_channels: int = 64,
        unit_channels: int = 256,
        in_channels: int = 3,
        norm_cfg: dict | None = None,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ):
        check_stages(stages)
        super().__init__(
            num_stages=UNITS * stages,
            out_indices=(range(UNITS * stages) if out_indices is None else out_indices),
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        check_ints('num_blocks', num_blocks, UNITS, each='one per layer')
        check_positive_int('base_channels', base_channels)
        check_positive_int('unit_channels', unit_channels)
        norm_cfg = norm_cfg or dict(type='BN')
        self.stages = stages
        self.unit_channels = unit_channels
        self.embed_dims = (unit_channels,) * self.num_stages
        self.strides = (32, 16, 8, 4) * stages
        self.top = Top(in_channels, base_channels, norm_cfg)
        for s in range(stages):
            self.add_module(
                f'stage{s}',
                Stage(base_channels, num_blocks, unit_channels, norm_cfg, last=s == stages - 1),
            )
        self.freeze_stages()

    def convert_names(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert the weights of any release to the names of this class.

        The weights of an ImageNet ResNet are copied to every stage.
        """
        return convert_backbone(weights, self.stages)

    def _stage(self, index: int) -> Stage:
        return getattr(self, f'stage{index}')

    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """Yield the modules that a unit uses and no earlier unit uses.

        Args:
            stage: Index of the unit.

        Yields:
            Modules.
        """
        s, number = divmod(stage, UNITS)
        if stage == 0:
            yield self.top
        if number == 0:
            for unit in self._stage(s - 1).units if s else ():
                yield unit.skip1
                yield unit.skip2
                if hasattr(unit, 'cross_conv'):
                    yield unit.cross_conv
            yield self._stage(s).downsample
        unit = self._stage(s).units[number]
        yield unit.u_skip
        if hasattr(unit, 'up_conv'):
            yield unit.up_conv

    def init_weights_from_scratch(self) -> None:
        """Initialize convolutions by fan-out; norms are initialized at construction."""
        init_conv_fan_out(self)

    @classmethod
    def naming_variants(cls) -> list[dict]:
        """Return arguments of a backbone that has every name, up to the numbers in it."""
        return [dict(stages=2, num_blocks=(1, 1, 1, 1))]

    @classmethod
    def guess_config(cls, weights: Mapping[str, Tensor]) -> dict:
        """Return the arguments of a backbone that has these weights, see `BaseBackbone`."""
        return dict(stages=cls.guess_arch(weights))

    @classmethod
    def guess_arch(cls, weights: Mapping[str, Tensor]) -> int | None:
        """Return the number of stages of weights.

        Args:
            weights: State dict in current names, without prefix.

        Returns:
            The argument `stages`; None if they are not MSPN's.
        """
        numbers = [int(name[5]) for name in weights if re.match(r'stage\d\.', name)]
        return max(numbers) + 1 if numbers else None

    def compare_arch(self, weights: Mapping[str, Tensor]) -> str:
        """Return a sentence for an error message if weights have another number of stages.

        Args:
            weights: As for `guess_arch`.

        Returns:
            The sentence, or an empty string.
        """
        stages = self.guess_arch(weights)
        if stages in (None, self.stages):
            return ''
        return (
            f'The checkpoint appears to be an MSPN of {_count(stages)}, but the model has '
            f'{_count(self.stages)}'
        )

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.with_cp and self.training:
            return checkpointed(module, x)
        return module(x)

    def _down(
        self, stage: Stage, x: Tensor, skips: Sequence[tuple[Tensor, Tensor]] | None
    ) -> list[Tensor]:
        """Return the downsampling maps, of strides 32, 16, 8, 4."""
        maps = []
        for i, layer in enumerate(stage.layers):
            for block in layer:
                x = self._run(block, x)
            if skips is not None:
                for skip in skips[-1 - i]:
                    x = x + skip
            maps.append(x)
        return maps[::-1]

    def _up(self, unit: Upsampling, x: Tensor, below: Tensor | None) -> Tensor:
        """Return the map of a unit.

        Args:
            unit: The unit.
            x: The downsampling map.
            below: The map of the previous unit, of half the resolution; None for the first unit.
        """
        out = self._run(unit.u_skip, x)
        if below is not None:
            size, conv = x.shape[-2:], unit.up_conv
            if conv.is_affine:
                below = resize(self._run(conv, below), size)
            else:
                below = self._run(conv, resize(below, size))
            out = out + below
        return F.relu(out, inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps of the units.

        Args:
            x: (N, in_channels, H, W), with height and width that are multiples of 32.

        Returns:
            A map (N, unit_channels, H / stride, W / stride) for each unit of `out_indices`, of
            strides 32, 16, 8, 4, 32, ….
        """
        x = self._run(self.top, x)
        outputs, skips, last = [], None, self.out_indices[-1]
        for s in range(last // UNITS + 1):
            stage, below = self._stage(s), None
            has_next = s < last // UNITS
            maps = self._down(stage, x, skips)
            skips = []
            for unit, down in zip(stage.units, maps):
                if len(outputs) > last:
                    break
                below = self._up(unit, down, below)
                outputs.append(below)
                if has_next:
                    skips.append((self._run(unit.skip1, down), self._run(unit.skip2, below)))
            if has_next:
                x = self._run(stage.units[-1].cross_conv, below)
        return tuple(outputs[i] for i in self.out_indices)


def _count(stages: int) -> str:
    return f'{stages} stage' + ('s' if stages > 1 else '')
