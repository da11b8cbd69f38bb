"""Layers and helpers that two or more backbones share."""

from .activation_checkpoint import checkpointed
from .initialization import init_conv_fan_out
from .norm import build_norm

__all__ = ['build_norm', 'checkpointed', 'init_conv_fan_out']
