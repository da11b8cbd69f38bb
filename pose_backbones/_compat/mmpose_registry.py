"""How the package's modules appear in MMPose's own registries."""

import importlib
import importlib.util

from ..registry import MODELS
from .swin import mend as mend_swin

_LOCATION = 'pose_backbones._compat.mmpose_locations'
#: parts of `pose_backbones.models` that stand on MMPose
_WITH_MMPOSE = ('data_preprocessors', 'heads', 'pose_estimators', 'pose_estimators.mspn')


def register_in_mmpose() -> None:
    """Make bare names, `type='MogaNet'`, work in MMPose's configs.

    MMPose's registry imports its modules when it is first asked for a name;
    ours are put behind them, so that a name that MMPose itself uses, now or
    in a later release, stays MMPose's (ours is then reached with the prefix
    `pose_backbones.`), and importing this package stays fast. Without MMPose
    there is nothing to do.
    """
    if importlib.util.find_spec('mmpose') is None:
        return
    from mmpose.registry import MODELS as HOST_MODELS

    if _LOCATION not in HOST_MODELS._locations:
        HOST_MODELS._locations.append(_LOCATION)
    if HOST_MODELS._imported:
        add_names(HOST_MODELS)


def add_names(host) -> None:
    """Register our modules under their bare names where these are free, and
    mend what of MMPose's own models our configs need.

    Args:
        host: A registry of MMPose.
    """
    MODELS.import_from_location()
    for name in _WITH_MMPOSE:
        importlib.import_module(f'pose_backbones.models.{name}')
    for name, module in MODELS.module_dict.items():
        if name not in host.module_dict:
            host.register_module(name=name, module=module)
    mend_swin(host.module_dict['SwinTransformer'])
