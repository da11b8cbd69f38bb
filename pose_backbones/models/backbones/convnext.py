"""ConvNeXt and ConvNeXt V2, based on timm's implementation."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ...checkpoints.names.convnext import convert_backbone
from ...registry import MODELS
from ...utils import arguments
from ..layers import checkpointed, fuse_children
from .base import BaseBackbone, choose_arch
from .convnext_fused import fuse_stage, fuse_stem


def _arch(width: int, depths: Sequence[int], use_grn: bool) -> dict:
    """Return an architecture whose width doubles from stage to stage."""
    return dict(
        embed_dims=tuple(width * 2**stage for stage in range(4)),
        depths=tuple(depths),
        use_grn=use_grn,
    )


@MODELS.register_module()
class ConvNeXt(BaseBackbone):
    """ConvNeXt or ConvNeXt V2, convolutional networks with 7x7 depth-wise kernels.

    Papers: [A ConvNet for the 2020s](https://arxiv.org/abs/2201.03545);
    [ConvNeXt V2](https://arxiv.org/abs/2301.00808), which normalizes the
    responses within a block (GRN) instead of scaling its residual. Stem and blocks are timm's. As
    in the pose releases, each map has its own layer norm, `norm0` to `norm3`.

    The maps of the four stages have strides 4, 8, 16 and 32. Patches do not overlap and are not
    padded: if the height or width of an image is not a multiple of a stride, the map has
    floor(size / stride) cells.

    Weights of the original repositories, of MMPretrain, of MMPose 0.x releases and of timm are
    converted when they are loaded. The V2 weights of the original authors are licensed under
    CC BY-NC 4.0, which does not allow commercial use.

    Deviations from the pose releases: all four norms exist for any `out_indices`, so that one
    checkpoint fits every choice (in the pose releases, only the norms of `out_indices` exist);
    unused norms have no gradient. There is no `norm_eval`, since layer norms have no statistics.

    Args:
        arch: V1: `'tiny'`, `'small'`, `'base'`, `'large'`, `'xlarge'`; V2:
            `'v2-atto'`, `'v2-femto'`, `'v2-pico'`, `'v2-nano'`, `'v2-tiny'`,
            `'v2-base'`, `'v2-large'`, `'v2-huge'`; or a dict of
            `embed_dims`, `depths` (four of each) and `use_grn` (whether it
            is V2).
        in_channels: Channels of the image.
        drop_path_rate: Rate of stochastic depth of the last block; it rises linearly from 0 at the
            first block.
        layer_scale_init_value: Initial layer scale of V1; None means 1, as in the pose releases. V2
            has no layer scale.
        out_indices: Stages whose maps are returned, from 0 to 3.
        frozen_stages: Stages 0 to this one are frozen; -1 freezes none.
        with_cp: Whether the blocks use activation checkpointing.
        init_cfg: See `BaseBackbone`.

    Raises:
        ValueError, TypeError: If an argument is invalid; the message has the value and the choices.
    """

    arch_settings = {
        'tiny': _arch(96, (3, 3, 9, 3), use_grn=False),
        'small': _arch(96, (3, 3, 27, 3), use_grn=False),
        'base': _arch(128, (3, 3, 27, 3), use_grn=False),
        'large': _arch(192, (3, 3, 27, 3), use_grn=False),
        'xlarge': _arch(256, (3, 3, 27, 3), use_grn=False),
        'v2-atto': _arch(40, (2, 2, 6, 2), use_grn=True),
        'v2-femto': _arch(48, (2, 2, 6, 2), use_grn=True),
        'v2-pico': _arch(64, (2, 2, 6, 2), use_grn=True),
        'v2-nano': _arch(80, (2, 2, 8, 2), use_grn=True),
        'v2-tiny': _arch(96, (3, 3, 9, 3), use_grn=True),
        'v2-base': _arch(128, (3, 3, 27, 3), use_grn=True),
        'v2-large': _arch(192, (3, 3, 27, 3), use_grn=True),
        'v2-huge': _arch(352, (3, 3, 27, 3), use_grn=True),
    }
    arch_aliases = {
        't': 'tiny', 's': 'small', 'b': 'base', 'l': 'large', 'xl': 'xlarge',
        'x-large': 'xlarge'
    }  # yapf: disable
    #: strides of the maps of the four stages
    strides = (4, 8, 16, 32)
    convert_names = staticmethod(convert_backbone)
    #: the conversion removes the classifier
    ignored_keys = ()
    #: an ImageNet release has at most the last of them
    optional_keys = ('norm0.', 'norm1.', 'norm2.', 'norm3.')

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ):
        from timm.layers import LayerNorm2d
        from timm.models.convnext import ConvNeXt as TimmConvNeXt

        super().__init__(
            num_stages=4,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        settings = choose_arch(arch, self.arch_settings, self.arch_aliases)
        arguments.check_stages(settings, self.num_stages)
        arguments.check_flag("arch['use_grn']", settings['use_grn'])
        arguments.check_positive_int('in_channels', in_channels)
        arguments.check_rate('drop_path_rate', drop_path_rate)
        self.embed_dims = tuple(settings['embed_dims'])
        self.depths = tuple(settings['depths'])
        net = TimmConvNeXt(
            in_chans=in_channels,
            num_classes=0,
            depths=self.depths,
            dims=self.embed_dims,
            ls_init_value=self._layer_scale(settings['use_grn'], layer_scale_init_value),
            use_grn=settings['use_grn'],
            drop_path_rate=drop_path_rate,
        )
        self.stem, self.stages = net.stem, net.stages
        for stage, channels in enumerate(self.embed_dims):
            self.add_module(f'norm{stage}', LayerNorm2d(channels))
        self.freeze_stages()

    @staticmethod
    def _layer_scale(use_grn: bool, value: float | None) -> float | None:
        if use_grn and value is not None:
            raise ValueError(
                f'layer_scale_init_value is {value!r}: ConvNeXt V2 has no '
                'layer scale, expected None'
            )
        if value is None:
            return None if use_grn else 1.0
        expected = 'a positive number, or None for 1'
        arguments.check_number('layer_scale_init_value', value, expected)
        if value <= 0:
            raise ValueError(f'layer_scale_init_value is {value!r}: expected {expected}')
        return float(value)

    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """Return the modules of a stage, 0 to 3: the stem for stage 0, the blocks, and the norm."""
        if stage == 0:
            yield self.stem
        yield self.stages[stage]
        yield getattr(self, f'norm{stage}')

    def layer_groups(self) -> list[list[nn.Module]]:
        """Return the groups of modules that layer-wise learning rate decay treats as one layer.

        As in the detection code of the original: the stem, the first stage, the second stage, every
        three blocks of the third stage, and the last stage. A downsampling layer belongs to the
        blocks after it. The norms of the maps are new and belong to no group.

        Returns:
            The modules of each group, from the input to the output.
        """
        third = self.stages[2]
        threes = [list(third.blocks[i : i + 3]) for i in range(0, self.depths[2], 3)]
        threes[0].insert(0, third.downsample)
        return [[self.stem], [self.stages[0]], [self.stages[1]], *threes, [self.stages[3]]]

    def freeze_stages(self) -> None:
        """Freeze stages as in the base class, and the norms of maps that are not returned."""
        super().freeze_stages()
        for name in self._unused_norms():
            getattr(self, name).requires_grad_(False)

    def _unused_norms(self) -> list[str]:
        return [f'norm{stage}' for stage in range(self.num_stages) if stage not in self.out_indices]

    def unused_weights(self) -> tuple[str, ...]:
        """Return the prefixes of the norms of maps that are not returned."""
        return tuple(f'{name}.' for name in self._unused_norms())

    def init_weights_from_scratch(self) -> None:
        """Do nothing: timm initializes the weights at construction, as in the papers.

        Weights are truncated normal with standard deviation 0.02, biases are zero, and norms are
        the identity.
        """

    def fused(self) -> 'ConvNeXt':
        """Fuse the layers around the norms, see `BaseBackbone.fused`."""
        stages = nn.Sequential(*map(fuse_stage, self.stages))
        return fuse_children(self, {'stem': fuse_stem(self.stem), 'stages': stages})

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            A map (N, embed_dims[stage], floor(H / stride), floor(W / stride)) for each stage of
            `out_indices`.

        Raises:
            ValueError: If the image is smaller than a stride.
        """
        last = self.out_indices[-1]
        _check_size(x, self.strides[last], last)
        x = self.stem(x)
        outputs = []
        for index in range(last + 1):
            stage = self.stages[index]
            x = stage.downsample(x)
            for block in stage.blocks:
                if self.with_cp and self.training:
                    x = checkpointed(block, x)
                else:
                    x = block(x)
            if index in self.out_indices:
                outputs.append(getattr(self, f'norm{index}')(x))
        return tuple(outputs)


@torch.fx.wrap  # depends on values that torch.fx does not have
def _check_size(x: Tensor, stride: int, stage: int) -> None:
    if torch.jit.is_tracing():  # sizes are not integers then
        return
    height, width = x.shape[-2:]
    if min(height, width) < stride:
        raise ValueError(
            f'the image is {height}x{width} (height x width): stage {stage} of ConvNeXt has '
            f'stride {stride}, expected sides of at least {stride}'
        )
