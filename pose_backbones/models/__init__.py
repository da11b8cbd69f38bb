"""Models; importing this registers those that do not need MMPose.

The others are imported by `mmpose_models`.
"""

from . import backbones  # noqa: F401
