"""Deprecated: use `pose_backbones.synthetic`. Removed in the next release."""

from .. import synthetic
from .._deprecation import moved

__getattr__ = moved(__name__, 'pose_backbones.synthetic', *synthetic.__all__)
