"""The models that the package has configs for, and what is known of them.

What is known stands in `configs/<family>/metafile.yml`; the tables and the
picture of the documents are made from it by `docs/scripts/make_model_zoo.py`.
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
