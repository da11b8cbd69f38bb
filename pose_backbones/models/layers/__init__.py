"""Layers and helpers that two or more backbones share."""

from .activation_checkpoint import checkpointed
from .initialization import init_conv_fan_out

__all__ = ['checkpointed', 'init_conv_fan_out']
