"""HRCoMer: ConvNeXt V2 with a high-resolution adapter."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...checkpoints.names.hrcomer import convert_backbone, convert_base_net
from ...registry import MODELS
from ...utils import arguments
from ..layers import DropPath, checkpointed, drop_path_rates
from .base import BaseBackbone, choose_arch
from .convnext import ConvNeXt
from .hr_adapter import STAGES, HRAdapter


def _arch(
    base_net: str,
    width: int,
    stage1_channels: int = 64,
    num_modules: Sequence[int] = (1, 1, 4, 3),
    depths: Sequence[int] = (1, 4, 4, 4),
) -> dict:
    """Return an architecture whose width doubles from branch to branch."""
    return dict(
        base_net=base_net,
        embed_dims=tuple(width * 2**stage for stage in range(STAGES)),
        stage1_channels=stage1_channels,
        num_modules=tuple(num_modules),
        depths=tuple(depths),
    )


class BaseNet(ConvNeXt):
    """`ConvNeXt` that runs stage by stage, without norms after the stages.

    Args:
        arch: See `ConvNeXt`.
        drop_path_rate: See `HRCoMer`.
        dropout_after_downsampling: See `HRCoMer`.
        with_cp, init_cfg: See `ConvNeXt`.
    """

    convert_names = staticmethod(convert_base_net)
    optional_keys = ()

    def __init__(
        self,
        arch: str | dict,
        drop_path_rate: float | Sequence[float] = 0.0,
        dropout_after_downsampling: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(arch, with_cp=with_cp, init_cfg=init_cfg)
        for stage in range(STAGES):
            delattr(self, f'norm{stage}')
        rates = _drop_rates(drop_path_rate, sum(self.depths))
        blocks = [block for stage in self.stages for block in stage.blocks]
        for block, rate in zip(blocks, rates):
            block.drop_path = DropPath(rate) if rate else nn.Identity()
        firsts = accumulate((0, *self.depths[:-1]))
        self.dropouts = nn.ModuleList(
            nn.Dropout(rates[first] if dropout_after_downsampling else 0) for first in firsts
        )

    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """Return the modules of a stage, 0 to 3: the stem for stage 0, and the blocks."""
        if stage == 0:
            yield self.stem
        yield self.stages[stage]

    def stage(self, x: Tensor, index: int) -> Tensor:
        """Run a stage.

        Args:
            x: The image, or the map of the previous stage.
            index: Index of the stage, 0 to 3.

        Returns:
            (N, embed_dims[index], h, w), of stride 4 * 2**index.
        """
        if index == 0:
            x = self.stem(x)
        x = self.dropouts[index](self.stages[index].downsample(x))
        for block in self.stages[index].blocks:
            if self.with_cp and self.training:
                x = checkpointed(block, x)
            else:
                x = block(x)
        return x


def _drop_rates(rate: float | Sequence[float], count: int) -> list[float]:
    """Return the drop path rate of each block, which rises linearly."""
    pair = (0.0, rate) if arguments.is_number(rate) else rate
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise TypeError(
            f'drop_path_rate is {rate!r}: expected the rate of the last '
            'block, or the rates of the first and the last'
        )
    for value in pair:
        arguments.check_rate('drop_path_rate', value)
    first, last = pair
    return drop_path_rates(last, count, first)


@MODELS.register_module()
class HRCoMer(BaseBackbone):
    """ConvNeXt V2 and a high-resolution adapter that exchange feature maps.

    The adapter is an HRNet of four stages. The last branch of a stage starts from the base
    network's map of the same stride, and the output of the branch is added to that map.
    `HRCoMerHead` detects people in the four maps of the last stage.

    Paper: ConvNeXtPose: Adapting ConvNeXt with High-Resolution Representation
    for Multi-Person Human Pose Estimation. Source:
    https://github.com/CR320/ConvNeXtPose. The parameters of the adapter have the names of its
    checkpoints, those of the base network the names of `ConvNeXt`.

    `frozen_stages` counts the stages of the base network, `out_indices` the branches of the
    adapter.

    Deviations from the source: by default, a frozen stage is frozen as a whole, and there is no
    dropout after downsampling. In the source, every second block of a frozen stage is trained, and
    there is a dropout; the released weights were trained this way. Transitions with pixel shuffle,
    which no released model uses, are not implemented.

    Args:
        arch: `'base'` (ConvNeXt V2 base, HRNet-W32), `'large'` (V2 large,
            HRNet-W48), `'atto'` (V2 atto and a narrow, shallow adapter, not
            in the paper), or a dict of `base_net` (an `arch` of `ConvNeXt`),
            `embed_dims` (the adapter's branches), `stage1_channels`,
            `num_modules` and `depths` (blocks of a branch), the last two
            for each of four stages.
        drop_path_rate: Rate of stochastic depth of the base network, which rises linearly from
            block to block: the rate of the last block, or a pair of the rates of the first and the
            last block. The original uses (0.1, 0.3).
        dropout_after_downsampling: Whether a dropout with the rate of the first block of a stage
            precedes that block.
        norm_cfg: Config of the norm layer of the adapter, such as `dict(type='SyncBN')`; None means
            `dict(type='BN')`.
        out_indices: Branches whose maps are returned, from 0 to 3.
        frozen_stages: Stages 0 to this one of the base network are frozen; -1 freezes none.
        freeze_every_second_block: Whether to freeze only the second, fourth, … block of a frozen
            stage.
        norm_eval: Whether batch norms stay in evaluation mode in training.
        with_cp: Whether the blocks of the base network and the branches of the adapter use
            activation checkpointing.
        conv_init: Initialization of the convolutions of the adapter: `'small'` (normal, standard
            deviation 0.001), as in the original, or `'kaiming'`, which learns faster when training
            from scratch.
        base_init_cfg: Pretrained weights of the base network, see `BaseBackbone`: any release of
            ConvNeXt V2.
        adapter_init_cfg: Pretrained weights of the adapter, see `HRAdapter`: those of an HRNet.
        init_cfg: See `BaseBackbone`; weights of the whole backbone, instead of the two above.

    Raises:
        ValueError, TypeError: If an argument is invalid; the message has the value and the choices.
    """

    arch_settings = {
        'base': _arch('v2-base', 32),
        'large': _arch('v2-large', 48),
        'atto': _arch('v2-atto', 16, 32, (1, 1, 2, 1), (1, 2, 2, 2)),
    }
    arch_aliases = {'b': 'base', 'l': 'large'}
    #: strides of the maps of the four branches
    strides = (4, 8, 16, 32)
    convert_names = staticmethod(convert_backbone)
    without_pretrained: ClassVar = {
        'init_cfg': None,
        'base_init_cfg': None,
        'adapter_init_cfg': None,
    }

    def __init__(
        self,
        arch: str | dict = 'base',
        drop_path_rate: float | Sequence[float] = 0.0,
        dropout_after_downsampling: bool = False,
        norm_cfg: dict | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        freeze_every_second_block: bool = False,
        norm_eval: bool = False,
        with_cp: bool = False,
        conv_init: str = 'small',
        base_init_cfg: dict | None = None,
        adapter_init_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(
            num_stages=STAGES,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        settings = choose_arch(arch, self.arch_settings, self.arch_aliases)
        arguments.check_stages(settings, STAGES)
        arguments.check_ints("arch['num_modules']", settings['num_modules'], STAGES)
        arguments.check_positive_int("arch['stage1_channels']", settings['stage1_channels'])
        for name, value in (
            ('dropout_after_downsampling', dropout_after_downsampling),
            ('freeze_every_second_block', freeze_every_second_block),
        ):
            arguments.check_flag(name, value)
        if init_cfg and (base_init_cfg or adapter_init_cfg):
            raise ValueError(
                'init_cfg sets the weights of the whole backbone: expected either it, or '
                'base_init_cfg and adapter_init_cfg'
            )
        self.freeze_every_second_block = freeze_every_second_block
        self.embed_dims = tuple(settings['embed_dims'])
        self.base_net = BaseNet(
            settings['base_net'], drop_path_rate, dropout_after_downsampling, with_cp, base_init_cfg
        )
        self.hr_adapter = HRAdapter(
            self.base_net.embed_dims,
            self.embed_dims,
            settings['stage1_channels'],
            settings['num_modules'],
            settings['depths'],
            norm_cfg or dict(type='BN'),
            with_cp,
            conv_init,
            adapter_init_cfg,
        )
        self.freeze_stages()

    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """Return the modules of a stage of the base network, 0 to 3, that are frozen with it."""
        if self.freeze_every_second_block:
            yield from self.base_net.stages[stage].blocks[1::2]
        else:
            yield from self.base_net.stage_modules(stage)

    def freeze_stages(self) -> None:
        """Freeze stages as in the base class, and layers that only unused maps depend on."""
        for stage in range(self.frozen_stages + 1):
            for module in self.stage_modules(stage):
                module.eval()
                module.requires_grad_(False)
        last = self.hr_adapter.stage4[-1].fuse_layers
        for branch in self._unused_branches():
            last[branch].requires_grad_(False)

    def _unused_branches(self) -> list[int]:
        return [i for i in range(STAGES) if i not in self.out_indices]

    def unused_weights(self) -> tuple[str, ...]:
        """Return the prefixes of the last fusion layers of maps that are not returned."""
        last = len(self.hr_adapter.stage4) - 1
        return tuple(
            f'hr_adapter.stage4.{last}.fuse_layers.{branch}.' for branch in self._unused_branches()
        )

    def init_weights_from_scratch(self) -> None:
        """Do nothing: base network and adapter initialize their own weights."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps.

        Args:
            x: (N, 3, H, W), with height and width that are multiples of 32.

        Returns:
            A map (N, embed_dims[branch], H / stride, W / stride) for each branch of `out_indices`.

        Raises:
            ValueError: If height or width is not a multiple of 32.
        """
        _check_size(x, self.strides[-1])
        adapter, maps = self.hr_adapter, []
        for index in range(STAGES):
            x = self.base_net.stage(x, index)
            maps.append(adapter.trans_b2h[index](x))
            if index == STAGES - 1:
                break
            maps = adapter.stage(maps, index)
            x = adapter.trans_h2b[index](maps[-1]) + x
            if index == 0:
                maps = [adapter.stage1_trans(maps[0])]
        return tuple(adapter.stage(maps, index, self.out_indices))


@torch.fx.wrap  # depends on values that torch.fx does not have
def _check_size(x: Tensor, stride: int) -> None:
    if torch.jit.is_tracing():  # sizes are not integers then
        return
    height, width = x.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(
            f'the images are {height}x{width} (height x width): expected multiples of {stride}'
        )
