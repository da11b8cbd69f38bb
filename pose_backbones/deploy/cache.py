"""Exported models in a cache directory: export a model once, and use it again in later runs."""

import json
import logging
import math
import os
import platform
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from ..errors import ExportError, WorkDirError
from ..utils.files import DRAFT, atomic_write
from .crop_model import CropModel
from .estimator import ExportedEstimator
from .export import export_model, input_settings, make_model, package_versions, verify
from .exported import FORMAT
from .image_model import ImageModel

_MAX_BYTES = 4 << 30  # limit on the size of the cache
_MAX_DRAFT_AGE = 24 * 3600  # seconds
_SPEED = 'speed.json'  # file with the ratios of `cached_ratio`
_FAILED = '.failed'  # suffix of files with the reason why a model cannot be exported


def cache_dir() -> Path:
    """Return the directory of the cache, in PyTorch's directory of downloads (`TORCH_HOME`)."""
    return Path(torch.hub.get_dir(), 'pose_backbones', 'exported')


def cached_export(
    estimator: Any, backend: str, precision: str, threads: int | None = None
) -> ExportedEstimator:
    """Return an estimator as an exported model from the cache; export it if it is not there.

    The key of the cache contains the weights, the config of the model, the versions of the packages
    and the arguments. In addition, a model from the cache is compared with the estimator on one
    crop or image, since the code of the model can have changed.

    Args:
        estimator: See `export_model`.
        backend: See `export_model`.
        precision: See `export_model`.
        threads: Number of threads of the runtime. Default: as chosen by the backend.

    Returns:
        The exported model.

    Raises:
        ConfigError: If the model or backend is not supported, or a package is missing.
        ExportError: If the model cannot be exported, or the exported model deviates.
        WorkDirError: If the cache directory cannot be written.
    """
    model = make_model(estimator)
    folder = cache_dir() / _key(estimator, model, backend, precision)
    if folder.is_dir():
        try:
            exported = ExportedEstimator(folder, threads)
            verify(estimator, model, exported.runtime, precision, is_quick=True)
        except ExportError as error:  # it was damaged, or deviates
            _remove(folder, f'{error}')
        else:
            with suppress(OSError):  # the cache may be read-only
                os.utime(folder)  # for `_limit_size`
            return exported
    _export(estimator, folder, backend, precision)
    _limit_size(folder)
    return ExportedEstimator(folder, threads)


def cached_ratio(
    exported: ExportedEstimator, threads: int, half: bool, measure: Callable[[], float]
) -> float:
    """Return how many times as fast as PyTorch a model of the cache is; measure it on first use.

    Args:
        exported: From `cached_export`.
        threads: Number of threads of both.
        half: Whether PyTorch uses half precision.
        measure: Measures the ratio. The result is kept for this machine, the number of threads and
            the precision of PyTorch.
    """
    file = exported.folder / _SPEED
    key = f'{platform.node()}, threads: {threads}{", half precision" if half else ""}'
    ratios: dict[str, float] = {}
    with suppress(OSError, ValueError):  # no file, or a damaged one
        content = json.loads(file.read_text(encoding='utf-8'))
        ratios = content if isinstance(content, dict) else {}
    ratio = ratios.get(key)
    if not (isinstance(ratio, float) and 0 < ratio < math.inf):
        ratios[key] = measure()
        with suppress(OSError), atomic_write(file) as draft:  # the cache may be read-only
            draft.write_text(json.dumps(ratios), encoding='utf-8')
    return ratios[key]


def _export(estimator: Any, folder: Path, backend: str, precision: str) -> None:
    failed = folder.with_suffix(_FAILED)
    if failed.is_file():
        raise ExportError(f'{failed.read_text(encoding="utf-8")} (remove {failed} to try again)')
    print_log(
        f'exporting the model to {backend} ({precision}), once: {folder}', 'current', logging.INFO
    )
    try:
        export_model(estimator, folder, backend, precision)
    except WorkDirError:
        if not folder.is_dir():  # otherwise, another process was faster
            raise
    except ExportError as error:
        failed.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(failed) as draft:
            draft.write_text(str(error), encoding='utf-8')
        raise


def _key(estimator: Any, model: CropModel | ImageModel, backend: str, precision: str) -> str:
    """Return the name of the directory of a model."""
    cfg: Config = estimator.cfg
    settings = dict(
        format=FORMAT,
        backend=backend,
        precision=precision,
        flip_test=model.flip_test,
        model=repr(cfg.model.to_dict()),
        input=input_settings(model, cfg),
        metainfo=repr(sorted(estimator.dataset_meta.items())),
        versions=package_versions(),
    )
    digest = sha256(json.dumps(settings, sort_keys=True).encode())
    for name, value in estimator.state_dict().items():
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


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
