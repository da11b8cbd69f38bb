"""MogaNet, a convolutional network with multi-order gated aggregation."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS
from ...utils import arguments
from ..layers import (
    ChannelsFirst,
    ChannelsLast,
    DropPath,
    build_norm,
    can_fold,
    checkpointed,
    drop_path_rates,
    fuse,
    fuse_children,
    fuse_conv_norm,
    init_conv_fan_out,
)
from .base import BaseBackbone, choose_arch
from .moganet_fused import FusedMogaBlock, can_fuse


class ChannelScale(nn.Module):
    """Scale each channel by a learned factor.

    Args:
        channels: Number of channels, C.
        init_value: Initial value of the factors.
    """

    def __init__(self, channels: int, init_value: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, channels, 1, 1), float(init_value)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class MultiOrderDWConv(nn.Module):
    """Depth-wise convolutions with growing receptive fields for three channel groups.

    A 5x5 kernel of dilation d0 is applied to all channels; then a 5x5 kernel of dilation d1 to 3/8
    of them, and a 7x7 kernel of dilation d2 to 4/8. A point-wise convolution mixes the groups.

    Args:
        channels: Number of channels, C, a multiple of 8.
        dilations: d0, d1, d2.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (1, 2, 3)):
        super().__init__()
        middle, large = channels * 3 // 8, channels // 2
        self.split = (channels - middle - large, middle, large)
        self.DW_conv0 = self._depthwise(channels, 5, dilations[0])
        self.DW_conv1 = self._depthwise(middle, 5, dilations[1])
        self.DW_conv2 = self._depthwise(large, 7, dilations[2])
        self.PW_conv = nn.Conv2d(channels, channels, 1)

    @staticmethod
    def _depthwise(channels: int, kernel: int, dilation: int) -> nn.Conv2d:
        return nn.Conv2d(
            channels,
            channels,
            kernel,
            padding=kernel // 2 * dilation,
            dilation=dilation,
            groups=channels,
        )

    def forward(self, x: Tensor) -> Tensor:
        small, middle, large = self.DW_conv0(x).split(self.split, dim=1)
        x = torch.cat((small, self.DW_conv1(middle), self.DW_conv2(large)), dim=1)
        return self.PW_conv(x)


