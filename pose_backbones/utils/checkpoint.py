"""Deprecated: use `pose_backbones.checkpoints`. Will be removed in the next release."""

from .._deprecation import moved

__getattr__ = moved(
    __name__,
    'pose_backbones.checkpoints',
    'check_checkpoint_path',
    'get_weights',
    'load_weights',
    'read_checkpoint',
)
