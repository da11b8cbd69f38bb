"""Changes of MMPose's configs and models for tests: small images, and random weights."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from torch import nn


def resized(cfg: Config, sizes: Mapping[tuple[int, int], tuple[int, int]]) -> Config:
    """Return a config with other sizes.

    Args:
        cfg: The config.
        sizes: Size, a list or tuple of two integers in the config → other size.
    """
    if not sizes:
        return cfg
    return Config(_resized(cfg.to_dict(), sizes), filename=cfg.filename)


def _resized(value: Any, sizes: Mapping) -> Any:
    if isinstance(value, dict):
        return {key: _resized(value[key], sizes) for key in value}
    if isinstance(value, list | tuple):
        items = tuple(_resized(item, sizes) for item in value)
        is_size = len(items) == 2 and all(isinstance(item, int) for item in items)
        return type(value)(sizes.get(items, items) if is_size else items)
    return value


def randomize(model: nn.Module, size: tuple[int, int]) -> None:
    """Set random parameters, with norms whose statistics are those of a random image.

    Heatmaps have a positive maximum, without which MMPose decodes no position.

    Args:
        model: An estimator in evaluation mode.
        size: Height and width of the image.
    """
    generator = torch.Generator().manual_seed(0)
    for name, value in model.named_parameters():
        if value.ndim > 1:
            value.data.normal_(std=value[0].numel() ** -0.5, generator=generator)
        elif name.endswith(('weight', 'bias')):  # others are scales, such as those of attention
            value.data.normal_(mean=name.endswith('weight'), std=0.1, generator=generator)
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        features = model.extract_feat(torch.randn(2, 3, *size, generator=generator))
        if any(norm in norms for norm in model.head.modules()):
            model.head.forward(features)
    for norm in norms:
        norm.eval()
    final_layer = getattr(model.head, 'final_layer', None)
    if isinstance(final_layer, nn.Conv2d):
        final_layer.bias.data += 4
