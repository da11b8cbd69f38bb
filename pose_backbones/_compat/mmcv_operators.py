"""Patch MMEngine's check for mmcv's operators, which calls a function that Python 3.14 removed.

If the operators are found, MMEngine converts mmcv's synchronized batch normalization for a single
process, and applies `dcn_offset_lr_mult` of `paramwise_cfg` to deformable convolutions.
"""

import pkgutil
from importlib.util import find_spec
from types import SimpleNamespace

from mmengine.utils.dl_utils import misc


def install() -> None:
    """Install the patch, if it is needed. Calling this function again has no effect."""
    if not hasattr(pkgutil, 'find_loader'):
        misc.pkgutil = SimpleNamespace(find_loader=find_spec)
