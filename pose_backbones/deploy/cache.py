"""Exported models in a cache directory: export a model once, and use it again in later runs."""

import json
import logging
import os
import shutil
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from ..errors import ExportError, WorkDirError
from ..utils.files import DRAFT, atomic_write
from .crop_model import CropModel, crop_settings
from .export import export_model, package_versions
from .exported import FORMAT, ExportedModel, read_exported
from .precisions import PRECISIONS
from .runtimes import Runtime, load_runtime
from .verification import check_difference, compare, example_crops

_MAX_BYTES = 4 << 30  # limit on the size of the cache
_MAX_DRAFT_AGE = 24 * 3600  # seconds
_FAILED = '.failed'  # suffix of files with the reason why a model cannot be exported


def cache_dir() -> Path:
    """Return the directory of the cache, in PyTorch's directory of downloads (`TORCH_HOME`)."""
    return Path(torch.hub.get_dir(), 'pose_backbones', 'exported')


def cached_runtime(
    estimator: Any, backend: str, precision: str, threads: int | None = None
) -> Runtime:
    """Return an estimator as an exported model from the cache; export it if it is not there.

    The key of the cache contains the weights, the config of the model, the versions of the packages
    and the arguments. In addition, a model from the cache is compared with the estimator on one
    crop, since the code of the model can have changed.

    Args:
        estimator: See `export_model`.
        backend: See `export_model`.
        precision: See `export_model`.
        threads: Number of threads of the runtime. Default: as chosen by the backend.

    Returns:
        A function from crops to keypoints.

    Raises:
        ConfigError: If the model or backend is not supported, or a package is missing.
        ExportError: If the model cannot be exported, or the exported model deviates.
        WorkDirError: If the cache directory cannot be written.
    """
    model = CropModel(estimator)
    folder = cache_dir() / _key(estimator, model, backend, precision)
    exported = _read(folder)
    if exported is not None:
        runtime = load_runtime(backend, exported.path, precision, threads)
        try:
            crops = example_crops(model.input_size, 1)
            check_difference(
                compare(model, runtime, crops, PRECISIONS[precision]), PRECISIONS[precision]
            )
        except ExportError as error:
            _remove(folder, f'{error}')
        else:
            with suppress(OSError):  # the cache may be read-only
                os.utime(folder)  # for `_limit_size`
            return runtime
    exported = _export(estimator, folder, backend, precision)
    _limit_size(folder)
    return load_runtime(backend, exported.path, precision, threads)


def _export(estimator: Any, folder: Path, backend: str, precision: str) -> ExportedModel:
    failed = folder.with_suffix(_FAILED)
    if failed.is_file():
        raise ExportError(f'{failed.read_text(encoding="utf-8")} (remove {failed} to try again)')
    print_log(
        f'exporting the model to {backend} ({precision}), once: {folder}', 'current', logging.INFO
    )
    try:
        return export_model(estimator, folder, backend, precision)[0]
    except WorkDirError:
        if folder.is_dir():  # another process was faster
            return read_exported(folder)
        raise
    except ExportError as error:
        failed.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(failed) as draft:
            draft.write_text(str(error), encoding='utf-8')
        raise


def _key(estimator: Any, model: CropModel, backend: str, precision: str) -> str:
    """Return the name of the directory of a model."""
    cfg: Config = estimator.cfg
    settings = dict(
        format=FORMAT,
        backend=backend,
        precision=precision,
        flip_test=model.flip_test,
        model=repr(cfg.model.to_dict()),
        crops=crop_settings(cfg),
        metainfo=repr(sorted(estimator.dataset_meta.items())),
        versions=package_versions(),
    )
    digest = sha256(json.dumps(settings, sort_keys=True).encode())
    for name, value in estimator.state_dict().items():
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def _read(folder: Path) -> ExportedModel | None:
    """Return the model of a directory; None if there is none, or it was damaged."""
    if not folder.is_dir():
        return None
    try:
        return read_exported(folder)
    except ExportError as error:
        _remove(folder, str(error))
        return None


def _remove(folder: Path, reason: str) -> None:
    print_log(f'removed from the cache of exported models: {reason}', 'current', logging.WARNING)
    shutil.rmtree(folder, ignore_errors=True)


def _limit_size(newest: Path) -> None:
    """Remove the models that were not used for the longest time, except for the newest.

    Directories of exports that were killed are removed after a day.
    """
    total = 0
    now = time.time()
    with suppress(OSError):  # another process may remove them at the same time
        folders = [path for path in newest.parent.iterdir() if path.is_dir()]
        folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for folder in folders:
            total += sum(file.stat().st_size for file in folder.iterdir())
            is_draft = folder.suffix == DRAFT
            is_old = (
                now - folder.stat().st_mtime > _MAX_DRAFT_AGE if is_draft else total > _MAX_BYTES
            )
            if is_old and folder != newest:
                shutil.rmtree(folder, ignore_errors=True)
