"""Run exported models: OpenVINO, ONNX Runtime, and PyTorch."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import ConfigError
from .precisions import PRECISIONS

#: name of a backend → (module it needs, package to install, name of the model file)
BACKENDS = {
    'openvino': ('openvino', 'openvino', 'model.xml'),
    'onnx': ('onnxruntime', 'onnxruntime', 'model.onnx'),
    'torch-export': ('torch', 'torch', 'model.pt2'),
}


class Runtime(Protocol):
    """A function from crops or images to keypoints and scores."""

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        """Estimate the keypoints of crops or images.

        Args:
            crops: (N, H, W, 3), uint8, BGR.

        Returns:
            For crops: keypoints (N, K, 2), x and y in pixels of the crop, and scores (N, K),
            float32. For images: the outputs of `ImageModel`.
        """


def import_backend(name: str, module: str | None = None) -> Any:
    """Import the package that a backend needs.

    Args:
        name: Key of `BACKENDS`.
        module: Another module that is needed, for example to write the file.

    Raises:
        ConfigError: If the package is not installed. The message says how to install it.
    """
    needed, package, _ = BACKENDS[name]
    module = module or needed
    try:
        with _without_telemetry():
            return import_module(module)
    except ModuleNotFoundError as error:
        package = package if module == needed else module
        raise ConfigError(
            f'the backend {name} needs the package {package}, which is not installed: pip install '
            f'{package}'
        ) from error


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Import OpenVINO without the package that sends usage data when OpenVINO is imported."""
    name = 'openvino_telemetry'
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # its import fails
    try:
        yield
    finally:
        del sys.modules[name]


def load_runtime(backend: str, path: Path, precision: str, threads: int | None = None) -> Runtime:
    """Load an exported model.

    Args:
        backend: Key of `BACKENDS`.
        path: Path of the model file.
        precision: Key of `PRECISIONS`.
        threads: Number of threads. Default: as chosen by the backend.

    Returns:
        The function.
    """
    return _LOADERS[backend](path, precision, threads)


class OpenVINORuntime:
    """A model that is run by OpenVINO on the CPU."""

    def __init__(self, path: Path, precision: str, threads: int | None = None) -> None:
        openvino = import_backend('openvino')
        options = {
            'INFERENCE_PRECISION_HINT': PRECISIONS[precision].openvino,
            'PERFORMANCE_HINT': 'LATENCY',
        }
        if threads:
            options['INFERENCE_NUM_THREADS'] = str(threads)
        self._model = openvino.Core().compile_model(str(path), 'CPU', options)

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Runtime`."""
        outputs = self._model(np.ascontiguousarray(crops))
        return tuple(np.array(outputs[index]) for index in range(len(self._model.outputs)))


class ONNXRuntime:
    """A model that is run by ONNX Runtime on the CPU."""

    def __init__(self, path: Path, precision: str, threads: int | None = None) -> None:
        onnxruntime = import_backend('onnx')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Runtime`."""
        (source,) = self._session.get_inputs()
        return tuple(self._session.run(None, {source.name: crops}))


class TorchExportRuntime:
    """A model that was written by `torch.export.save`."""

    def __init__(self, path: Path, precision: str, threads: int | None = None) -> None:
        import torch

        self._torch = torch
        self._module = torch.export.load(path).module()

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Runtime`."""
        with self._torch.inference_mode():
            outputs = self._module(self._torch.from_numpy(np.ascontiguousarray(crops)))
        return tuple(output.numpy() for output in outputs)


_LOADERS: dict[str, Callable] = {
    'openvino': OpenVINORuntime,
    'onnx': ONNXRuntime,
    'torch-export': TorchExportRuntime,
}
