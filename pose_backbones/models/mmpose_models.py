"""Register the models that are based on MMPose, see `pose_backbones.registry`."""

from . import data_preprocessors, heads, pose_estimators  # noqa: F401
from .backbones import swin  # noqa: F401
