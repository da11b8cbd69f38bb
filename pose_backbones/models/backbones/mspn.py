"""MSPN: several residual networks in a row, each with its way back up."""

import re
from collections.abc import Iterator, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoints.names.mspn import convert_backbone
from ...registry import MODELS
from ...utils.arguments import check_ints, check_positive_int
from ..layers import EXPANSION, checkpointed, init_conv_fan_out
from ..layers.mspn import UNITS, BiasedConvNorm, check_stages, resize
from .base import BaseBackbone


class MSPNBottleneck(nn.Module):
    """Residual block: 1x1 convolution to `width` channels, 3x3, 1x1 to four times as many.

    Args:
        in_channels: Of the input.
        width: Channels of the 3x3 convolution.
        norm_cfg: Norm layer.
        stride: Of the 3x3 convolution.
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


class Upsampling(nn.Module):
    """What one unit on the way up is made of; `MSPN` connects the parts.

    Args:
        in_channels: C of the map on the way down.
        channels: Of the unit.
        norm_cfg: Norm layer.
        first: Whether no unit comes before it in the stage.
        skip: Whether it gives maps to the next stage.
        cross_channels: Channels of the next stage's input, if this unit
            gives it; else 0.
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
    """One stage: `downsample.layer1` to `4`, then `upsample.up1` to `4`.

    Args:
        base_channels: Of the input; the four layers have 4, 8, 16 and 32
            times as many.
        num_blocks: Of each layer.
        unit_channels: Of the units on the way up.
        norm_cfg: Norm layer.
        last: Whether no stage follows.
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
        """The way down, from stride 4 to stride 32."""
        return list(self.downsample.children())

    @property
    def units(self) -> list[Upsampling]:
        """The way up, from stride 32 to stride 4."""
        return list(self.upsample.children())


class Top(nn.Module):
    """A 7x7 convolution and a max pool: image → stride 4."""

    def __init__(self, in_channels: int, channels: int, norm_cfg: dict):
        super().__init__()
        self.conv = BiasedConvNorm(in_channels, channels, norm_cfg, kernel=7, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.conv(x), 3, stride=2, padding=1)


@MODELS.register_module()
class MSPN(BaseBackbone):
    """Multi-stage pose network.

    Each stage is a ResNet whose maps are led back up from stride 32 to
    stride 4 by four units. From stage to stage, the maps of both ways are
    handed on and added (cross-stage feature aggregation). `MSPNHead` makes
    heat maps of every unit.

    Paper: [Rethinking on Multi-Stage Networks for Human Pose
    Estimation](https://arxiv.org/abs/1901.00148). Source:
    https://github.com/megvii-research/MSPN. Names of parameters are those of
    its checkpoints, of which the layers that make heat maps belong to the
    head.

    Where `BaseBackbone` speaks of stages (`out_indices`, `frozen_stages`,
    the attributes `num_stages`, `embed_dims`, `strides`), these are the
    units here, 4 to a stage, in the order in which they are computed: unit
    `4 s + u` is the u-th of stage s. What only the next stage takes from a
    unit belongs to the next stage's first one.

    Deviations from the source: any norm layer; any multiple of 32 as input
    size; all start values by fan out (there, those of the way up are
    PyTorch's); ImageNet weights start every stage, as in MMPose. Where an
    upsampled map passes a 1x1 convolution whose norm is fixed (in
    evaluation), the convolution comes first. The map is the same, since
    the weights of the interpolation add up to 1, for a quarter of the cost.

    Args:
        stages: How many.
        num_blocks: Residual blocks of the four layers; (3, 4, 6, 3) makes
            a stage a ResNet-50.
        base_channels: Of the map at the start of a stage.
        unit_channels: Of the maps of the units.
        in_channels: Of the image.
        norm_cfg: Norm layer, such as `dict(type='SyncBN')`; None is
            `dict(type='BN')`.
        out_indices: Units returned; None: all, which `MSPNHead` needs.
        frozen_stages: Units 0 to this one are frozen; -1: none.
        norm_eval: Whether batch norms stay in evaluation mode in training.
        with_cp: Whether the activations of each block, and of each layer on
            the way up, are computed again in the backward pass ("run
            efficient").
        init_cfg: See `BaseBackbone`. Takes ResNet-50's of ImageNet, too.

    Raises:
        ValueError, TypeError: For a wrong argument; the message has the
            value and the choices.
    """

    #: ImageNet weights have the way down alone
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
        check_ints('num_blocks', num_blocks, UNITS, each='one a layer')
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
        """Weights of any release → in the names of this class; those of an
        ImageNet ResNet become those of every stage."""
        return convert_backbone(weights, self.stages)

    def _stage(self, index: int) -> Stage:
        return getattr(self, f'stage{index}')

    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """The modules that a unit is the first one to need.

        Args:
            stage: Number of the unit.

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
        """Convolutions by fan out; the rest is set already."""
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
        """How many stages weights are of.

        Args:
            weights: In today's names, without prefix.

        Returns:
            The argument `stages`; None if they are not MSPN's.
        """
        numbers = [int(name[5]) for name in weights if re.match(r'stage\d\.', name)]
        return max(numbers) + 1 if numbers else None

    def compare_arch(self, weights: Mapping[str, Tensor]) -> str:
        """Say whether weights are of another number of stages.

        Args:
            weights: As for `guess_arch`.

        Returns:
            A sentence for an error message, or an empty string.
        """
        theirs = self.guess_arch(weights)
        if theirs in (None, self.stages):
            return ''
        return (
            f'The file looks like an MSPN of {_count(theirs)}, the model has {_count(self.stages)}'
        )

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.with_cp and self.training:
            return checkpointed(module, x)
        return module(x)

    def _down(
        self, stage: Stage, x: Tensor, skips: Sequence[tuple[Tensor, Tensor]] | None
    ) -> list[Tensor]:
        """Maps of strides 32, 16, 8, 4."""
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
        """One unit: a map on the way down, and the unit's before, half as
        large → the unit's map."""
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
            x: (N, in_channels, H, W), sides that are multiples of 32.

        Returns:
            For each unit of `out_indices` a map (N, unit_channels,
            H / stride, W / stride), of strides 32, 16, 8, 4, 32, ….
        """
        x = self._run(self.top, x)
        outputs, skips, last = [], None, self.out_indices[-1]
        for s in range(last // UNITS + 1):
            stage, below = self._stage(s), None
            goes_on = s < last // UNITS
            maps = self._down(stage, x, skips)
            skips = []
            for unit, down in zip(stage.units, maps):
                if len(outputs) > last:
                    break
                below = self._up(unit, down, below)
                outputs.append(below)
                if goes_on:
                    skips.append((self._run(unit.skip1, down), self._run(unit.skip2, below)))
            if goes_on:
                x = self._run(stage.units[-1].cross_conv, below)
        return tuple(outputs[i] for i in self.out_indices)


def _count(stages: int) -> str:
    return f'{stages} stage' + ('s' if stages > 1 else '')
