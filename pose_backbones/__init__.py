"""Pose estimation models for MMPose: MogaNet, UniFormer, ConvNeXt, Swin, MSPN, HRCoMer and timm's.

Importing the package registers its modules in MMEngine's registries and patches known faults of
OpenMMLab's packages (see `pose_backbones._compat`). It does not import PyTorch and MMPose: a module
that needs a patch is patched when it has been imported. It sets the environment variable
`NO_ALBUMENTATIONS_UPDATE`, unless it is set: albumentations, which MMPose imports, would look for a
new version on the network. It has no other effect.

`list_models`, `get_config` and `build` find its models by name; `PoseInferencer` applies them to
images and videos.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pose_backbones_env import finder

from . import configs
from ._compat import config_names, metainfo, mmpose_registry
from .registry import MODELS, TRANSFORMS
from .version import __version__

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

    from .inference import PoseInferencer
    from .zoo import build, get_config, list_models

#: name → module that has it, which is imported when the name is used for the first time
_LAZY = dict(PoseInferencer='inference', build='zoo', get_config='zoo', list_models='zoo')

__all__ = [
    'MODELS',
    'TRANSFORMS',
    'PoseInferencer',
    '__version__',
    'build',
    'get_config',
    'list_models',
]


# These functions import modules that may be importing MMEngine's runner, which they patch.
def _read_file(path: str, map_location: Any = None) -> Any:
    from .checkpoints import read_file

    return read_file(path, map_location)


def _read_url(
    url: str, map_location: Any = None, model_dir: str | None = None, progress: bool = True
) -> Any:
    from .checkpoints import read_url
    from .zoo import find_release

    return read_url(url, map_location, model_dir, progress, find_release(url))


def _load_strictly(module: 'nn.Module', checkpoint: dict) -> None:
    from .checkpoints.loading import get_weights, load_weights

    load_weights(module, get_weights(checkpoint), 'the checkpoint')


def _find_model(name: str) -> 'tuple[Config, str | None]':
    path = configs.resolve(name)
    if path is not None:
        return configs.load_config(path), None
    from . import zoo

    entry = zoo.find_model(name)
    return configs.load_config(str(entry.config)), entry.weights


def _patch_checkpoint_loading() -> None:
    from ._compat import checkpoint_loading

    checkpoint_loading.install(_read_file, _read_url, _load_strictly)


def _patch_mlflow_backend() -> None:
    from ._compat import mlflow_backend

    mlflow_backend.install()


def _patch_mmcv_operators() -> None:
    from ._compat import mmcv_operators

    mmcv_operators.install()


def _patch_model_names() -> None:
    from ._compat import model_names

    model_names.install(_find_model)


os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
finder.install()
config_names.install(__name__, configs.resolve)
metainfo.install()
mmpose_registry.install(MODELS)
finder.after_import('mmengine.runner', _patch_checkpoint_loading)
finder.after_import('mmengine.visualization.vis_backend', _patch_mlflow_backend)
finder.after_import('mmengine.utils.dl_utils', _patch_mmcv_operators)
finder.after_import('mmengine.infer', _patch_model_names)


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(f'.{_LAZY[name]}', __name__), name)
    if name == 'checkpoints':  # without an import of this module
        return import_module('.checkpoints', __name__)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
