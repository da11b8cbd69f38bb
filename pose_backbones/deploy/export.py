"""Export a pose estimator to a directory that can be used without PyTorch: `export_model`."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..errors import WorkDirError
from ..utils.files import check_writable_dir, convert_write_errors, draft_folder
from ..version import __version__
from ..visualization.skeleton import Skeleton
from .crop_model import CropModel, crop_settings
from .exported import ExportedModel, read_exported, write_description
from .precisions import PRECISIONS
from .quantization import SYNTHETIC_CROPS, QuantizationResult, check_calibration, quantize
from .runtimes import BACKENDS, load_runtime
from .verification import Difference, check_difference, compare, example_crops
from .writing import check_supported, write_model

_PACKAGES = ('torch', 'mmpose', 'mmengine', 'timm', 'numpy', 'openvino', 'onnx', 'onnxruntime')
_TEMPLATES = ('README.md', 'example.py')


def export_model(
    estimator: Any,
    out: str | PathLike,
    backend: str = 'openvino',
    precision: str = 'fp32',
    flip_test: bool | None = None,
    name: str | None = None,
    calibration: np.ndarray | None = None,
) -> tuple[ExportedModel, Difference | QuantizationResult]:
    """Write a pose estimator as a model from crops to keypoints.

    The directory contains the model, a description with the names of the keypoints, the config, and
    an example that needs only NumPy, OpenCV and the runtime. The exported model is compared with
    PyTorch on crops of synthetic people; if it deviates, the directory is removed.

    Args:
        estimator: A top-down estimator in evaluation mode, with `cfg` and `dataset_meta`.
        out: The directory, which must not exist.
        backend: `'openvino'`, `'onnx'` or `'torch-export'`.
        precision: `'fp32'`, or for OpenVINO also `'fp16'` (half the size of the files), `'bf16'`
            (faster on CPUs with bfloat16 instructions) and `'int8'` (quantized with NNCF).
        flip_test: Whether to average the outputs with those of the mirrored crops. Default: as set
            in the config.
        name: Name of the model in the description. Default: name of the config.
        calibration: For int8: crops (N, H, W, 3), uint8, BGR, of at least 64 people, like those of
            the application. Default: crops of synthetic people.

    Returns:
        The exported model, and the differences from PyTorch; for int8, those from fp32.

    Raises:
        ConfigError: If the model, backend or precision is not supported, or a package is missing.
        ExportError: If the model cannot be exported, or the exported model deviates, or int8 is not
            faster.
        WorkDirError: If `out` exists or cannot be written.
    """
    check_export(out, backend, precision)
    model = CropModel(estimator, flip_test)
    if calibration is None and precision == 'int8':
        calibration = example_crops(model.input_size, SYNTHETIC_CROPS, seed=1)
    if calibration is not None:
        check_calibration(calibration, precision, model.input_size)
    folder = Path(out)
    with convert_write_errors(folder, '--out'), draft_folder(folder) as draft:
        write_model(model, backend, precision, draft)
        file = draft / BACKENDS[backend][2]
        written = 'fp32' if precision == 'int8' else precision
        runtime = load_runtime(backend, file, written)
        difference = compare(model, runtime, example_crops(model.input_size), PRECISIONS[written])
        check_difference(difference, PRECISIONS[written])
        result: Difference | QuantizationResult = difference
        if calibration is not None:
            result = quantize(file, calibration, estimator.dataset_meta.get('sigmas'))
        _describe(draft, estimator, model, backend, precision, result, name)
        try:
            draft.rename(folder)
        except OSError as error:
            if folder.exists():  # another process was faster
                raise _exists(folder) from error
            raise
    return read_exported(folder), result


def check_export(out: str | PathLike, backend: str, precision: str) -> None:
    """Check the arguments of `export_model`, before the model is loaded.

    Raises:
        ConfigError: If the backend or precision is not supported, or a package is missing.
        WorkDirError: If `out` exists or cannot be written.
    """
    for argument, value, choices in (
        ('backend', backend, BACKENDS),
        ('precision', precision, PRECISIONS),
    ):
        if value not in choices:
            raise ValueError(f'{argument} is {value!r}: expected {", ".join(choices)}')
    check_supported(backend, precision)
    if os.path.lexists(out):
        raise _exists(Path(out))
    check_writable_dir(Path(out), '--out')


def _exists(folder: Path) -> WorkDirError:
    return WorkDirError(f'--out {folder} already exists: choose another directory, or remove it')


def _describe(
    folder: Path,
    estimator: Any,
    model: CropModel,
    backend: str,
    precision: str,
    difference: Difference | QuantizationResult,
    name: str | None,
) -> None:
    """Write the description, the config and the example."""
    skeleton = Skeleton.from_metainfo(estimator.dataset_meta)
    crop = crop_settings(estimator.cfg)
    sigmas = estimator.dataset_meta.get('sigmas')
    description = {
        'name': name or Path(estimator.cfg.filename or 'model').stem,
        'backend': backend,
        'precision': precision,
        'flip_test': model.flip_test,
        'input_size': list(model.input_size),
        'box_padding': crop['padding'],
        'use_udp': crop['use_udp'],
        'keypoints': list(skeleton.names),
        'skeleton': [list(limb) for limb in skeleton.limbs],
        'sigmas': None if sigmas is None else [float(f'{value:.6g}') for value in sigmas],
        'verification': difference.as_dict(),
        'versions': package_versions(*(('nncf',) if precision == 'int8' else ())),
    }
    templates = Environment(
        loader=PackageLoader('pose_backbones.deploy'),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    for template in _TEMPLATES:
        text = templates.get_template(f'{template}.j2').render(
            description,
            difference=difference,
            file=BACKENDS[backend][2],
            precision_hint=PRECISIONS[precision].openvino,
        )
        (folder / template).write_text(text, encoding='utf-8')
    write_description(folder, description, estimator.cfg, estimator.dataset_meta)


def package_versions(*others: str) -> dict[str, str]:
    """Return the versions of Python and of the packages on which an exported model depends.

    Args:
        others: Names of other packages.
    """
    return {
        'pose_backbones': __version__,
        'python': platform.python_version(),
        **{package: found for package in (*_PACKAGES, *others) if (found := _version(package))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
