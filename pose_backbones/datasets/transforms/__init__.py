"""Transforms; importing this registers them."""

from .loading import LoadImage
from .person import ExtendBBox, HalfBody, MarkHidden, RandomScaleRotation

__all__ = ['ExtendBBox', 'HalfBody', 'LoadImage', 'MarkHidden', 'RandomScaleRotation']
