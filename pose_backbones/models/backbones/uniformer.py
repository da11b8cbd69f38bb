"""UniFormer: convolutions in the first two stages, self-attention in the last two."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoints.names.uniformer import convert_backbone
from ...errors import closest
from ...registry import MODELS
from ...utils import arguments
from ..layers import DropPath, build_norm, checkpointed, drop_path_rates
from .base import BaseBackbone, choose_arch
from .uniformer_fused import FusedAttentionBlock, FusedConvBlock, can_fuse, fuse_embed

EPS = 1e-6  # of the layer norms of blocks and output maps


def norm_channels(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer norm over C to a map (N, C, H, W)."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """Embedding of patches that do not overlap, with a layer norm.

    Args:
        in_channels, channels: Channels of input and output.
        stride: Size of a patch.
    """

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.proj = nn.Conv2d(in_channels, channels, stride, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return norm_channels(self.norm, self.proj(x))

    def fused(self) -> nn.Module:
        """Return an equivalent layer for inference, see `fuse`."""
        return fuse_embed(self)


class ConvPatchEmbed(nn.Module):
    """Embedding of overlapping patches: 3x3 convolutions of stride 2, each with a norm.

    There is a GELU between two convolutions.

    Args:
        in_channels, channels: Channels of input and output.
        stride: 2 for one convolution, 4 for two.
        norm_cfg: Config of the norm layer.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, norm_cfg: dict):
        super().__init__()
        widths = [in_channels, channels]
        if stride == 4:
            widths.insert(1, channels // 2)
        layers = []
        for before, after in pairwise(widths):
            layers += [nn.GELU()] if layers else []
            layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1))
            layers.append(build_norm(norm_cfg, after))
        self.proj = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Attention(nn.Module):
    """Multi-head self-attention over a map or over windows of it.

    Args:
        channels: Number of channels, C, a multiple of `head_dim`.
        head_dim: Channels of an attention head.
        qkv_bias: Whether queries, keys and values have a bias.
        window_size: Size of the windows, which start at the top left corner. The map is padded with
            zeros on the right and at the bottom; padded cells take part in the attention. None
            means global attention.
    """

    def __init__(self, channels: int, head_dim: int, qkv_bias: bool, window_size: int | None):
        super().__init__()
        self.heads = channels // head_dim
        self.window_size = window_size
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)

    def _attend(self, tokens: Tensor) -> Tensor:
        """Apply attention between all L tokens: (N, L, C) → (N, L, C)."""
        batch, length, channels = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, length, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()
        y = F.scaled_dot_product_attention(query, key, value)
        return self.proj(y.transpose(1, 2).reshape(batch, length, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) → (N, H, W, C)."""
        batch, height, width, channels = x.shape
        side = self.window_size
        if side is None:
            return self._attend(x.flatten(1, 2)).view(x.shape)
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.reshape(batch, rows, side, columns, side, channels)
        windows = x.transpose(2, 3).reshape(batch * rows * columns, side * side, channels)
        x = self._attend(windows)
        x = x.view(batch, rows, columns, side, side, channels)
        x = x.transpose(2, 3).reshape(batch, rows * side, columns * side, channels)
        return x[:, :height, :width]


class Mlp(nn.Module):
    """Two point-wise layers with a GELU between them.

    Args:
        channels: Number of channels, C; the hidden layer has four times as many.
        layer: `nn.Linear` for (N, H, W, C), or `_point_wise` for (N, C, H, W).
    """

    def __init__(self, channels: int, layer: Callable[[int, int], nn.Module]):
        super().__init__()
        self.fc1 = layer(channels, 4 * channels)
        self.act = nn.GELU()
        self.fc2 = layer(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def _point_wise(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1)


class Block(nn.Module):
    """Base class of both kinds of blocks: a position embedding and two residual branches.

    The position embedding is a 3x3 depth-wise convolution. Each residual branch starts with a norm
    and optionally ends with a layer scale.

    Args:
        channels: Number of channels, C.
        drop_path: Probability of dropping a residual branch of a sample.
        layer_scale: Initial layer scale; None for no layer scale.
    """

    #: shape of the layer scale in the released weights, -1 for C
    scale_shape: tuple[int, ...] = (-1,)

    def __init__(self, channels: int, drop_path: float, layer_scale: float | None):
        super().__init__()
        self.pos_embed = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.drop_path = DropPath(drop_path)
        self.gamma_1 = self.gamma_2 = None
        if layer_scale is not None:
            start = torch.full((channels,), float(layer_scale))
            start = start.reshape(self.scale_shape)
            self.gamma_1 = nn.Parameter(start)
            self.gamma_2 = nn.Parameter(start.clone())

    def _residual(self, y: Tensor, gamma: Tensor | None) -> Tensor:
        return self.drop_path(y if gamma is None else gamma * y)


class ConvBlock(Block):
    """Block with local aggregation: a 5x5 depth-wise convolution.

    Args:
        channels, drop_path, layer_scale: See `Block`.
        norm_cfg: Config of the norm layer.
    """

    scale_shape = (1, -1, 1, 1)

    def __init__(self, channels: int, drop_path: float, layer_scale: float | None, norm_cfg: dict):
        super().__init__(channels, drop_path, layer_scale)
        self.norm1 = build_norm(norm_cfg, channels)
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Conv2d(channels, channels, 1)
        self.attn = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm2 = build_norm(norm_cfg, channels)
        self.mlp = Mlp(channels, _point_wise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        x = x + self.pos_embed(x)
        y = self.conv2(self.attn(self.conv1(self.norm1(x))))
        x = x + self._residual(y, self.gamma_1)
        return x + self._residual(self.mlp(self.norm2(x)), self.gamma_2)

    def fused(self) -> nn.Module:
        """Return an equivalent block for inference, see `fuse`."""
        return FusedConvBlock(self) if can_fuse(self) else self


class AttentionBlock(Block):
    """Block with global aggregation: self-attention.

    Args:
        channels, drop_path, layer_scale: See `Block`.
        head_dim, qkv_bias, window_size: See `Attention`.
    """

    def __init__(
        self,
        channels: int,
        drop_path: float,
        layer_scale: float | None,
        head_dim: int,
        qkv_bias: bool,
        window_size: int | None,
    ):
        super().__init__(channels, drop_path, layer_scale)
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.attn = Attention(channels, head_dim, qkv_bias, window_size)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.mlp = Mlp(channels, nn.Linear)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        x = (x + self.pos_embed(x)).permute(0, 2, 3, 1)
        x = x + self._residual(self.attn(self.norm1(x)), self.gamma_1)
        x = x + self._residual(self.mlp(self.norm2(x)), self.gamma_2)
        return x.permute(0, 3, 1, 2)

    def fused(self) -> nn.Module:
        """Return an equivalent block for inference, see `fuse`."""
        return FusedAttentionBlock(self)


@MODELS.register_module()
class UniFormer(BaseBackbone):
    """UniFormer, a network of two convolutional stages and two stages with self-attention.

    Paper: [UniFormer: Unifying Convolution and Self-attention for Visual
    Recognition](https://arxiv.org/abs/2201.09450) (TPAMI 2023). Released
    weights: https://github.com/Sense-X/UniFormer. The parameters have the names of the released
    pose checkpoints, where the norms of all four maps exist for any `out_indices`. Weights of
    ImageNet releases are converted when they are loaded (see `checkpoints.names.uniformer`) if the
    arguments match: releases with token labelling and `small_plus` have `head_dim=32`, unless their
    name contains `dim64`; `large_ls_tl` has `layer_scale_init_value=1e-6`, `base_ls` the same in
    the last two stages only. `head_dim` does not change the shape of any weight: weights also load
    with a wrong `head_dim`, but the outputs are then wrong.

    The maps of the four stages have strides 4, 8, 16 and 32. A map has floor(size / stride) cells,
    at least one; remaining pixels on the right and at the bottom are ignored. With the
    convolutional stem (`small-plus`), it has ceil(size / stride) cells. Windows work with maps of
    any size.

    Deviations from the released code: one argument for the kind of attention; attention with
    PyTorch's fused kernel, which FLOP counters based on modules do not count; batch norms are built
    from `norm_cfg`; checkpointed blocks count a batch once in the statistics of batch norms; maps
    that are not returned are not normalized. Dropout and a custom scale of the queries, which no
    release uses, are not implemented. In the UniFormer project of MMPose, the layer norms of the
    blocks have an epsilon of 1e-5; here it is 1e-6, as in the original.

    Args:
        arch: `'small'`, `'small-plus'`, `'base'`, `'large'`, or a dict of
            `embed_dims` and `depths` (four values each) and `conv_stem` (whether patches overlap).
        in_channels: Channels of the image.
        attention: Kind of attention in stage 2: `'global'`, `'windows'`, or `'hybrid'`, where every
            fourth block is global and the others use windows. Stage 3 is always global.
        window_size: Size of a window in cells; None means 14.
        head_dim: Channels of an attention head.
        qkv_bias: Whether queries, keys and values have a bias.
        drop_path_rate: Rate of stochastic depth of the last block; it rises linearly from 0 at the
            first block.
        layer_scale_init_value: Initial layer scale, or four values, one for each stage; None for no
            layer scale.
        norm_cfg: Config of the norm layer of the convolutional blocks and the convolutional stem,
            such as `dict(type='SyncBN')`; None means `dict(type='BN')`.
        out_indices: Stages whose maps are returned, from 0 to 3.
        frozen_stages: Stages 0 to this one are frozen; -1 freezes none.
        norm_eval: Whether batch norms stay in evaluation mode in training.
        with_cp: Whether the blocks use activation checkpointing.
        use_checkpoint: Whether the blocks of `checkpoint_num` use activation checkpointing; not
            together with `with_cp`.
        checkpoint_num: Number of blocks of each stage, from the first one, that use activation
            checkpointing with `use_checkpoint`; None means all. Without `use_checkpoint`, it has no
            effect.
        init_cfg: See `BaseBackbone`.

    Raises:
        ValueError, TypeError: If an argument is invalid; the message has the value and the choices.
    """

    arch_settings = {
        name: dict(embed_dims=dims, depths=depths, conv_stem=stem)
        for name, dims, depths, stem in (
            ('small', (64, 128, 320, 512), (3, 4, 8, 3), False),
            ('small-plus', (64, 128, 320, 512), (3, 5, 9, 3), True),
            ('base', (64, 128, 320, 512), (5, 8, 20, 7), False),
            ('large', (128, 192, 448, 640), (5, 10, 24, 7), False),
        )
    }
    arch_aliases = {
        's': 'small', 's+': 'small-plus', 'small_plus': 'small-plus',
        'b': 'base', 'l': 'large'
    }  # yapf: disable
    attentions = ('global', 'windows', 'hybrid')
    #: strides of the maps of the four stages
    strides = (4, 8, 16, 32)
    convert_names = staticmethod(convert_backbone)
    without_checkpointing: ClassVar = {'with_cp': False, 'use_checkpoint': False}

    def __init__(
        self,
        arch: str | dict = 'small',
        in_channels: int = 3,
        attention: str = 'global',
        window_size: int | None = None,
        head_dim: int = 64,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | Sequence | None = None,
        norm_cfg: dict | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        use_checkpoint: bool = False,
        checkpoint_num: Sequence[int] | None = None,
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
        arguments.check_stages(settings, self.num_stages)
        arguments.check_flag("arch['conv_stem']", settings['conv_stem'])
        arguments.check_positive_int('in_channels', in_channels)
        arguments.check_flag('qkv_bias', qkv_bias)
        arguments.check_rate('drop_path_rate', drop_path_rate)
        norm_cfg = dict(type='BN') if norm_cfg is None else norm_cfg
        self.embed_dims = tuple(settings['embed_dims'])
        self.depths = tuple(settings['depths'])
        self.conv_stem = settings['conv_stem']
        self._check_head_dim(head_dim)
        self._set_checkpointing(use_checkpoint, checkpoint_num)
        windows = self._windows(attention, window_size)
        scales = self._layer_scales(layer_scale_init_value)

        drop_paths = iter(drop_path_rates(drop_path_rate, sum(self.depths)))
        previous = in_channels
        for stage, channels in enumerate(self.embed_dims):
            sizes = (previous, channels, 2 if stage else 4)
            embed = ConvPatchEmbed(*sizes, norm_cfg) if self.conv_stem else PatchEmbed(*sizes)
            blocks = nn.ModuleList()
            for index in range(self.depths[stage]):
                window = windows[index % len(windows)] if stage == 2 else None
                shared = (channels, next(drop_paths), scales[stage])
                blocks.append(
                    ConvBlock(*shared, norm_cfg)
                    if stage < 2
                    else AttentionBlock(*shared, head_dim, qkv_bias, window)
                )
            number = stage + 1  # released weights count stages from 1
            self.add_module(f'patch_embed{number}', embed)
            self.add_module(f'blocks{number}', blocks)
            self.add_module(f'norm{number}', nn.LayerNorm(channels, eps=EPS))
            previous = channels
        self.freeze_stages()

    @classmethod
    def naming_variants(cls) -> list[dict]:
        """Return arguments of backbones that have every name, up to the numbers in it."""
        return [*super().naming_variants(), dict(layer_scale_init_value=1.0)]

    @classmethod
    def guess_config(cls, weights: Mapping[str, Tensor]) -> dict:
        """Return the arguments of a backbone that has these weights, see `BaseBackbone`."""
        scales = [0.0 if f'blocks{stage}.0.gamma_1' in weights else None for stage in range(1, 5)]
        return dict(super().guess_config(weights), layer_scale_init_value=scales)

    def _check_head_dim(self, head_dim: int) -> None:
        arguments.check_positive_int('head_dim', head_dim)
        if any(width % head_dim for width in self.embed_dims[2:]):
            raise ValueError(
                f'head_dim is {head_dim!r}: expected a number that divides '
                f'the widths of the last two stages, {self.embed_dims[2:]}'
            )

    def _set_checkpointing(self, use_checkpoint: bool, numbers: Sequence[int] | None) -> None:
        """Set the blocks that use activation checkpointing.

        Configs of MMPose's UniFormer project have `use_checkpoint` and `checkpoint_num`.
        """
        arguments.check_flag('use_checkpoint', use_checkpoint)
        if use_checkpoint and self.with_cp:
            raise ValueError(
                'with_cp=True (every block) and use_checkpoint=True (some): expected one of them'
            )
        numbers = self.depths if numbers is None else numbers
        arguments.check_ints('checkpoint_num', numbers, 4, least=0)
        fits = all(n <= depth for n, depth in zip(numbers, self.depths))
        if not fits or (use_checkpoint and not any(numbers)):
            raise ValueError(
                f'checkpoint_num is {numbers!r}: expected a number for each stage, at most that '
                f'of its {self.depths} blocks, and not 0 for all'
            )
        self.checkpoint_num = tuple(numbers if use_checkpoint else self.depths)
        self.with_cp = self.with_cp or use_checkpoint

    def _windows(self, attention: str, window_size: int | None) -> list[int | None]:
        """Return the window sizes that the blocks of stage 2 use in turn; None is global."""
        if attention not in self.attentions:
            raise ValueError(
                f'attention is {attention!r}: expected one of '
                f'{", ".join(self.attentions)}'
                f'{closest(str(attention), self.attentions)}'
            )
        side = 14 if window_size is None else window_size
        arguments.check_positive_int('window_size', side)
        if window_size is not None and attention == 'global':
            raise ValueError(
                f'window_size is {side!r} with attention={attention!r}: '
                "expected None, or attention='windows' or 'hybrid'"
            )
        return {'global': [None], 'windows': [side], 'hybrid': [side, side, side, None]}[attention]

    def _layer_scales(self, value) -> list[float | None]:
        """Return the initial layer scale of each stage; None for no layer scale."""
        values = value if isinstance(value, Sequence) else [value] * 4
        if len(values) != 4 or not all(
            item is None or arguments.is_number(item) for item in values
        ):
            raise ValueError(
                f'layer_scale_init_value is {value!r}: expected a number or '
                'None, or 4 such values, one for each stage'
            )
        return [None if item is None else float(item) for item in values]

    def stage_modules(self, stage: int) -> Iterator[nn.Module]:
        """Return the modules of a stage, 0 to 3: embedding, blocks, norm."""
        for name in ('patch_embed', 'blocks', 'norm'):
            yield getattr(self, f'{name}{stage + 1}')

    def freeze_stages(self) -> None:
        """Freeze stages as in the base class, and the norms of maps that are not returned."""
        super().freeze_stages()
        for name in self._unused_norms():
            getattr(self, name).requires_grad_(False)

    def _unused_norms(self) -> list[str]:
        return [
            f'norm{stage + 1}' for stage in range(self.num_stages) if stage not in self.out_indices
        ]

    def unused_weights(self) -> tuple[str, ...]:
        """Return the prefixes of the norms of maps that are not returned."""
        return tuple(f'{name}.' for name in self._unused_norms())

    def init_weights_from_scratch(self) -> None:
        """Initialize linear layers as in the original.

        Convolutions keep PyTorch's default initialization, as in the original.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            A map (N, embed_dims[stage], H // stride, W // stride) for each stage of `out_indices`;
            sizes are rounded up with the convolutional stem.

        Raises:
            ValueError: If the image is too small for a single cell.
        """
        last = self.out_indices[-1]
        _check_size(x, 1 if self.conv_stem else self.strides[last], last)
        outputs = []
        for stage in range(last + 1):
            embed, blocks, norm = self.stage_modules(stage)
            x = embed(x)
            for index, block in enumerate(blocks):
                if self.with_cp and self.training and index < self.checkpoint_num[stage]:
                    x = checkpointed(block, x)
                else:
                    x = block(x)
            if stage in self.out_indices:
                outputs.append(norm_channels(norm, x))
        return tuple(outputs)


@torch.fx.wrap  # depends on values that torch.fx does not have
def _check_size(x: Tensor, minimum: int, stage: int) -> None:
    height, width = x.shape[-2:]
    if min(height, width) < minimum:
        raise ValueError(
            f'the input is an image of {height}x{width} (height x width): expected sides '
            f'of at least {minimum}, the stride of stage {stage}'
        )
