"""Write models as files for OpenVINO, ONNX Runtime and `torch.export`."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from ..errors import ConfigError, ExportError, first_line
from .crop_model import CropModel
from .runtimes import BACKENDS, OUTPUTS, import_backend

_MAX_BATCH = 4096
_OPSET = 20

#: backend → precisions that it supports
SUPPORTED = {'openvino': ('fp32', 'fp16', 'bf16'), 'onnx': ('fp32',), 'torch-export': ('fp32',)}


def check_supported(backend: str, precision: str) -> None:
    """Check that a backend is installed and supports a precision.

    Args:
        backend: Key of `BACKENDS`.
        precision: Key of `PRECISIONS`.

    Raises:
        ConfigError: If not.
    """
    if precision not in SUPPORTED[backend]:
        raise ConfigError(
            f'--precision {precision} is not available for the backend {backend}: expected '
            f'{" or ".join(SUPPORTED[backend])}'
        )
    import_backend(backend)
    if backend == 'onnx':
        import_backend(backend, 'onnxscript')


def write_model(model: CropModel, backend: str, precision: str, folder: Path) -> None:
    """Write a model in the format of a backend.

    Args:
        model: The model.
        backend: Key of `BACKENDS`.
        precision: Key of `PRECISIONS`.
        folder: Directory of the files.

    Raises:
        ExportError: If an operator of the model cannot be exported.
    """
    width, height = model.input_size
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    path = folder / BACKENDS[backend][2]
    with _quiet(), torch.no_grad():
        try:
            program = torch.export.export(
                model,
                (example,),
                dynamic_shapes=({0: Dim('batch', min=1, max=_MAX_BATCH)},),
                strict=False,
            )
            _WRITERS[backend](program, precision, path, (height, width))
        except Exception as error:  # exporters raise exceptions of any type
            raise ExportError(
                f'the model cannot be exported to {backend}: {type(error).__name__}: '
                f'{first_line(error)}'
            ) from error


def _write_openvino(program: ExportedProgram, precision: str, path: Path, size: tuple) -> None:
    openvino = import_backend('openvino')
    model = openvino.convert_model(program)
    model.reshape([-1, *size, 3])
    model.inputs[0].get_tensor().set_names({'crops'})
    for output, name in zip(model.outputs, OUTPUTS):
        output.get_tensor().set_names({name})
    openvino.save_model(model, path, compress_to_fp16=precision == 'fp16')


def _write_onnx(program: ExportedProgram, precision: str, path: Path, size: tuple) -> None:
    exported: Any = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=_OPSET,
        input_names=['crops'],
        output_names=list(OUTPUTS),
        verbose=False,
    )
    exported.save(path)


def _write_torch(program: ExportedProgram, precision: str, path: Path, size: tuple) -> None:
    torch.export.save(program, path)


_WRITERS: dict[str, Callable] = {
    'openvino': _write_openvino,
    'onnx': _write_onnx,
    'torch-export': _write_torch,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the warnings and logs of the exporters."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
