"""Codecs: keypoints to targets, and outputs to keypoints."""

from .coarse_to_fine_heatmap import CoarseToFineHeatmap
from .multi_scale_joints import MultiScaleJoints

__all__ = ['CoarseToFineHeatmap', 'MultiScaleJoints']
