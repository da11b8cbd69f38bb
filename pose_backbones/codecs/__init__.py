"""Codecs: key points to targets, and outputs to key points."""

from .coarse_to_fine_heatmap import CoarseToFineHeatmap
from .multi_scale_joints import MultiScaleJoints

__all__ = ['CoarseToFineHeatmap', 'MultiScaleJoints']
