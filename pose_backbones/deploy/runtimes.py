"""Run exported models: OpenVINO, ONNX Runtime, and PyTorch."""

import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import ConfigError
from ..utils.arguments import check_positive_int
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
            crops: (N, H, W, 3), uint8, BGR. N may be 0.

        Returns:
            For crops: keypoints (N, K, 2), x and y in pixels of the crop, and scores (N, K),
            float32. For images: the outputs of `ImageModel`.

        Raises:
            ValueError: If the crops have another shape or type.
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


def import_nncf() -> Any:
    """Import NNCF, which quantizes models of OpenVINO.

    Raises:
        ConfigError: If it is not installed. The message says how to install it.
    """
    try:
        with _without_telemetry():
            return import_module('nncf')
    except ModuleNotFoundError as error:
        raise ConfigError(
            '--precision int8 needs the package nncf, which is not installed: pip install nncf'
        ) from error


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Import OpenVINO or NNCF without the package with which they send usage data."""
    name = 'openvino_telemetry'
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # its import fails
    try:
        yield
    finally:
        del sys.modules[name]


def supports_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16 that OpenVINO uses."""
    return _cpu_supports(import_backend('openvino').Core(), 'BF16')


def _cpu_supports(core: Any, precision: str) -> bool:
    """Return whether OpenVINO can compute in a precision, `BF16` or `FP16`, on this CPU."""
    return precision in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


def precision_hint(core: Any, precision: str) -> str:
    """Return the precision in which OpenVINO computes a model on this CPU, for its options.

    Args:
        core: OpenVINO's `Core`.
        precision: Key of `PRECISIONS`.
    """
    hint = PRECISIONS[precision].openvino
    if hint == 'f16' and not _cpu_supports(core, 'FP16'):
        return 'f32'  # with f16, OpenVINO would compute in bfloat16, which is less accurate
    return hint


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


class _CheckedRuntime(ABC):
    """Base of the runtimes: checks the crops, and returns empty arrays for zero crops."""

    _shape: tuple[int | None, ...]  # H, W and 3, None where any size is possible

    def __init__(self, threads: int | None) -> None:
        if threads is not None:
            check_positive_int('threads', threads)
        self._threads = threads

    def __call__(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Runtime`."""
        crops = np.asarray(crops)
        fits = crops.ndim == 4 and all(
            expected in (None, size) for size, expected in zip(crops.shape[1:], self._shape)
        )
        if not fits or crops.dtype != np.uint8:
            expected = ', '.join('any' if size is None else str(size) for size in self._shape)
            raise ValueError(
                f'crops has the shape {crops.shape} and the type {crops.dtype}: expected '
                f'(N, {expected}) and uint8'
            )
        crops = np.ascontiguousarray(crops)
        if len(crops):
            return self._run(crops)
        return tuple(output[:0] for output in self._run(np.zeros((1, *crops.shape[1:]), np.uint8)))

    @abstractmethod
    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        """Compute the outputs for at least one crop or image."""


class OpenVINORuntime(_CheckedRuntime):
    """A model that is run by OpenVINO on the CPU.

    OpenVINO computes a model with a fixed number of crops about twice as fast as one with a
    variable number. The model is therefore compiled for one crop, at most twice, when this is first
    needed: for a single crop, which all threads compute together; and for several crops, which are
    computed at the same time by one or a few threads each.
    """

    def __init__(self, path: Path, precision: str, threads: int | None = None) -> None:
        super().__init__(threads)
        openvino = import_backend('openvino')
        self._openvino = openvino
        self._core = openvino.Core()
        self._model = self._core.read_model(path)
        shape = self._model.input().partial_shape
        self._shape = tuple(
            None if size.is_dynamic else size.get_length() for size in list(shape)[1:]
        )
        shape[0] = 1
        self._model.reshape(shape)
        self._options: dict[str, Any] = {
            'INFERENCE_PRECISION_HINT': precision_hint(self._core, precision),
            # By default, each process binds its threads to the first cores, so that several
            # processes use the same ones, and cores that are busy are used, too.
            'ENABLE_CPU_PINNING': False,
        }
        if threads:
            self._options['INFERENCE_NUM_THREADS'] = threads
        self._single: Any = None
        self._queue: Any = None
        self._lock = threading.Lock()  # requests belong to one call at a time

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        with self._lock:
            if len(crops) > 1:
                return self._run_several(crops)
            if self._single is None:
                self._single = self._compile('LATENCY').create_infer_request()
            self._single.infer([crops])
            return _outputs(self._single)

    def _run_several(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        if self._queue is None:
            self._queue = self._openvino.AsyncInferQueue(self._compile('THROUGHPUT'))
            self._queue.set_callback(_store_outputs)
        results: list = [None] * len(crops)
        for index in range(len(crops)):
            self._queue.start_async([crops[index : index + 1]], (results, index))
        self._queue.wait_all()
        return tuple(map(np.concatenate, zip(*results)))

    def _compile(self, hint: str) -> Any:
        options = {**self._options, 'PERFORMANCE_HINT': hint}
        return self._core.compile_model(self._model, 'CPU', options)


def _outputs(request: Any) -> tuple[np.ndarray, ...]:
    """Return copies of the outputs of OpenVINO's request."""
    return tuple(np.array(tensor.data) for tensor in request.output_tensors)


def _store_outputs(request: Any, target: tuple[list, int]) -> None:
    results, index = target
    results[index] = _outputs(request)


class ONNXRuntime(_CheckedRuntime):
    """A model that is run by ONNX Runtime on the CPU."""

    def __init__(self, path: Path, precision: str, threads: int | None = None) -> None:
        super().__init__(threads)
        onnxruntime = import_backend('onnx')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
        self._shape = _sizes(self._session.get_inputs()[0].shape)

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        (source,) = self._session.get_inputs()
        return tuple(self._session.run(None, {source.name: crops}))


class TorchExportRuntime(_CheckedRuntime):
    """A model that was written by `torch.export.save`."""

    def __init__(self, path: Path, precision: str, threads: int | None = None) -> None:
        super().__init__(threads)
        import torch

        self._torch = torch
        program = torch.export.load(path)
        (name,) = program.graph_signature.user_inputs
        inputs = program.graph.find_nodes(op='placeholder')
        shape = next(node.meta['val'].shape for node in inputs if node.name == name)
        self._shape = _sizes(shape)
        self._module = program.module()

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, ...]:
        threads = self._torch.get_num_threads()
        self._torch.set_num_threads(self._threads or threads)
        try:
            with self._torch.inference_mode():
                outputs = self._module(self._torch.from_numpy(crops))
        finally:
            self._torch.set_num_threads(threads)
        return tuple(output.numpy() for output in outputs)


def _sizes(shape: Iterable) -> tuple[int | None, ...]:
    """Return the sizes of an input without the batch size, None where any is possible."""
    return tuple(size if isinstance(size, int) else None for size in list(shape)[1:])


_LOADERS: dict[str, Callable] = {
    'openvino': OpenVINORuntime,
    'onnx': ONNXRuntime,
    'torch-export': TorchExportRuntime,
}
