"""The directory of an exported model: its files, and their description."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ..errors import ExportError, first_line, shown
from ..utils.files import read_text
from .precisions import PRECISIONS
from .runtimes import BACKENDS

#: version of the layout of the directory
FORMAT = 1
DESCRIPTION = 'model.json'
CONFIG = 'config.json'
#: kinds of models: from crops of people, or from whole images
TOP_DOWN, BOTTOM_UP = 'top-down', 'bottom-up'
_METAINFO = 'metainfo'
_ARRAYS = 'arrays'
_TYPES = {
    'format': int,
    'kind': str,
    'backend': str,
    'precision': str,
    'flip_test': bool,
    'files': dict,
}


@dataclass(frozen=True)
class ExportedModel:
    """An exported model, which `export_model` has written.

    Attributes:
        folder: The directory.
        description: Content of `model.json`.
        cfg: Config of the model.
        dataset_meta: Metainfo of the dataset: names of the keypoints, and more.
    """

    folder: Path
    description: Mapping[str, Any]
    cfg: Config
    dataset_meta: dict

    @property
    def path(self) -> Path:
        """Path of the model file."""
        return self.folder / BACKENDS[self.description['backend']][2]

    @property
    def is_top_down(self) -> bool:
        """Whether the model takes crops of people, not images."""
        return self.description['kind'] == TOP_DOWN


def is_exported(path: str | PathLike) -> bool:
    """Return whether a path is the directory of an exported model."""
    return Path(path, DESCRIPTION).is_file()


def describe_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 digests of the files in a directory."""
    return {path.name: _digest(path) for path in sorted(folder.iterdir())}


def write_description(folder: Path, description: dict, cfg: Config, dataset_meta: dict) -> None:
    """Write the description and the config of an exported model.

    Args:
        folder: The directory, with the other files.
        description: Entries of `model.json`, without the digests of the files.
        cfg: Config of the model.
        dataset_meta: Metainfo of the dataset.
    """
    arrays = {k: str(v.dtype) for k, v in dataset_meta.items() if isinstance(v, np.ndarray)}
    metainfo = {k: v.tolist() if k in arrays else v for k, v in dataset_meta.items()}
    cfg.dump(folder / CONFIG)
    content = {
        'format': FORMAT,
        **description,
        _METAINFO: metainfo,
        _ARRAYS: arrays,
        'files': describe_files(folder),
    }
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def read_exported(path: str | PathLike) -> ExportedModel:
    """Read the directory of an exported model and check its files.

    Args:
        path: The directory.

    Returns:
        The model.

    Raises:
        ExportError: If a file is missing, was changed, or is of another version.
    """
    folder = Path(path)
    description = _read_json(folder / DESCRIPTION)
    if description.get('format') != FORMAT:
        raise ExportError(
            f'{folder} has the format {shown(description.get("format"))}: expected {FORMAT}; '
            'export the model again with this version'
        )
    for name, kind in _TYPES.items():
        if not isinstance(description.get(name), kind):
            raise _damaged(folder, f'{name} is {shown(description.get(name))}')
    for name, choices in (
        ('kind', (TOP_DOWN, BOTTOM_UP)),
        ('backend', BACKENDS),
        ('precision', PRECISIONS),
    ):
        if description[name] not in choices:
            raise _damaged(folder, f'{name} is {shown(description[name])}')
    for name in (BACKENDS[description['backend']][2], CONFIG):
        if name not in description['files']:
            raise _damaged(folder, f'files has no {name}')
    for name, digest in description['files'].items():
        file = folder / Path(name).name
        if not file.is_file():
            raise ExportError(f'{folder} has no file {name}: export the model again')
        if _digest(file) != digest:
            raise ExportError(
                f'{file} was changed after the export (SHA-256): export the model again'
            )
    cfg = Config.fromfile(folder / CONFIG)
    return ExportedModel(folder, description, cfg, _read_metainfo(folder, description))


def _read_metainfo(folder: Path, description: Mapping) -> dict:
    try:
        metainfo, arrays = description[_METAINFO], description[_ARRAYS]
        return {
            name: np.array(value, arrays[name]) if name in arrays else _with_int_keys(value)
            for name, value in metainfo.items()
        }
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f'{_METAINFO}: {type(error).__name__}: {first_line(error)}'
        raise _damaged(folder, reason) from error


def _with_int_keys(value: Any) -> Any:
    """Convert keys that JSON has converted to strings."""
    if isinstance(value, dict) and all(key.isdecimal() for key in value):
        return {int(key): item for key, item in value.items()}
    return value


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise ExportError(
            f'{path.parent} has no {path.name}: expected a directory from pose-backbones export'
        )
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise _damaged(path.parent, first_line(error)) from error
    if not isinstance(content, dict):
        raise _damaged(path.parent, f'a {type(content).__name__}')
    return content


def _damaged(folder: Path, reason: str) -> ExportError:
    return ExportError(f'{folder / DESCRIPTION} is damaged: {reason}; export the model again')


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
