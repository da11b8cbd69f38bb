"""Backbones, one module for each architecture."""

from .base import BaseBackbone
from .convnext import ConvNeXt
from .hrcomer import HRCoMer
from .moganet import MogaNet
from .mspn import MSPN
from .timm_backbone import TimmBackbone
from .uniformer import UniFormer

__all__ = ['MSPN', 'BaseBackbone', 'ConvNeXt', 'HRCoMer', 'MogaNet', 'TimmBackbone', 'UniFormer']