class MultiOrderGatedAggregation(nn.Module):
    """Spatial aggregation of a block.

    The difference from the mean of the map is amplified; then the output of a gate convolution is
    multiplied with the multi-order context.

    Args:
        channels: Number of channels, C.
        dilations: Dilations of the three depth-wise convolutions.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = (1, 2, 3)):
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Conv2d(channels, channels, 1)
        self.value = MultiOrderDWConv(channels, dilations)
        self.proj_2 = nn.Conv2d(channels, channels, 1)
        self.sigma = ChannelScale(channels, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.proj_1(x)
        y = y + self.sigma(y - F.adaptive_avg_pool2d(y, 1))
        y = F.silu(y)
        y = F.silu(self.gate(y)) * F.silu(self.value(y))
        return x + self.proj_2(y)


class ChannelAggregationFFN(nn.Module):
    """Channel aggregation of a block: a feed-forward network with a 3x3 depth-wise convolution.

    Between its layers, the difference from a one-channel summary of the map is amplified.

    Args:
        channels: Number of channels, C.
        hidden_channels: Channels between the two point-wise layers.
    """

    def __init__(self, channels: int, hidden_channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1)
        self.dwconv = nn.Conv2d(
            hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels
        )
        self.fc2 = nn.Conv2d(hidden_channels, channels, 1)
        self.decompose = nn.Conv2d(hidden_channels, 1, 1)
        self.sigma = ChannelScale(hidden_channels, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.dwconv(self.fc1(x)))
        x = x + self.sigma(x - F.gelu(self.decompose(x)))
        return self.fc2(x)


class MogaBlock(nn.Module):
    """Block of spatial and channel aggregation, each with a scaled residual connection.

    Args:
        channels: Number of channels, C.
        ffn_ratio: Ratio of the hidden channels of the feed-forward network to C.
        drop_path: Probability of dropping a residual branch of a sample.
        norm_cfg: Config of the norm layer.
        layer_scale: Initial layer scale of the residual branches.
        dilations: Dilations of the three depth-wise convolutions.
    """

    def __init__(
        self,
        channels: int,
        ffn_ratio: float,
        drop_path: float,
        norm_cfg: dict,
        layer_scale: float,
        dilations: Sequence[int],
    ):
        super().__init__()
        self.norm1 = build_norm(norm_cfg, channels)
        self.attn = MultiOrderGatedAggregation(channels, dilations)
        self.norm2 = build_norm(norm_cfg, channels)
        self.mlp = ChannelAggregationFFN(channels, int(channels * ffn_ratio))
        self.drop_path = DropPath(drop_path)
        shape = (1, channels, 1, 1)
        self.layer_scale_1 = nn.Parameter(torch.full(shape, layer_scale))
        self.layer_scale_2 = nn.Parameter(torch.full(shape, layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1 * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2 * self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """3x3 convolution of stride 2 and a norm, between two stages."""

    def __init__(self, in_channels: int, channels: int, norm_cfg: dict):
        super().__init__()
        self.projection = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
        self.norm = build_norm(norm_cfg, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.projection(x))

    def fused(self) -> nn.Module:
        """Return an equivalent layer for inference, see `fuse`."""
        if not can_fold(self.projection, self.norm):
            return self
        conv = fuse_conv_norm(self.projection, self.norm)
        return nn.Sequential(ChannelsLast(), conv)


class StemPatchEmbed(nn.Module):
    """Stem of stride 4: two 3x3 convolutions of stride 2 with norms, and a GELU between them."""

    def __init__(self, in_channels: int, channels: int, norm_cfg: dict):
        super().__init__()
        half = channels // 2
        self.projection = nn.Sequential(
            nn.Conv2d(in_channels, half, 3, stride=2, padding=1),
            build_norm(norm_cfg, half),
            nn.GELU(),
            nn.Conv2d(half, channels, 3, stride=2, padding=1),
            build_norm(norm_cfg, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x)

    def fused(self) -> nn.Module:
        """Return an equivalent layer for inference, see `fuse`."""
        return nn.Sequential(ChannelsLast(), fuse(self.projection))


@MODELS.register_module()
class MogaNet(BaseBackbone):
    """Multi-order gated aggregation network.

    Paper: [MogaNet: Multi-order Gated Aggregation
    Network](https://arxiv.org/abs/2211.03295) (ICLR 2024). Released weights:
    https://github.com/Westlake-AI/MogaNet. The parameters have the names of the released
    checkpoints.

    The maps of the four stages have strides 4, 8, 16 and 32. If the height or width of an image is
    not a multiple of a stride, the map has ceil(size / stride) cells; heatmap codecs of MMPose
    require multiples of 32.

    Deviations from the released code: `norm_cfg` has an effect (the pose configs of the released
    code set SyncBN under names that are ignored, and train with BN); `frozen_stages` freezes the
    stages and their norms (the released code never applies it); the gate has no option for float32
    arithmetic, since no released pose weights use it.

    Args:
        arch: `'x-tiny'`, `'tiny'`, `'small'`, `'base'`, `'large'`,
            `'x-large'`, or a dict of `embed_dims`, `depths`, `ffn_ratios`
            (four values each; `embed_dims` are multiples of 8).
        in_channels: Channels of the image.
        drop_path_rate: Rate of stochastic depth of the last block; it rises linearly from 0 at the
            first block.
        layer_scale_init_value: Initial layer scale of the residual branches.
        dilations: Dilations of the three depth-wise convolutions of each block.
        norm_cfg: Config of the norm layer, such as `dict(type='SyncBN')`; None means
            `dict(type='BN')`.
        out_indices: Stages whose maps are returned, from 0 to 3.
        frozen_stages: Stages 0 to this one are frozen; -1 freezes none.
        norm_eval: Whether batch norms stay in evaluation mode in training.
        with_cp: Whether the blocks use activation checkpointing.
        init_cfg: See `BaseBackbone`.

    Raises:
        ValueError, TypeError: If an argument is invalid; the message has the value and the choices.
    """

    arch_settings = {
        'x-tiny': dict(embed_dims=(32, 64, 96, 192), depths=(3, 3, 10, 2), ffn_ratios=(8, 8, 4, 4)),
        'tiny': dict(embed_dims=(32, 64, 128, 256), depths=(3, 3, 12, 2), ffn_ratios=(8, 8, 4, 4)),
        'small': dict(
            embed_dims=(64, 128, 320, 512), depths=(2, 3, 12, 2), ffn_ratios=(8, 8, 4, 4)
        ),
        'base': dict(embed_dims=(64, 160, 320, 512), depths=(4, 6, 22, 3), ffn_ratios=(8, 8, 4, 4)),
        'large': dict(
            embed_dims=(64, 160, 320, 640), depths=(4, 6, 44, 4), ffn_ratios=(8, 8, 4, 4)
        ),
        'x-large': dict(
            embed_dims=(96, 192, 480, 960), depths=(6, 6, 44, 4), ffn_ratios=(8, 8, 4, 4)
        ),
    }
    arch_aliases = {
        'xt': 'x-tiny', 'xtiny': 'x-tiny', 't': 'tiny', 's': 'small',
        'b': 'base', 'l': 'large', 'xl': 'x-large', 'xlarge': 'x-large'
    }  # yapf: disable
    #: strides of the maps of the four stages
    strides = (4, 8, 16, 32)

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-5,
        dilations: Sequence[int] = (1, 2, 3),
        norm_cfg: dict | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(
            num_stages=4,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        settings = choose_arch(arch, self.arch_settings, self.arch_aliases)
        self._check_settings(settings)
        arguments.check_positive_int('in_channels', in_channels)
        arguments.check_rate('drop_path_rate', drop_path_rate)
        arguments.check_number('layer_scale_init_value', layer_scale_init_value)
        arguments.check_ints('dilations', dilations, 3, each='one per convolution')
        norm_cfg = dict(type='BN') if norm_cfg is None else norm_cfg
        self.embed_dims = tuple(settings['embed_dims'])
        self.depths = tuple(settings['depths'])

        drop_paths = iter(drop_path_rates(drop_path_rate, sum(self.depths)))
        previous = in_channels
        for stage, (channels, depth, ffn_ratio) in enumerate(
            zip(self.embed_dims, self.depths, settings['ffn_ratios'])
        ):
            embed = StemPatchEmbed if stage == 0 else PatchEmbed
            blocks = nn.ModuleList(
                MogaBlock(
                    channels,
                    ffn_ratio,
                    next(drop_paths),
                    norm_cfg,
                    float(layer_scale_init_value),
                    dilations,
                )
                for _ in range(depth)
            )
            number = stage + 1  # released weights count stages from 1
            self.add_module(f'patch_embed{number}', embed(previous, channels, norm_cfg))
            self.add_module(f'blocks{number}', blocks)
            self.add_module(f'norm{number}', build_norm(norm_cfg, channels))
            previous = channels
        self.freeze_stages()

    def _check_settings(self, settings: dict) -> None:
        arguments.check_stages(settings, self.num_stages)
        arguments.check_positive_numbers(
            "arch['ffn_ratios']", settings['ffn_ratios'], self.num_stages
        )
        widths = tuple(settings['embed_dims'])
        if any(width % 8 for width in widths):
            raise ValueError(
                f'arch has embed_dims={widths}: expected multiples of 8, '
                'since channels are split 1 : 3 : 4'
            )

    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """Return the modules of a stage, 0 to 3: embedding, blocks, norm."""
        for name in ('patch_embed', 'blocks', 'norm'):
            yield getattr(self, f'{name}{stage + 1}')

    def init_weights_from_scratch(self) -> None:
        """Initialize convolutions as in the paper.

        Norms and layer scales are initialized at construction.
        """
        init_conv_fan_out(self)

    def fused(self) -> 'MogaNet':
        """Fuse the blocks whose norms are batch norms, see `BaseBackbone.fused`."""
        replaced = {}
        for stage in range(self.num_stages):
            _, blocks, norm = self.stage_modules(stage)
            if all(map(can_fuse, blocks)):
                replaced[f'blocks{stage + 1}'] = nn.ModuleList(map(FusedMogaBlock, blocks))
                replaced[f'norm{stage + 1}'] = nn.Sequential(norm, ChannelsFirst())
        return fuse_children(self, replaced)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            A map (N, embed_dims[stage], ceil(H / stride), ceil(W / stride)) for each stage of
            `out_indices`.
        """
        outputs = []
        for stage in range(self.out_indices[-1] + 1):
            embed, blocks, norm = self.stage_modules(stage)
            x = embed(x)
            for block in blocks:
                if self.with_cp and self.training:
                    x = checkpointed(block, x)
                else:
                    x = block(x)
            x = norm(x)
            if stage in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
