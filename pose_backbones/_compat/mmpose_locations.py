"""Imported by MMPose's model registry, after MMPose's own models."""

from mmpose.registry import MODELS

from .mmpose_registry import add_names

add_names(MODELS)
