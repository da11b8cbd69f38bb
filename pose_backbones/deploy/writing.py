"""Write models as files for OpenVINO, ONNX Runtime and `torch.export`."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..errors import ConfigError, ExportError, first_line
from .crop_model import CropModel
from .runtimes import BACKENDS, OUTPUTS, import_backend, import_nncf

_MAX_BATCH = 4096
_OPSET = 20

#: backend → precisions that it supports
SUPPORTED = {
    'openvino': ('fp32', 'fp16', 'bf16', 'int8'),
    'onnx': ('fp32',),
    'torch-export': ('fp32',),
}
#: where a model file of OpenVINO has the names of the operators that compute the outputs of the
#: network, before the decoding
_NETWORK = ['pose_backbones', 'network']
_SEPARATOR = ';'


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
    if precision == 'int8':
        import_nncf()


def write_model(model: CropModel, backend: str, precision: str, folder: Path) -> None:
    """Write a model in the format of a backend.

    Args:
        model: The model.
        backend: Key of `BACKENDS`.
        precision: Key of `PRECISIONS`. With `'int8'`, the model is written in float32, with the
            information that `quantize` needs.
        folder: Directory of the files.

    Raises:
        ExportError: If an operator of the model cannot be exported.
    """
    width, height = model.input_size
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    path = folder / BACKENDS[backend][2]
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(
                _WithOutputs(model) if precision == 'int8' else model,
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
    outputs = model.get_results()[len(OUTPUTS) :]  # with int8
    if outputs:
        names = [output.input_value(0).get_node().get_friendly_name() for output in outputs]
        model.set_rt_info(_SEPARATOR.join(names), _NETWORK)
        for output in outputs:
            model.remove_result(output)
    model.reshape([-1, *size, 3])
    model.inputs[0].get_tensor().set_names({'crops'})
    for output, name in zip(model.outputs, OUTPUTS):
        output.get_tensor().set_names({name})
    openvino.save_model(model, path, compress_to_fp16=precision == 'fp16')


def outputs_of_network(model: Any) -> list[str]:
    """Return the names of the operators that compute what is decoded.

    Args:
        model: OpenVINO's model, which was written with the precision `'int8'`.
    """
    return model.get_rt_info(_NETWORK).astype(str).split(_SEPARATOR)


class _WithOutputs(nn.Module):
    """Return the keypoints, the scores, and what they are decoded from."""

    def __init__(self, model: CropModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model.outputs(crops)
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        return *self.model.decode(outputs), *parts


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
def quiet() -> Iterator[None]:
    """Hide the warnings and logs of the exporters."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
