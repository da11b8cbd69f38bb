"""Write models as files for OpenVINO, ONNX Runtime and `torch.export`."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from ..errors import ConfigError, ExportError, first_line
from .crop_model import CropModel
from .image_model import ImageModel
from .runtimes import BACKENDS, import_backend, import_nncf

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


def write_model(model: CropModel | ImageModel, backend: str, precision: str, folder: Path) -> None:
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
    path = folder / BACKENDS[backend][2]
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(
                _WithOutputs(cast(CropModel, model)) if precision == 'int8' else model,
                (model.example(),),
                dynamic_shapes=(model.dynamic_shapes(),),
                strict=False,
            )
            _WRITERS[backend](program, precision, path, model)
        except Exception as error:  # exporters raise exceptions of any type
            raise ExportError(
                f'the model cannot be exported to {backend}: {type(error).__name__}: '
                f'{first_line(error)}'
            ) from error


def _write_openvino(
    program: ExportedProgram, precision: str, path: Path, source: CropModel | ImageModel
) -> None:
    openvino = import_backend('openvino')
    model = openvino.convert_model(program)
    outputs = model.get_results()[len(source.output_names) :]  # with int8
    if outputs:
        names = [output.input_value(0).get_node().get_friendly_name() for output in outputs]
        model.set_rt_info(_SEPARATOR.join(names), _NETWORK)
        for output in outputs:
            model.remove_result(output)
    model.reshape(source.input_shape())
    model.inputs[0].get_tensor().set_names({source.input_name})
    for output, name in zip(model.outputs, source.output_names):
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


def _write_onnx(
    program: ExportedProgram, precision: str, path: Path, source: CropModel | ImageModel
) -> None:
    exported: Any = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=_OPSET,
        input_names=[source.input_name],
        output_names=list(source.output_names),
        verbose=False,
    )
    exported.save(path)


def _write_torch(
    program: ExportedProgram, precision: str, path: Path, source: CropModel | ImageModel
) -> None:
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
