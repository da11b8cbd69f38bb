"""Vision transformer with the parameters and arguments of mmpretrain, on timm and mmcv."""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import numpy as np
import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.drop import DropPath
from mmcv.cnn.bricks.scale import LayerScale
from mmcv.cnn.bricks.transformer import FFN, PatchEmbed
from mmengine.logging import print_log
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import PretrainedInit
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS

_ARCH_KEYS = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')
_OUT_TYPES = ('raw', 'cls_token', 'featmap', 'avg_featmap')
_INTERPOLATE_MODES = ('bicubic', 'bilinear')
_FFN_TYPES = ('origin', 'swiglu_fused')
_GELU = dict(type='GELU')
_LAYER_NORM = dict(type='LN')
_PRECISE_LAYER_NORM = dict(type='LN', eps=1e-6)


def _settings(cfg: Mapping) -> dict[str, Any]:
    """Copy a config without the `_scope_` that MMEngine adds to inherited configs."""
    return {key: value for key, value in cfg.items() if key != '_scope_'}


def _norm(norm_cfg: Mapping, channels: int) -> nn.Module:
    try:
        return build_norm_layer(_settings(norm_cfg), channels)[1]
    except KeyError as error:
        raise ValueError(
            f'norm_cfg is {dict(norm_cfg)}: expected the type of a registered layer, such as '
            "'LN'. Layers of mmpretrain require mmpretrain: pip install mmpretrain==1.2.0"
        ) from error


def _scale(channels: int, initial_value: float) -> nn.Module:
    return LayerScale(channels, scale=initial_value) if initial_value > 0 else nn.Identity()


