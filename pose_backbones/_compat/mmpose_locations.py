"""Imported by MMPose's registry of models, after MMPose's own modules."""

from mmpose.registry import MODELS

from .mmpose_registry import register_in

register_in(MODELS)
