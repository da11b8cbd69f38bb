"""Pose estimators, based on MMPose's."""

from ..ensembles.ensemble import HeatmapEnsemble
from ..ensembles.members import EnsembleMembers
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