class _SwiGLU(nn.Module):
    """Feed-forward network of DINOv2-giant: W3 (SiLU(W1 x) * W2 x), see arXiv 2304.07193.

    Args:
        channels: Channels of the tokens.
        feedforward_channels: Hidden channels of the two-layer network with about as many
            parameters.
        layer_scale_init_value: See `VisionTransformer`.
    """

    def __init__(self, channels: int, feedforward_channels: int, layer_scale_init_value: float):
        super().__init__()
        hidden = -(-(feedforward_channels * 2 // 3) // 8) * 8  # a multiple of 8
        self.w12 = nn.Linear(channels, 2 * hidden)
        self.w3 = nn.Linear(hidden, channels)
        self.gamma2 = _scale(channels, layer_scale_init_value)

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """Add the output for `x` to `identity`; both are (B, N, C)."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return identity + self.gamma2(self.w3(F.silu(gate) * value))


class TransformerEncoderLayer(BaseModule):
    """Block of a vision transformer: attention and feed-forward network, each after a norm.

    Args:
        embed_dims: Channels of the tokens.
        num_heads: Attention heads.
        feedforward_channels: Hidden channels of the feed-forward network.
        layer_scale_init_value: See `VisionTransformer`.
        drop_rate: Dropout rate after the attention's projection and in the feed-forward network.
        attn_drop_rate: Dropout rate of the attention weights.
        drop_path_rate: Rate of stochastic depth.
        num_fcs: Linear layers of the feed-forward network.
        qkv_bias: Whether queries, keys and values have a bias.
        ffn_type: `'origin'` or `'swiglu_fused'`. The latter ignores, as in mmpretrain, `drop_rate`
            and `drop_path_rate` in the feed-forward network; it takes no other `num_fcs` or
            `act_cfg` than the defaults.
        act_cfg: Activation of the feed-forward network.
        norm_cfg: See `VisionTransformer`.
        init_cfg: See `mmengine.model.BaseModule`.

    Raises:
        ValueError: If an argument is invalid.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        layer_scale_init_value: float = 0.0,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        num_fcs: int = 2,
        qkv_bias: bool = True,
        ffn_type: str = 'origin',
        act_cfg: Mapping = _GELU,
        norm_cfg: Mapping = _LAYER_NORM,
        init_cfg: dict | list | None = None,
    ):
        # timm takes seconds to import; `import mmdet` imports this module.
        from timm.models.vision_transformer import Attention

        super().__init__(init_cfg)
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims is {embed_dims}: expected a multiple of {num_heads=}')
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate is {drop_path_rate}: expected 0 <= rate < 1')
        if ffn_type not in _FFN_TYPES:
            raise ValueError(f'ffn_type is {ffn_type!r}: expected one of {_FFN_TYPES}')
        act_cfg = _settings(act_cfg)
        self.ln1 = _norm(norm_cfg, embed_dims)
        self.attn = Attention(
            embed_dims, num_heads, qkv_bias=qkv_bias, attn_drop=attn_drop_rate, proj_drop=drop_rate
        )
        self.attn.gamma1 = _scale(embed_dims, layer_scale_init_value)
        self.attn.out_drop = DropPath(drop_path_rate)
        self.ln2 = _norm(norm_cfg, embed_dims)
        if ffn_type == 'origin':
            self.ffn: nn.Module = FFN(
                embed_dims=embed_dims,
                feedforward_channels=feedforward_channels,
                num_fcs=num_fcs,
                ffn_drop=drop_rate,
                dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate),
                act_cfg=act_cfg,
                layer_scale_init_value=layer_scale_init_value,
            )
        elif num_fcs != 2 or act_cfg != _GELU:
            raise ValueError(
                f'num_fcs is {num_fcs} and act_cfg is {act_cfg}: expected no such argument with '
                "ffn_type='swiglu_fused', which has its own layers and activation"
            )
        else:
            self.ffn = _SwiGLU(embed_dims, feedforward_channels, layer_scale_init_value)

    def init_weights(self) -> None:
        """Initialize as mmpretrain does: the linear layers of the feed-forward network."""
        super().init_weights()
        for module in self.ffn.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.normal_(module.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to tokens, (B, N, C)."""
        attn: Any = self.attn
        x = x + attn.out_drop(attn.gamma1(attn(self.ln1(x))))
        return self.ffn(self.ln2(x), identity=x)


@MODELS.register_module()
class VisionTransformer(BaseModule):
    """Vision transformer with the names, parameters and outputs of mmpretrain 1.2.0.

    Paper: [An Image is Worth 16x16 Words](https://arxiv.org/abs/2010.11929). The attention is
    timm's, the patch embedding and the feed-forward network are mmcv's. A position embedding for
    another image size is interpolated when it is loaded; it must be for square images.

    Deviations from mmpretrain:

    - Sapiens' architectures `'sapiens_0.3b'` to `'sapiens_2b'` are included, see
      [the paper](https://arxiv.org/abs/2408.12569).
    - If a checkpoint of a model with a class token is loaded into one without, the embedding of the
      class token is removed also if the image size differs, as in Sapiens' version of mmpretrain.
      The class token itself is removed, too.
    - Invalid arguments raise ValueError, and so do unknown keys of `arch`.

    Args:
        arch: Key of `arch_zoo`, or a dict with `embed_dims`, `num_layers`, `num_heads` and
            `feedforward_channels`.
        img_size: Size of the image, or (height, width). Images of other sizes are accepted; the
            position embedding is interpolated for them.
        patch_size: Size of a patch, or (height, width).
        in_channels: Channels of the image.
        out_indices: Blocks whose output is returned, an index or several; negative indices count
            from the end.
        drop_rate: Dropout rate after the position embedding and in the blocks.
        drop_path_rate: Rate of stochastic depth of the last block; it increases linearly from 0.
        qkv_bias: Whether queries, keys and values have a bias.
        norm_cfg: Norm layers.
        final_norm: Whether a norm, `ln1`, follows the last block.
        out_type: `'cls_token'`, (B, C); `'featmap'`, (B, C, H, W); `'avg_featmap'`, the mean of the
            feature map after a norm, `ln2`, (B, C); or `'raw'`, all tokens, (B, N, C).
        with_cls_token: Whether there is a class token.
        frozen_stages: If positive, the embeddings and this number of blocks are not trained. They
            are in evaluation mode until `train()` is called, as in mmpretrain.
        interpolate_mode: How the position embedding is interpolated, `'bicubic'` or `'bilinear'`.
        layer_scale_init_value: Initial value of the layer scale; 0 means that there is none.
        patch_cfg: More arguments of `mmcv.cnn.bricks.transformer.PatchEmbed`, such as `padding`.
        layer_cfgs: More arguments of `TransformerEncoderLayer` for all blocks, or a sequence with
            those of each block.
        pre_norm: Whether a norm precedes the first block; then, patches have no bias.
        init_cfg: See `mmengine.model.BaseModule`.

    Raises:
        ValueError: If an argument is invalid. The message has the value and the choices.
    """

    #: name → sizes; the names and sizes are mmpretrain's and Sapiens'
    arch_zoo: dict[str, dict[str, int]] = {
        name: dict(zip(_ARCH_KEYS, settings))
        for names, settings in {
            ('s', 'small'): (768, 8, 8, 2304),
            ('b', 'base', 'deit-b', 'deit-base'): (768, 12, 12, 3072),
            ('l', 'large', '0.3b', 'sapiens_0.3b'): (1024, 24, 16, 4096),
            ('h', 'huge', '0.6b', 'sapiens_0.6b'): (1280, 32, 16, 5120),
            ('eva-g', 'eva-giant'): (1408, 40, 16, 6144),
            ('deit-t', 'deit-tiny'): (192, 12, 3, 768),
            ('deit-s', 'deit-small', 'dinov2-s', 'dinov2-small'): (384, 12, 6, 1536),
            ('dinov2-g', 'dinov2-giant', '1b', 'sapiens_1b'): (1536, 40, 24, 6144),
            ('2b', 'sapiens_2b'): (1920, 48, 32, 7680),
        }.items()
        for name in names
    }

    def __init__(
        self,
        arch: str | Mapping = 'base',
        img_size: int | Sequence[int] = 224,
        patch_size: int | Sequence[int] = 16,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        qkv_bias: bool = True,
        norm_cfg: Mapping = _PRECISE_LAYER_NORM,
        final_norm: bool = True,
        out_type: str = 'cls_token',
        with_cls_token: bool = True,
        frozen_stages: int = -1,
        interpolate_mode: str = 'bicubic',
        layer_scale_init_value: float = 0.0,
        patch_cfg: Mapping | None = None,
        layer_cfgs: Mapping | Sequence[Mapping] | None = None,
        pre_norm: bool = False,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        self.arch_settings = self._arch_settings(arch)
        self.embed_dims = self.arch_settings['embed_dims']
        self.num_layers = self.arch_settings['num_layers']
        for name, value, choices in (
            ('out_type', out_type, _OUT_TYPES),
            ('interpolate_mode', interpolate_mode, _INTERPOLATE_MODES),
        ):
            if value not in choices:
                raise ValueError(f'{name} is {value!r}: expected one of {choices}')
        if out_type == 'cls_token' and not with_cls_token:
            raise ValueError("out_type is 'cls_token': expected with_cls_token=True")
        if not -1 <= frozen_stages <= self.num_layers:
            raise ValueError(
                f'frozen_stages is {frozen_stages}: expected -1 to {self.num_layers}, the number '
                'of blocks'
            )
        self.img_size = tuple(img_size) if isinstance(img_size, Sequence) else (img_size,) * 2
        self.out_type = out_type
        self.with_cls_token = with_cls_token
        self.num_extra_tokens = int(with_cls_token)
        self.frozen_stages = frozen_stages
        self.interpolate_mode = interpolate_mode
        self.out_indices = self._out_indices(out_indices)
        self.final_norm = final_norm

        self.patch_embed = PatchEmbed(
            **{
                'in_channels': in_channels,
                'input_size': self.img_size,
                'embed_dims': self.embed_dims,
                'kernel_size': patch_size,
                'stride': patch_size,
                'bias': not pre_norm,
                **_settings(patch_cfg or {}),
            }
        )
        self.patch_resolution = self.patch_embed.init_out_size
        num_tokens = self.patch_resolution[0] * self.patch_resolution[1] + self.num_extra_tokens
        self.cls_token = (
            nn.Parameter(torch.zeros(1, 1, self.embed_dims)) if with_cls_token else None
        )
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens, self.embed_dims))
        self.register_load_state_dict_pre_hook(_fit_pos_embed)
        self.drop_after_pos = nn.Dropout(drop_rate)

        rates = np.linspace(0, drop_path_rate, self.num_layers).tolist()
        self.layers = ModuleList(
            TransformerEncoderLayer(
                **{
                    'embed_dims': self.embed_dims,
                    'num_heads': self.arch_settings['num_heads'],
                    'feedforward_channels': self.arch_settings['feedforward_channels'],
                    'layer_scale_init_value': layer_scale_init_value,
                    'drop_rate': drop_rate,
                    'drop_path_rate': rate,
                    'qkv_bias': qkv_bias,
                    'norm_cfg': norm_cfg,
                    **layer_cfg,
                }
            )
            for rate, layer_cfg in zip(rates, self._layer_cfgs(layer_cfgs or {}))
        )
        self.pre_norm = _norm(norm_cfg, self.embed_dims) if pre_norm else nn.Identity()
        if final_norm:
            self.ln1 = _norm(norm_cfg, self.embed_dims)
        if out_type == 'avg_featmap':
            self.ln2 = _norm(norm_cfg, self.embed_dims)
        self._freeze()

    def _arch_settings(self, arch: str | Mapping) -> dict[str, int]:
        """Return the sizes of an architecture."""
        if isinstance(arch, str):
            if arch.lower() not in self.arch_zoo:
                raise ValueError(f'arch is {arch!r}: expected one of {", ".join(self.arch_zoo)}')
            return dict(self.arch_zoo[arch.lower()])
        if not isinstance(arch, Mapping) or set(_settings(arch)) != set(_ARCH_KEYS):
            raise ValueError(
                f'arch is {arch!r}: expected a name, or a dict with the keys '
                f'{", ".join(_ARCH_KEYS)}'
            )
        return _settings(arch)

    def _out_indices(self, out_indices: int | Sequence[int]) -> list[int]:
        """Return the indices of blocks, from 0."""
        given = [out_indices] if isinstance(out_indices, int) else list(out_indices)
        if not all(-self.num_layers <= index < self.num_layers for index in given):
            raise ValueError(
                f'out_indices is {out_indices}: expected indices of {self.num_layers} blocks, '
                f'-{self.num_layers} to {self.num_layers - 1}'
            )
        return [index % self.num_layers for index in given]

    def _layer_cfgs(self, layer_cfgs: Mapping | Sequence[Mapping]) -> list[dict[str, Any]]:
        """Return the arguments of each block."""
        if isinstance(layer_cfgs, Mapping):
            layer_cfgs = [layer_cfgs] * self.num_layers
        if len(layer_cfgs) != self.num_layers:
            raise ValueError(
                f'layer_cfgs has {len(layer_cfgs)} dicts: expected one, or {self.num_layers}, one '
                'for each block'
            )
        return [_settings(cfg) for cfg in layer_cfgs]

    def _freeze(self) -> None:
        """Stop the training of the first blocks and of what precedes them."""
        if self.frozen_stages <= 0:
            return
        self.pos_embed.requires_grad = False
        if self.cls_token is not None:
            self.cls_token.requires_grad = False
        self.drop_after_pos.eval()
        frozen = [self.patch_embed, self.pre_norm, *self.layers[: self.frozen_stages]]
        if self.frozen_stages == self.num_layers:
            frozen += [getattr(self, name) for name in ('ln1', 'ln2') if hasattr(self, name)]
        for module in frozen:
            module.eval().requires_grad_(False)

    def init_weights(self) -> None:
        """Initialize the position embedding, unless a checkpoint is loaded, and all modules."""
        super().init_weights()
        init_cfg = self.init_cfg if isinstance(self.init_cfg, dict) else {}
        if init_cfg.get('type') not in ('Pretrained', PretrainedInit):
            nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute features.

        Args:
            x: Images, (B, in_channels, height, width).

        Returns:
            The features of the blocks `out_indices`, in ascending order, see `out_type`.
        """
        x, grid = self.patch_embed(x)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1)
        x = x + resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            grid,
            self.interpolate_mode,
            self.num_extra_tokens,
        )
        x = self.pre_norm(self.drop_after_pos(x))
        outputs = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index == self.num_layers - 1 and self.final_norm:
                x = self.ln1(x)
            if index in self.out_indices:
                outputs.append(self._format_output(x, grid))
        return tuple(outputs)

    def _format_output(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Convert tokens, (B, N, C), to `out_type`."""
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        patches = x[:, self.num_extra_tokens :]
        if self.out_type == 'avg_featmap':
            return self.ln2(patches.mean(dim=1))
        return patches.transpose(1, 2).unflatten(2, grid)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter for learning rates that decay by layer.

        Args:
            param_name: Name of the parameter in a model.
            prefix: Prefix of this backbone's parameters in the model.

        Returns:
            The depth, 0 for the embeddings to `num_layers + 1` for what follows the blocks, and the
            number of depths, `num_layers + 2`.
        """
        depths = self.num_layers + 2
        kind, _, rest = param_name.removeprefix(prefix).partition('.')
        if not param_name.startswith(prefix):
            return depths - 1, depths
        if kind in ('cls_token', 'pos_embed', 'patch_embed'):
            return 0, depths
        return int(rest.partition('.')[0]) + 1 if kind == 'layers' else depths - 1, depths


def resize_pos_embed(
    pos_embed: Tensor,
    src_shape: Sequence[int],
    dst_shape: Sequence[int],
    mode: str = 'bicubic',
    num_extra_tokens: int = 1,
) -> Tensor:
    """Interpolate a position embedding for another grid of patches.

    Args:
        pos_embed: (1, N, C), the extra tokens first.
        src_shape: Grid of patches, (H, W).
        dst_shape: The other grid.
        mode: `'bicubic'` or `'bilinear'`.
        num_extra_tokens: Tokens that do not belong to the grid, such as the class token.

    Returns:
        (1, N', C).
    """
    if tuple(src_shape) == tuple(dst_shape):
        return pos_embed
    extra, patches = pos_embed[:, :num_extra_tokens], pos_embed[:, num_extra_tokens:]
    patches = patches.transpose(1, 2).unflatten(2, tuple(src_shape))
    resized = F.interpolate(patches.float(), size=tuple(dst_shape), mode=mode, align_corners=False)
    return torch.cat((extra, resized.flatten(2).transpose(1, 2).to(patches.dtype)), dim=1)


def _fit_pos_embed(
    module: VisionTransformer, state_dict: dict[str, Tensor], prefix: str, *_: Any
) -> None:
    """Fit the position embedding of a state dict to a model, in place.

    mmcls 1.0, which some of MMPose's models were trained with, has a class token in any case, and
    removes it before the first block if `with_cls_token=False`. It is removed from the state dict.

    Raises:
        ValueError: If the number of tokens is not that of a square grid.
    """
    key = f'{prefix}pos_embed'
    if key not in state_dict or state_dict[key].ndim != 3:
        return
    given, tokens = state_dict[key], module.pos_embed.shape[1]
    length = given.shape[1]
    if not module.with_cls_token and (
        length == tokens + 1 or (length != tokens and _is_square(length - 1))
    ):
        given = given[:, 1:]
        length -= 1
        if state_dict.pop(f'{prefix}cls_token', None) is not None:
            print_log(f'{prefix}cls_token is not loaded: with_cls_token=False', logger='current')
    if length != tokens:
        patches = length - module.num_extra_tokens
        if not _is_square(patches):
            height, width = module.img_size
            raise ValueError(
                f'{key} has {length} tokens: expected {tokens}, for images of {height}x{width}, or '
                'those of square images, which are interpolated'
            )
        print_log(f'Interpolate {key} from {length} to {tokens} tokens', logger='current')
        given = resize_pos_embed(
            given,
            (isqrt(patches),) * 2,
            module.patch_resolution,
            module.interpolate_mode,
            module.num_extra_tokens,
        )
    state_dict[key] = given


def _is_square(number: int) -> bool:
    return isqrt(number) ** 2 == number
