"""High-resolution adapter of HRCoMer: an HRNet that exchanges maps with a base network.

`mmpose.models.backbones.hrnet.HRModule` was considered. It is not used, since its parameters have
other names, it cannot be fused for inference, and it has neither activation checkpointing nor a
choice of the branches that are computed.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...checkpoints.loading import get_weights, load_weights, read_checkpoint
from ...checkpoints.matching import match_state_dict
from ...checkpoints.names.hrnet import convert_adapter
from ...configs import loads_checkpoint
from ...errors import CheckpointError
from ..layers import (
    EXPANSION,
    BasicBlock,
    Bottleneck,
    ConvNorm,
    check_conv_init,
    checkpointed,
    init_convolution,
)

STAGES = 4


class HRModule(nn.Module):
    """Parallel branches of several resolutions, followed by a fusion of all branches.

    Args:
        channels: Channels of each branch; each branch has half the resolution of the previous one.
        depth: Number of blocks of a branch.
        norm_cfg: Config of the norm layer.
        with_cp: Whether the branches use activation checkpointing.
    """

    def __init__(self, channels: Sequence[int], depth: int, norm_cfg: dict, with_cp: bool):
        super().__init__()
        self.with_cp = with_cp
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, norm_cfg) for _ in range(depth)))
            for width in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(
                _fuse_layer(channels, source, target, norm_cfg) for source in range(len(channels))
            )
            for target in range(len(channels))
        )

    def forward(self, maps: Sequence[Tensor], targets: Sequence[int] | None = None) -> list[Tensor]:
        """Run the branches and fuse them.

        Args:
            maps: (N, channels[i], H / 2**i, W / 2**i) for each branch i.
            targets: Branches to compute; None means all.

        Returns:
            The maps of `targets`, with the same shapes.
        """
        use_checkpoint = self.with_cp and self.training
        maps = [
            checkpointed(branch, x) if use_checkpoint else branch(x)
            for branch, x in zip(self.branches, maps)
        ]
        if targets is None:
            targets = range(len(maps))
        return [self._fuse(maps, target) for target in targets]

    def _fuse(self, maps: Sequence[Tensor], target: int) -> Tensor:
        total = None
        for source, layer in enumerate(self.fuse_layers[target]):
            x = maps[source] if source == target else layer(maps[source])
            if source > target:
                x = F.interpolate(x, scale_factor=2 ** (source - target), mode='bilinear')
            total = x if total is None else total + x
        return F.relu(total)


def _fuse_layer(channels: Sequence[int], source: int, target: int, norm_cfg: dict) -> nn.Module:
    """Return a layer that maps a branch to the channels and at most the resolution of another."""
    if source == target:
        return nn.Identity()
    if source > target:
        return ConvNorm(channels[source], channels[target], norm_cfg, relu=False)
    steps = target - source
    return nn.Sequential(
        *(
            ConvNorm(
                channels[source],
                channels[target if step == steps - 1 else source],
                norm_cfg,
                kernel=3,
                stride=2,
                relu=step < steps - 1,
            )
            for step in range(steps)
        )
    )


class Transition(nn.Module):
    """1x1 convolution from the base network to the adapter, or back.

    Args:
        in_channels, channels: Channels of input and output.
        norm_cfg: Config of the norm layer.
    """

    def __init__(self, in_channels: int, channels: int, norm_cfg: dict):
        super().__init__()
        self.conv = ConvNorm(in_channels, channels, norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class HRAdapter(BaseModule):
    """Modules of the adapter; `HRCoMer` runs them.

    Stage s has branches of strides 4 to 4 * 2**s. Its last branch starts from the map of the base
    network (`trans_b2h`), and is added to the base network after the stage (`trans_h2b`).

    Args:
        base_channels: Channels of the four stages of the base network.
        channels: Channels of the four branches.
        stage1_channels: Channels of the only branch of the first stage.
        num_modules: Number of modules of each stage; the first stage consists of bottlenecks.
        depths: Number of blocks of a branch, for each stage.
        norm_cfg: Config of the norm layer.
        with_cp: See `HRModule`.
        conv_init: See `HRCoMer`.
        init_cfg: None, or `dict(type='Pretrained', checkpoint=PATH_OR_URL)` with ImageNet weights
            of an HRNet. Weights of `layer1` and the stages with the same name are loaded; the
            others are logged.

    Raises:
        ValueError: If `conv_init` or `init_cfg` is invalid.
    """

    def __init__(
        self,
        base_channels: Sequence[int],
        channels: Sequence[int],
        stage1_channels: int,
        num_modules: Sequence[int],
        depths: Sequence[int],
        norm_cfg: dict,
        with_cp: bool = False,
        conv_init: str = 'small',
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        check_conv_init(conv_init)
        if init_cfg is not None and (
            not isinstance(init_cfg, Mapping)
            or set(init_cfg) != {'type', 'checkpoint'}
            or not loads_checkpoint(init_cfg)
        ):
            raise ValueError(
                f'init_cfg of the adapter is {init_cfg!r}: expected None or '
                "dict(type='Pretrained', checkpoint=PATH_OR_URL)"
            )
        widths = (stage1_channels, *channels[1:])
        self.with_cp, self.conv_init = with_cp, conv_init
        self.trans_b2h = nn.ModuleList(
            Transition(base, width, norm_cfg) for base, width in zip(base_channels, widths)
        )
        self.trans_h2b = nn.ModuleList(
            Transition(width, base, norm_cfg) for base, width in zip(base_channels[:-1], widths)
        )
        self.stage1 = _first_stage(stage1_channels, depths[0], norm_cfg)
        for s in range(1, STAGES):
            self.add_module(
                f'stage{s + 1}',
                nn.Sequential(
                    *(
                        HRModule(channels[: s + 1], depths[s], norm_cfg, with_cp)
                        for _ in range(num_modules[s])
                    )
                ),
            )
        self.stage1_trans = ConvNorm(stage1_channels, channels[0], norm_cfg)

    def stage(
        self, maps: list[Tensor], index: int, targets: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Run a stage.

        Args:
            maps: Maps of the branches.
            index: Index of the stage, 0 to 3.
            targets: Branches to compute; None means all.

        Returns:
            The maps of `targets`.
        """
        modules = getattr(self, f'stage{index + 1}')
        if index == 0:
            use_checkpoint = self.with_cp and self.training
            return [checkpointed(modules, maps[0]) if use_checkpoint else modules(maps[0])]
        for module in modules[:-1]:
            maps = module(maps)
        return modules[-1](maps, targets)

    def init_weights(self) -> None:
        """Initialize according to `conv_init`, then load the weights of `init_cfg`."""
        if self._is_init:
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_convolution(module, self.conv_init)
        if self.init_cfg is not None:
            self._load_hrnet(self.init_cfg['checkpoint'])
        self._is_init = True

    def _load_hrnet(self, path: str) -> None:
        weights = convert_adapter(get_weights(read_checkpoint(path)))
        match = match_state_dict(self, weights)
        if match.mismatched or not match.num_matching:
            raise CheckpointError(
                f'{path} is not an HRNet of the width of this adapter: {match.problems()}'
            )
        load_weights(self, weights, path, strict=False)
        print_log(f'HRAdapter: loaded pretrained weights from {path}', logger='current')


def _first_stage(channels: int, depth: int, norm_cfg: dict) -> nn.Sequential:
    """Return bottlenecks and a convolution back to the channels of their input."""
    wide = EXPANSION * channels
    blocks = [Bottleneck(wide if i else channels, wide, norm_cfg) for i in range(depth)]
    return nn.Sequential(*blocks, ConvNorm(wide, channels, norm_cfg))
