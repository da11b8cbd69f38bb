"""Models: the vision transformer."""

from .backbones import VisionTransformer

__all__ = ['VisionTransformer']
