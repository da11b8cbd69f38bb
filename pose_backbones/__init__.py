"""Pose backbones for MMPose: MogaNet, UniFormer, ConvNeXt, any of timm.

Importing the package registers its modules and mends known faults of the
host on a current PyTorch (see `pose_backbones.compat`); it does nothing else.
Import it before `mmpose` where only `mmcv-lite` is installed.

`list_models`, `get_config` and `build` give its models by name.
"""

from .registry import MODELS, TRANSFORMS
from .utils.host import register_in_mmpose
from .version import __version__

register_in_mmpose()

#: from `pose_backbones.zoo`, which is imported when one is first asked for
_ZOO = ('build', 'get_config', 'list_models')

__all__ = [
    'MODELS', 'TRANSFORMS', '__version__', 'build', 'get_config', 'list_models'
]


def __getattr__(name: str):
    if name in _ZOO:
        from . import zoo
        return getattr(zoo, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *_ZOO})
