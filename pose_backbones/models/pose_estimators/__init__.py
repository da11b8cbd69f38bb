"""Pose estimators; they stand on MMPose's."""

from .topdown import TopdownPoseEstimator

__all__ = ['TopdownPoseEstimator']
