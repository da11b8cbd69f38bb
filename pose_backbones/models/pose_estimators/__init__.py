"""Pose estimators; they stand on MMPose's."""

from ..ensembles.ensemble import HeatmapEnsemble
from ..ensembles.members import EnsembleMembers
from .hrcomer import HRCoMerEstimator
from .topdown import TopdownPoseEstimator

__all__ = ['EnsembleMembers', 'HRCoMerEstimator', 'HeatmapEnsemble', 'TopdownPoseEstimator']
