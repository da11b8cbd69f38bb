"""Pose estimators; they stand on MMPose's."""

from .ensemble import HeatmapEnsemble
from .ensemble_members import EnsembleMembers
from .topdown import TopdownPoseEstimator

__all__ = ['EnsembleMembers', 'HeatmapEnsemble', 'TopdownPoseEstimator']
