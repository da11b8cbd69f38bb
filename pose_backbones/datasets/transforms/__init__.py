"""Transforms; importing this registers them."""

from .loading import LoadImage

__all__ = ['LoadImage']
