"""Pose estimators; they stand on MMPose's."""

from .ensemble import HeatmapEnsemble
from .ensemble_members import EnsembleMembers
from .hrcomer import HRCoMerEstimator
from .topdown import TopdownPoseEstimator

__all__ = [
    'EnsembleMembers', 'HRCoMerEstimator', 'HeatmapEnsemble',
    'TopdownPoseEstimator'
]
