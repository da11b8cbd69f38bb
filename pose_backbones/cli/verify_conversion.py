"""Whether weights fit strictly, into a config's model or one made after them."""

import re

from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import Tensor, nn

from ..checkpoints.loading import load_weights
from ..configs import building, load_config
from ..errors import CheckpointError
from ..preflight import check_types


def verify_with_config(weights: dict[str, Tensor], config: str, source: str) -> None:
    """Load weights strictly into a config's model.

    Args:
        weights: In today's names; of a whole model or of a backbone alone,
            which then is all that is compared.
        config: Path of the config.
        source: Where the weights come from, for messages.

    Raises:
        CheckpointError: If they do not fit.
        ConfigError: If the model cannot be built.
    """
    register_all_modules()
    cfg = load_config(config)
    check_types(cfg)
    with building(cfg):
        model = MODELS.build(cfg.model)
    if any(name.startswith('head.') for name in weights):
        load_weights(model, weights, source)
    else:
        _load_part(model.backbone, _part(weights, 'backbone'), source)


def verify(weights: dict[str, Tensor], family: str, source: str) -> None:
    """Load weights strictly into modules that are made after them.

    Args:
        weights: In today's names.
        family: Class of the backbone.
        source: Where the weights come from, for messages.

    Raises:
        CheckpointError: If they do not fit, or a model cannot be made after
            them without a config.
    """
    register_all_modules()
    backbone = _part(weights, 'backbone')
    _load_part(_make_backbone(family, backbone, source), backbone, source)
    head = _part(weights, 'head')
    if head:
        _load_part(_make_head(head, source), head, source)
    if len(backbone) + len(head) < len(weights):
        raise _needs_config(source, 'it has a neck')


def _part(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {
        name[len(part) + 1 :]: value
        for name, value in weights.items()
        if name.startswith(f'{part}.')
    }


def _load_part(module: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    load_weights(module, weights, source, optional=getattr(module, 'pretrained_missing', ()))


def _needs_config(source: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f'{source} was recognised, but {reason}: give the --config of its '
        'model to verify the conversion with'
    )


def _make_backbone(family: str, weights: dict[str, Tensor], source: str) -> nn.Module:
    if family == 'TimmBackbone':
        raise _needs_config(source, 'it is of a timm model')
    if family == 'SwinTransformer':
        return MODELS.build(swin_config(weights))
    kind = MODELS.get(f'pose_backbones.{family}')
    arch = kind.guess_arch(weights)
    if arch is None:
        raise _needs_config(source, f'its size is none of {", ".join(kind.arch_settings)}')
    options = {}
    if family == 'UniFormer':
        scales = [0.0 if f'blocks{stage}.0.gamma_1' in weights else None for stage in range(1, 5)]
        options['layer_scale_init_value'] = scales
    return kind(arch, **options)


def swin_config(weights: dict[str, Tensor]) -> dict:
    """The config of MMPose's Swin that has these weights.

    Args:
        weights: Of the backbone, in today's names, without prefix.

    Returns:
        A config.
    """
    blocks = {
        tuple(map(int, found.groups()))
        for found in (re.match(r'stages\.(\d+)\.blocks\.(\d+)\.', name) for name in weights)
        if found
    }
    stages = 1 + max(stage for stage, _ in blocks)
    tables = [
        weights[f'stages.{stage}.blocks.0.attn.w_msa.relative_position_bias_table'].shape
        for stage in range(stages)
    ]
    return dict(
        type='mmpose.SwinTransformer',
        embed_dims=weights['patch_embed.projection.weight'].shape[0],
        depths=[sum(stage == at for at, _ in blocks) for stage in range(stages)],
        num_heads=[heads for _, heads in tables],
        window_size=(round(tables[0][0] ** 0.5) + 1) // 2,
        strides=(4, 2, 2, 2)[:stages],
        out_indices=[stage for stage in range(stages) if f'norm{stage}.weight' in weights],
    )


def _make_head(weights: dict[str, Tensor], source: str) -> nn.Module:
    if 'final_layer.weight' not in weights:
        raise _needs_config(source, 'its head is no HeatmapHead')
    convolutions = {
        kind: [
            value.shape
            for name, value in weights.items()
            if re.fullmatch(rf'{kind}\.\d+\.weight', name) and value.ndim == 4
        ]
        for kind in ('deconv_layers', 'conv_layers')
    }
    deconv, conv = convolutions.values()
    last = weights['final_layer.weight'].shape
    return MODELS.build(
        dict(
            type='mmpose.HeatmapHead',
            in_channels=(deconv[0][0] if deconv else (conv or [last])[0][1]),
            out_channels=last[0],
            deconv_out_channels=[shape[1] for shape in deconv],
            deconv_kernel_sizes=[shape[2] for shape in deconv],
            conv_out_channels=[shape[0] for shape in conv],
            conv_kernel_sizes=[shape[2] for shape in conv],
            final_layer=dict(kernel_size=last[2], padding=last[2] // 2),
        )
    )
