"""Models; importing this registers those that need no MMPose.

Those that do, `pose_estimators`, are imported with MMPose's own models: see
`pose_backbones._compat.mmpose_registry`.
"""

from . import backbones  # noqa: F401
