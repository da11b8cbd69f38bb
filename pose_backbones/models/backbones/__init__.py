"""Backbones, one file for each architecture."""

from .base import BaseBackbone
from .moganet import MogaNet

__all__ = ['BaseBackbone', 'MogaNet']
