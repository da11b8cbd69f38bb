"""Patch MMEngine's backend for MLflow, which current releases of MLflow reject.

MLflow 3 no longer writes to folders, the default of the backend: without `tracking_uri`, the runs
are written to a SQLite database in the directory of the run's scalars. Names of metrics, such as
`coco/AP (M)`, must not contain parentheses, which are removed.
"""

import os
import re
from pathlib import Path

from mmengine.visualization.vis_backend import MLflowVisBackend

_INVALID = re.compile(r'[^/\w.\- :]')
_original_init_env = MLflowVisBackend._init_env
_original_add_scalar = MLflowVisBackend.add_scalar
_original_add_scalars = MLflowVisBackend.add_scalars


def valid_name(name: str) -> str:
    """Return the name of a metric without characters that MLflow does not accept."""
    return _INVALID.sub('', name)


def init_env(self: MLflowVisBackend) -> None:
    """Connect to the store of `tracking_uri`, `MLFLOW_TRACKING_URI`, or a new database."""
    if self._tracking_uri is None:
        folder = Path(self._save_dir).absolute()
        self._tracking_uri = (
            os.environ.get('MLFLOW_TRACKING_URI') or f'sqlite:///{folder}/mlflow.db'
        )
        if self._tracking_uri.startswith('sqlite:') and self._artifact_location is None:
            self._artifact_location = (folder / 'mlflow-artifacts').as_uri()
            self._exp_name = self._exp_name or 'pose_backbones'  # 'Default' has its own location
    _original_init_env(self)


def add_scalar(self: MLflowVisBackend, name: str, *args, **kwargs) -> None:
    """Log a scalar under a valid name."""
    _original_add_scalar(self, valid_name(name), *args, **kwargs)


def add_scalars(self: MLflowVisBackend, scalar_dict: dict, *args, **kwargs) -> None:
    """Log scalars under valid names."""
    names = {valid_name(name): value for name, value in scalar_dict.items()}
    _original_add_scalars(self, names, *args, **kwargs)


def install() -> None:
    """Replace the methods of the backend."""
    MLflowVisBackend._init_env = init_env
    MLflowVisBackend.add_scalar = add_scalar
    MLflowVisBackend.add_scalars = add_scalars
