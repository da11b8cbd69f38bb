"""Data preprocessors, based on those of MMPose."""

from .pyramid import PyramidDataPreprocessor

__all__ = ['PyramidDataPreprocessor']
