"""Codecs: key points to targets, and outputs to key points."""

from .coarse_to_fine_heatmap import CoarseToFineHeatmap

__all__ = ['CoarseToFineHeatmap']
