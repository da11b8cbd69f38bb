"""Choose what computes the keypoints: PyTorch, or an exported model."""

import logging
import os
from typing import Any

import torch
from mmengine.logging import print_log
from mmpose.models.pose_estimators import BottomupPoseEstimator

from ..deploy.cache import cached_export, cached_ratio
from ..deploy.crop_model import CropModel
from ..deploy.estimator import ExportedEstimator
from ..deploy.runtimes import import_backend, supports_bfloat16
from ..deploy.timing import speed_ratio
from ..deploy.verification import example_crops
from ..errors import ConfigError, PoseBackbonesError, first_line
from ..utils.option_values import AUTO, BACKENDS, COMPILE, TORCH
from .optimize import optimize_for_inference
from .predictors import TorchRuntime

#: environment variable with the backend to use instead of `'auto'`
VARIABLE = 'POSE_BACKBONES_BACKEND'
# crops, smallest number of measurements and time in seconds of the comparison of two backends
_CROPS, _MIN_ROUNDS, _SECONDS = 2, 3, 2.0


def resolve_backend(backend: str) -> str:
    """Check the name of a backend; replace `'auto'` by the environment variable if it is set.

    Raises:
        ValueError: If there is no such backend.
    """
    for name, value in (('backend', backend), (VARIABLE, os.environ.get(VARIABLE) or AUTO)):
        if value not in BACKENDS:
            raise ValueError(f'{name} is {value!r}: expected {", ".join(map(repr, BACKENDS))}')
    return os.environ.get(VARIABLE) or AUTO if backend == AUTO else backend


def exported_estimator(
    estimator: Any, backend: str, device: torch.device, half: bool, has_crops: bool
) -> ExportedEstimator | None:
    """Return an estimator as an exported model, or None if PyTorch is used.

    With `'auto'`, OpenVINO is used on a CPU if it is installed, the model can be exported, and is
    faster than with PyTorch. For top-down models, this is measured on first use. In float32,
    PyTorch is used for bottom-up models: the fused HRCoMer is faster than in OpenVINO, see
    docs/benchmarks.md. One message says what is used, and why PyTorch is used.

    Args:
        estimator: A pose estimator.
        backend: One of `BACKENDS`.
        device: Device.
        half: Whether to use bfloat16, if the CPU has instructions for it.
        has_crops: Whether the test pipeline of a top-down model is plain, see `Cropper.is_plain`.

    Returns:
        The exported model, or None.

    Raises:
        ConfigError: If a backend other than `'auto'` cannot be used for the model or the device.
        ExportError: If the model cannot be exported to a backend other than `'auto'`.
    """
    if backend in (TORCH, COMPILE):
        return None
    is_bottom_up = isinstance(estimator, BottomupPoseEstimator)
    if device.type != 'cpu':
        if backend == AUTO:
            return None
        raise ConfigError(f'backend is {backend!r}, but the device is {device}: expected a CPU')
    if backend == AUTO and is_bottom_up and not half:
        print_log('using PyTorch, which is faster for this model', 'current', logging.INFO)
        return None
    try:
        if not has_crops and not is_bottom_up:
            raise ConfigError(
                'exported models are used if the test pipeline of a top-down model has only '
                'LoadImage, GetBBoxCenterScale, TopdownAffine and PackPoseInputs'
            )
        if backend != AUTO:
            return _load(estimator, backend, half)
        return _load(estimator, 'openvino', half, is_compared=not is_bottom_up)
    except Exception as error:  # runtimes raise exceptions of any type
        if backend != AUTO:
            if isinstance(error, PoseBackbonesError):
                raise
            raise ConfigError(
                f'the backend {backend} cannot run this model: {type(error).__name__}: '
                f'{first_line(error)}'
            ) from error
        print_log(f'using PyTorch, not OpenVINO: {first_line(error)}', 'current', logging.INFO)
        return None


def _load(
    estimator: Any, backend: str, half: bool, is_compared: bool = False
) -> ExportedEstimator | None:
    """Return the exported model; None if `is_compared`, and PyTorch is faster."""
    import_backend(backend)
    precision = 'fp32'
    note = ''
    if half:
        if backend != 'openvino':
            raise ConfigError(f'half is True, but the backend is {backend!r}: expected half=False')
        if supports_bfloat16():
            precision = 'bf16'
        else:
            note = ', since this CPU has no instructions for bfloat16'
    threads = torch.get_num_threads()
    exported = cached_export(estimator, backend, precision, threads)
    if is_compared:
        ratio = cached_ratio(exported, threads, half, lambda: _measure(estimator, exported, half))
        if ratio < 1:
            print_log(
                f'using PyTorch, which is {1 / ratio:.1f} times as fast as {backend} '
                f'({precision}{note}) for this model on this machine',
                'current',
                logging.INFO,
            )
            return None
    print_log(f'using {backend} ({precision}{note})', 'current', logging.INFO)
    return exported


@torch.inference_mode()
def _measure(estimator: Any, exported: ExportedEstimator, half: bool) -> float:
    """Return how many times as fast as PyTorch the exported top-down model is."""
    device = torch.device('cpu')
    model = CropModel(optimize_for_inference(estimator, device), is_fused=True)
    first = TorchRuntime(model, device, half)
    crops = example_crops(model.input_size, _CROPS)
    return speed_ratio(first, exported.runtime, crops, _MIN_ROUNDS, _SECONDS)
