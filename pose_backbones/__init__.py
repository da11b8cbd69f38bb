"""Pose backbones for MMPose: MogaNet, UniFormer, ConvNeXt, any of timm.

Importing the package registers its modules and mends known faults of the
host on a current PyTorch (see `pose_backbones._compat`); it does nothing else.
Import it before `mmpose` where only `mmcv-lite` is installed.

`list_models`, `get_config` and `build` give its models by name;
`PoseInferencer` applies them to pictures and videos.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._compat.mmpose_registry import register_in_mmpose
from .registry import MODELS, TRANSFORMS
from .version import __version__

if TYPE_CHECKING:
    from .inference import PoseInferencer
    from .zoo import build, get_config, list_models

register_in_mmpose()

#: name → module it is from, which is imported when it is first asked for
_LATER = dict(PoseInferencer='inference', build='zoo', get_config='zoo', list_models='zoo')

__all__ = [
    'MODELS',
    'TRANSFORMS',
    'PoseInferencer',
    '__version__',
    'build',
    'get_config',
    'list_models',
]


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(import_module(f'.{_LATER[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
