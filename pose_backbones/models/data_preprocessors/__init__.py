"""Data preprocessors; they stand on MMPose's."""

from .pyramid import PyramidDataPreprocessor

__all__ = ['PyramidDataPreprocessor']
