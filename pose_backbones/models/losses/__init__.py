"""Losses."""

from .heatmap_loss import HardKeypointsMSELoss, VisibleKeypointsMSELoss
from .multi_person_loss import BinaryFocalLoss, HeatmapFocalLoss, JointL1Loss, LimbL1Loss, OKSLoss

__all__ = [
    'BinaryFocalLoss',
    'HardKeypointsMSELoss',
    'HeatmapFocalLoss',
    'JointL1Loss',
    'LimbL1Loss',
    'OKSLoss',
    'VisibleKeypointsMSELoss',
]
