"""Models; importing this package registers those that do not need MMPose.

`mmpose_models` imports the others.
"""

from . import backbones  # noqa: F401
