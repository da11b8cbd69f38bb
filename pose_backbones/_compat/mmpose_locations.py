"""Registers the models of this package; MMPose's model registry imports this module last."""

import mmpose.models  # noqa: F401  (registers MMPose's models first)
from mmpose.registry import MODELS

# patch MMPose's models:
from . import (  # noqa: F401
    ae_head,
    bfloat16_outputs,
    distiller_configs,
    edpose_initialization,
    js_gradient,
    swin_windows,
    udp_accuracy,
)
from .mmpose_registry import register_in

register_in(MODELS)
