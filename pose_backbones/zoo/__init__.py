"""Model zoo: list, describe and build the models that the package has configs for.

`configs/<family>/metafile.yml` describes the models. `docs/scripts/make_model_zoo.py` generates the
tables and the figure of the documentation from these files.
"""

from .metafile import Family, Model, read_families, read_models
from .models import build, find_name, get_config, list_models

__all__ = [
    'Family',
    'Model',
    'build',
    'find_name',
    'get_config',
    'list_models',
    'read_families',
    'read_models',
]
