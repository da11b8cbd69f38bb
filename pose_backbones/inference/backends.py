"""Choose what computes the keypoints: PyTorch, or an exported model."""

import logging
import os
from typing import Any

import torch
from mmengine.logging import print_log
from mmpose.models.pose_estimators import BottomupPoseEstimator

from ..deploy.cache import cached_export
from ..deploy.estimator import ExportedEstimator
from ..deploy.runtimes import import_backend, supports_bfloat16
from ..errors import ConfigError, PoseBackbonesError, first_line
from ..utils.option_values import AUTO, BACKENDS, COMPILE, TORCH

#: environment variable with the backend to use instead of `'auto'`
VARIABLE = 'POSE_BACKBONES_BACKEND'


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

    With `'auto'`, OpenVINO is used on a CPU if it is installed and the model can be exported. In
    float32, PyTorch is used for bottom-up models: the fused HRCoMer is faster than in OpenVINO, see
    docs/benchmarks.md. One message says what is used, and why PyTorch is used if it is not the
    fastest.

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
        return _load(estimator, 'openvino' if backend == AUTO else backend, half)
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


def _load(estimator: Any, backend: str, half: bool) -> ExportedEstimator:
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
    exported = cached_export(estimator, backend, precision, torch.get_num_threads())
    print_log(f'using {backend} ({precision}{note})', 'current', logging.INFO)
    return exported
