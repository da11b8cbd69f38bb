"""Deprecated: use `pose_backbones.checkpoints`. Removed in the next release."""

from ._deprecation import moved

__getattr__ = moved(
    __name__, 'pose_backbones.checkpoints', 'Conversion', 'convert_state_dict', 'inspect_state_dict'
)
