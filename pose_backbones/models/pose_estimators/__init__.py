"""Pose estimators, based on those of MMPose."""

from ..ensembles import EnsembleMembers, HeatmapEnsemble
from .hrcomer import HRCoMerEstimator
from .mspn import MSPNEstimator
from .topdown import TopdownPoseEstimator

__all__ = [
    'EnsembleMembers',
    'HRCoMerEstimator',
    'HeatmapEnsemble',
    'MSPNEstimator',
    'TopdownPoseEstimator',
]
