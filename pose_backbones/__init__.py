"""Pose backbones for MMPose: MogaNet and, step by step, its peers.

Importing the package registers its modules and mends known faults of the
host on a current PyTorch (see `pose_backbones.compat`); it does nothing else.
Import it before `mmpose` where only `mmcv-lite` is installed.
"""

from .registry import MODELS, TRANSFORMS
from .utils.host import register_in_mmpose
from .version import __version__

register_in_mmpose()

__all__ = ['MODELS', 'TRANSFORMS', '__version__']
