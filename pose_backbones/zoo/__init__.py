"""Model zoo: list, describe and build models by name.

`configs/<family>/metafile.yml` describes the models of this package.
`docs/scripts/make_model_zoo.py` generates the tables and the figure of the documentation from these
files. MMPose's metafiles describe its models.
"""

from typing import TYPE_CHECKING, Any

from .metafile import Family, Model, read_families, read_models
from .names import config_path, find_model, find_name, get_config, list_models
from .releases import find_release, list_releases

if TYPE_CHECKING:
    from .models import build, build_config

__all__ = [
    'Family',
    'Model',
    'build',
    'build_config',
    'config_path',
    'find_model',
    'find_name',
    'find_release',
    'get_config',
    'list_models',
    'list_releases',
    'read_families',
    'read_models',
]


def __getattr__(name: str) -> Any:
    if name in ('build', 'build_config'):  # without an import of PyTorch before they are used
        from . import models

        return getattr(models, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
