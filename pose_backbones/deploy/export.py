"""Export a pose estimator to a directory that can be used without PyTorch: `export_model`."""

import copy
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from mmengine.config import Config
from mmpose.models.pose_estimators import BottomupPoseEstimator

from ..configs import test_dataset
from ..errors import ConfigError, WorkDirError
from ..utils.files import check_writable_dir, convert_write_errors, draft_folder, rename_draft
from ..version import __version__
from ..visualization.skeleton import Skeleton
from ..zoo.metainfo import returned_metainfo
from .crop_model import CropModel, crop_settings
from .exported import BOTTOM_UP, TOP_DOWN, ExportedModel, read_exported, write_description
from .image_model import ImageModel, check_image_size, fixed_size_step, image_settings, resize_step
from .people_verification import compare_people, example_images
from .precisions import PRECISIONS
from .quantization import SYNTHETIC_CROPS, QuantizationResult, check_calibration, quantize
from .runtimes import BACKENDS, Runtime, load_runtime
from .verification import Difference, check_difference, compare, example_crops
from .writing import check_supported, write_model

_PACKAGES = ('torch', 'mmpose', 'mmengine', 'timm', 'numpy', 'openvino', 'onnx', 'onnxruntime')
#: kind of a model → file → its template
_TEMPLATES = {
    TOP_DOWN: {'README.md': 'README.md.j2', 'example.py': 'example.py.j2'},
    BOTTOM_UP: {'README.md': 'image_README.md.j2', 'example.py': 'image_example.py.j2'},
}


def export_model(
    estimator: Any,
    out: str | PathLike,
    backend: str = 'openvino',
    precision: str = 'fp32',
    flip_test: bool | None = None,
    name: str | None = None,
    calibration: np.ndarray | None = None,
    image_size: tuple[int, int] | None = None,
) -> tuple[ExportedModel, Difference | QuantizationResult]:
    """Write a pose estimator as a model from crops, or from images for HRCoMer, to keypoints.

    The directory contains the model, a description with the names of the keypoints, the config, and
    an example that needs only NumPy, OpenCV and the runtime. The exported model is compared with
    PyTorch on synthetic people; if it deviates, the directory is removed.

    Args:
        estimator: A top-down estimator or an `HRCoMerEstimator`, in evaluation mode, with `cfg` and
            `dataset_meta`.
        out: The directory, which must not exist.
        backend: `'openvino'`, `'onnx'` or `'torch-export'`.
        precision: `'fp32'`, or for OpenVINO also `'fp16'` (half the size of the files), `'bf16'`
            (faster on CPUs with bfloat16 instructions) and, for top-down models, `'int8'`
            (quantized with NNCF).
        flip_test: Whether to average the outputs with those of the mirrored crops or images.
            Default: as set in the config.
        name: Name of the model in the description. Default: name of the config.
        calibration: For int8: crops (N, H, W, 3), uint8, BGR, of at least 64 people, like those of
            the application. Default: crops of synthetic people.
        image_size: For HRCoMer, fixed width and height of the images, which are then resized to
            fit into it and padded. Default: any size, as in the test pipeline of the config.

    Returns:
        The exported model, and the differences from PyTorch; for int8, those from fp32.

    Raises:
        ConfigError: If the model, backend or precision is not supported, or a package is missing.
        ExportError: If the model cannot be exported, or the exported model deviates, or int8 is not
            faster.
        WorkDirError: If `out` exists or cannot be written.
    """
    check_export(out, backend, precision, image_size)
    model = make_model(estimator, flip_test, image_size)
    calibration = _calibration(model, precision, calibration)
    folder = Path(out)
    with convert_write_errors(folder, '--out'), draft_folder(folder) as draft:
        write_model(model.in_precision(precision), backend, precision, draft)
        file = draft / BACKENDS[backend][2]
        written = 'fp32' if precision == 'int8' else precision
        runtime = load_runtime(backend, file, model.runtime_precision(written))
        difference = verify(estimator, model, runtime, written)
        result: Difference | QuantizationResult = difference
        if calibration is not None:
            result = quantize(file, calibration, _metainfo(estimator).get('sigmas'))
        _describe(draft, estimator, model, backend, precision, result, name)
        rename_draft(draft, folder, _exists(folder))
    return read_exported(folder), result


def _calibration(
    model: CropModel | ImageModel, precision: str, crops: np.ndarray | None
) -> np.ndarray | None:
    """Return the crops for the calibration of int8; None for other precisions."""
    if isinstance(model, ImageModel):
        if precision == 'int8' or crops is not None:
            raise ConfigError(
                'int8 is for top-down models: expected precision fp32, bf16 or fp16, and no '
                'calibration'
            )
        return None
    if crops is None and precision == 'int8':
        crops = example_crops(model.input_size, SYNTHETIC_CROPS, seed=1)
    if crops is not None:
        check_calibration(crops, precision, model.input_size)
    return crops


