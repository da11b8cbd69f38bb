"""Build norm layers from a config."""

from mmcv.cnn import build_norm_layer
from mmengine.registry import MODELS
from torch import nn

from ...errors import closest


def build_norm(norm_cfg: dict, channels: int) -> nn.Module:
    """Build a norm layer.

    Args:
        norm_cfg: Config of the layer, such as `dict(type='BN')`, `dict(type='SyncBN')`, or
            `dict(type='GN', num_groups=8)`; `requires_grad=False` freezes it.
        channels: Number of channels.

    Returns:
        The layer.

    Raises:
        ValueError: If `norm_cfg` is not the config of a norm layer; the message has the choices.
    """
    kind = norm_cfg.get('type') if isinstance(norm_cfg, dict) else None
    if kind is None or (isinstance(kind, str) and MODELS.get(kind) is None):
        names = [
            name
            for name, layer in MODELS.module_dict.items()
            if issubclass(layer, nn.Module) and 'norm' in layer.__name__.lower()
        ]
        hint = closest(str(kind), names)
        raise ValueError(
            f'norm_cfg is {norm_cfg!r}: expected a dict whose type is one of '
            f'{", ".join(sorted(names))}{hint}'
        )
    return build_norm_layer(norm_cfg, channels)[1]
