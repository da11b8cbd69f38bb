"""Registers the models of this package; MMPose's model registry imports this module last."""

import mmpose.models  # noqa: F401  (registers MMPose's models first)
from mmpose.registry import MODELS

from . import bfloat16_outputs, swin_windows  # noqa: F401  (patch MMPose's models)
from .mmpose_registry import register_in

register_in(MODELS)