def check_export(
    out: str | PathLike, backend: str, precision: str, image_size: tuple[int, int] | None = None
) -> None:
    """Check the arguments of `export_model`, before the model is loaded.

    Raises:
        ConfigError: If the backend, precision or size is not supported, or a package is missing.
        WorkDirError: If `out` exists or cannot be written.
    """
    for argument, value, choices in (
        ('backend', backend, BACKENDS),
        ('precision', precision, PRECISIONS),
    ):
        if value not in choices:
            raise ValueError(f'{argument} is {value!r}: expected {", ".join(choices)}')
    check_supported(backend, precision)
    if image_size is not None:
        check_image_size(image_size)
    if os.path.lexists(out):
        raise _exists(Path(out))
    check_writable_dir(Path(out), '--out')


def _exists(folder: Path) -> WorkDirError:
    return WorkDirError(f'--out {folder} already exists: choose another directory, or remove it')


def make_model(
    estimator: Any, flip_test: bool | None = None, image_size: tuple[int, int] | None = None
) -> CropModel | ImageModel:
    """Return the module to export, see `export_model`.

    Raises:
        ConfigError: If the model is not supported.
    """
    if isinstance(estimator, BottomupPoseEstimator):
        return ImageModel(estimator, flip_test, image_size)
    if image_size is not None:
        raise ConfigError(
            f'--image-size is {image_size[0]}x{image_size[1]}, but {type(estimator).__name__} is '
            'not a bottom-up model: expected no size, since the config sets that of the crops'
        )
    return CropModel(estimator, flip_test)


def verify(
    estimator: Any,
    model: CropModel | ImageModel,
    runtime: Runtime,
    precision: str,
    is_quick: bool = False,
) -> Difference:
    """Compare an exported model with the original one.

    Args:
        estimator: The original model.
        model: The module of the estimator, from `make_model`.
        runtime: The exported model.
        precision: Key of `PRECISIONS`.
        is_quick: Whether to use only one crop, or small images.

    Returns:
        The differences.

    Raises:
        ExportError: If they are too large.
    """
    bounds = PRECISIONS[precision]
    if isinstance(model, ImageModel):
        images = example_images(model, image_settings(estimator.cfg), is_quick)
        difference = compare_people(model, runtime, images, bounds)
    else:
        crops = example_crops(model.input_size, 1 if is_quick else 8)
        difference = compare(model, runtime, crops, bounds)
    check_difference(difference, bounds)
    return difference


def input_settings(model: CropModel | ImageModel, cfg: Config) -> dict:
    """Return the entries of the description of a model about its input.

    Args:
        model: The module.
        cfg: Its config.
    """
    if isinstance(model, ImageModel):
        return {'kind': BOTTOM_UP, 'max_people': model.max_people, **image_settings(cfg)}
    crop = crop_settings(cfg)
    return {
        'kind': TOP_DOWN,
        'input_size': list(model.input_size),
        'box_padding': crop['padding'],
        'use_udp': crop['use_udp'],
    }


def _config(model: CropModel | ImageModel, cfg: Config) -> Config:
    """Return the config whose test pipeline makes the input of the model."""
    if isinstance(model, ImageModel) and model.image_size is not None:
        cfg = copy.deepcopy(cfg)
        index, _ = resize_step(cfg)
        test_dataset(cfg)['pipeline'][index] = fixed_size_step(model.image_size)
    return cfg


def _metainfo(estimator: Any) -> dict:
    """Return the description of the keypoints that the exported model returns."""
    test_cfg = estimator.test_cfg or {}
    return returned_metainfo(estimator.dataset_meta, test_cfg.get('output_keypoint_indices'))


def _describe(
    folder: Path,
    estimator: Any,
    model: CropModel | ImageModel,
    backend: str,
    precision: str,
    difference: Difference | QuantizationResult,
    name: str | None,
) -> None:
    """Write the description, the config and the example."""
    metainfo = _metainfo(estimator)
    skeleton = Skeleton.from_metainfo(metainfo)
    cfg = _config(model, estimator.cfg)
    settings = input_settings(model, cfg)
    sigmas = metainfo.get('sigmas')
    description = {
        'name': name or Path(estimator.cfg.filename or 'model').stem,
        'backend': backend,
        'precision': precision,
        'flip_test': model.flip_test,
        **settings,
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
    for file, template in _TEMPLATES[settings['kind']].items():
        text = templates.get_template(template).render(
            description,
            difference=difference,
            file=BACKENDS[backend][2],
            precision_hint=PRECISIONS[model.runtime_precision(precision)].openvino,
        )
        (folder / file).write_text(text, encoding='utf-8')
    write_description(folder, description, cfg, metainfo)


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
