"""Verify converted weights by loading them strictly into a model."""

import re

from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import Tensor, nn

from ..checkpoints.loading import load_weights
from ..configs import building, load_config
from ..errors import CheckpointError
from ..preflight import check_types
from ..zoo.names import config_path


def verify_with_config(weights: dict[str, Tensor], config: str, source: str) -> None:
    """Load weights strictly into the model of a config.

    Args:
        weights: State dict in current names, of a whole model or of a backbone. For the latter,
            only the backbone is compared.
        config: Path of the config.
        source: Path or URL of the weights, for messages.

    Raises:
        CheckpointError: If the weights do not match the model.
        ConfigError: If the model cannot be built.
    """
    register_all_modules()
    cfg = load_config(config_path(config))
    check_types(cfg)
    with building(cfg):
        model = MODELS.build(cfg.model)
    if any(name.startswith('head.') for name in weights):
        load_weights(model, weights, source)
    else:
        _load_part(model.backbone, _part(weights, 'backbone'), source)


def verify(weights: dict[str, Tensor], family: str, source: str) -> None:
    """Load weights strictly into modules that are built from their shapes.

    Args:
        weights: State dict in current names.
        family: Class of the backbone.
        source: Path or URL of the weights, for messages.

    Raises:
        CheckpointError: If the weights do not match, or a model cannot be built from them without a
            config.
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
    load_weights(module, weights, source, optional=getattr(module, 'optional_keys', ()))


def _needs_config(source: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f'{source} was recognised, but {reason}: give the --config of its '
        'model to verify the conversion with'
    )


def _make_backbone(family: str, weights: dict[str, Tensor], source: str) -> nn.Module:
    kind = MODELS.get(f'pose_backbones.{family}')
    if kind is None:
        raise _needs_config(source, f'{family} is not a backbone of this package')
    try:
        config = kind.guess_config(weights)
    except ValueError as reason:
        raise _needs_config(source, str(reason)) from None
    return kind(**config)


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
