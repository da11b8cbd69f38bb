"""Quantize an OpenVINO model to 8-bit integers with NNCF, and compare it with the original."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, ExportError, first_line
from ..structures.oks import AREA_OF_BOX, keypoint_similarity
from .runtimes import OpenVINORuntime, Runtime, import_backend, import_nncf, supports_bfloat16
from .timing import speed_ratio
from .writing import outputs_of_network, quiet

#: smallest number of crops for the calibration and the comparison together
MIN_CROPS = 64
#: number of crops of synthetic people that are used by default
SYNTHETIC_CROPS = 128
#: number of crops that are used if there are more, evenly distributed
MAX_CROPS = 400
#: smallest mean OKS of the keypoints with those of the original model
MIN_OKS = 0.99
_PADDING = 1.25  # size of a crop relative to the box
_HELD_OUT = 4  # one of so many crops is not used for the calibration
_BATCH = 8  # crops of one measurement of the time
_MIN_ROUNDS, _SECONDS = 5, 4.0  # smallest number of measurements, and time for them
#: operators with weights; the last ones before the output of the network stay in float32
_WEIGHTED = (
    'Convolution',
    'ConvolutionBackpropData',
    'GroupConvolution',
    'GroupConvolutionBackpropData',
    'MatMul',
)


@dataclass(frozen=True)
class QuantizationResult:
    """Comparison of a quantized model with the original one.

    Args:
        crops: Number of crops, which were not used for the calibration.
        oks: Mean OKS of the keypoints with those of the original model in float32.
        mean_pixels: Mean distance of the keypoints in pixels of the crop.
        reference: Precision of the original model in the comparison of the times.
        ratio: How many times as fast the quantized model is.
    """

    crops: int
    oks: float
    mean_pixels: float
    reference: str
    ratio: float

    def as_dict(self) -> dict[str, Any]:
        """Return the values, rounded."""
        return {
            name: float(f'{value:.4g}') if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        return (
            f'the mean OKS with the keypoints of fp32 is {self.oks:.4f}, their mean distance is '
            f'{self.mean_pixels:.2g} pixels, on {self.crops} crops that were not used for the '
            f'calibration; {self.ratio:.2f} times as fast as {self.reference}'
        )


def check_calibration(crops: np.ndarray, precision: str, input_size: tuple[int, int]) -> None:
    """Check the crops for the calibration.

    Args:
        crops: (N, H, W, 3), uint8, BGR.
        precision: Precision of the exported model.
        input_size: Width and height of the crops of the model.

    Raises:
        ConfigError: If the precision needs no calibration, or there are less than `MIN_CROPS`.
        ValueError: If the crops have another shape or type.
    """
    if precision != 'int8':
        raise ConfigError(
            f'there are crops for a calibration, but the precision is {precision}: expected int8, '
            'or no calibration'
        )
    width, height = input_size
    if crops.shape[1:] != (height, width, 3) or crops.dtype != np.uint8:
        raise ValueError(
            f'calibration has the shape {crops.shape} and the type {crops.dtype}: expected '
            f'(N, {height}, {width}, 3) and uint8'
        )
    if len(crops) < MIN_CROPS:
        raise ConfigError(
            f'the calibration set has {len(crops)} crops: expected at least {MIN_CROPS}, of which '
            f'{MIN_CROPS // _HELD_OUT} are used to compare the results'
        )


def quantize(path: Path, crops: np.ndarray, sigmas: Sequence[float] | None) -> QuantizationResult:
    """Replace a model file by a quantized one, if this is accurate enough and faster.

    Args:
        path: Path of the model in float32, `model.xml`.
        crops: At least `MIN_CROPS`, (N, H, W, 3), uint8, BGR. Three of four are used for the
            calibration, and the others for the comparison.
        sigmas: Labelling errors of the keypoints, see `structures.oks`.

    Returns:
        The comparison.

    Raises:
        ConfigError: If the keypoints have no sigmas.
        ExportError: If the model cannot be quantized, its keypoints deviate, or it is not faster.
    """
    if len(crops) > MAX_CROPS:
        crops = crops[np.linspace(0, len(crops) - 1, MAX_CROPS).astype(int)]
    held_out = np.arange(len(crops)) % _HELD_OUT == _HELD_OUT - 1
    original = OpenVINORuntime(path, 'fp32')
    count = original(crops[:1])[1].shape[1]
    if sigmas is None or len(sigmas) != count:
        found = 'no' if sigmas is None else len(sigmas)
        raise ConfigError(
            f'the metainfo of the dataset has {found} sigmas, with which the keypoints of int8 are '
            f'compared: expected {count}, or another precision'
        )
    draft = path.with_name('quantized.xml')
    _write_quantized(path, crops[~held_out], draft)
    quantized = OpenVINORuntime(draft, 'int8')
    oks, pixels = _compare(original, quantized, crops[held_out], np.asarray(sigmas))
    if not oks >= MIN_OKS:  # NaN is too small, too
        raise ExportError(
            f'int8 changes the keypoints: their mean OKS with those of fp32 is {oks:.4f} on '
            f'{held_out.sum()} crops that were not used for the calibration; expected at least '
            f'{MIN_OKS}: use another precision, or calibrate with images of your application'
        )
    reference = 'bf16' if supports_bfloat16() else 'fp32'
    original = OpenVINORuntime(path, reference)
    ratio = speed_ratio(original, quantized, crops[:_BATCH], _MIN_ROUNDS, _SECONDS)
    if not ratio > 1:
        raise ExportError(
            f'int8 is not faster than {reference} on this CPU, but {ratio:.2f} times as fast: use '
            f'--precision {reference}'
        )
    for suffix in ('.xml', '.bin'):
        draft.with_suffix(suffix).replace(path.with_suffix(suffix))
    return QuantizationResult(int(held_out.sum()), oks, pixels, reference, ratio)


def _compare(
    original: Runtime, quantized: Runtime, crops: np.ndarray, sigmas: np.ndarray
) -> tuple[float, float]:
    """Return the mean OKS and the mean distance of the keypoints of two models.

    The person is assumed to fill the crop without the padding of a box, which is a quarter.
    """
    differences = original(crops)[0].astype(float) - quantized(crops)[0]
    squares = np.square(differences).sum(-1)
    height, width = crops.shape[1:3]
    areas = np.full(len(crops), AREA_OF_BOX * width * height / _PADDING**2)
    similarity = keypoint_similarity(squares, areas, sigmas)
    return float(similarity.mean()), float(np.sqrt(squares).mean())


def _write_quantized(path: Path, crops: np.ndarray, out: Path) -> None:
    """Quantize a model.

    The settings are those for models with attention, layer norms and activations that are not
    symmetric: their inputs are scaled before they are rounded (SmoothQuant), symmetric weights and
    asymmetric activations (the mixed preset), and no rounding of softmax, norms, and products and
    sums of two activations. The last layers and the decoding stay in float32.
    """
    openvino, nncf = import_backend('openvino'), import_nncf()
    core = openvino.Core()
    model = core.read_model(path)
    shape = model.input().partial_shape
    fixed = type(shape)(shape)
    fixed[0] = 1  # faster than a variable number
    model.reshape(fixed)
    names = layers_in_float(model)
    nncf.set_log_level(logging.ERROR)
    # NNCF prints progress bars.
    with quiet(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        try:
            quantized = nncf.quantize(
                model,
                nncf.Dataset([crop[None] for crop in crops]),
                preset=nncf.QuantizationPreset.MIXED,
                model_type=nncf.ModelType.TRANSFORMER,
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(crops),
                ignored_scope=nncf.IgnoredScope(names=names, validate=False),
            )
        except Exception as error:  # NNCF raises exceptions of any type
            raise ExportError(
                f'NNCF cannot quantize the model: {type(error).__name__}: {first_line(error)}'
            ) from error
    quantized.reshape(shape)
    openvino.save_model(quantized, out, compress_to_fp16=False)


def layers_in_float(model: Any) -> list[str]:
    """Return the names of the operators that are not quantized.

    Args:
        model: OpenVINO's model, with the names of the outputs of the network, see
            `outputs_of_network`.

    Returns:
        The operators that decode the outputs, and those from the last layers of the network on.
    """
    operators = {node.get_friendly_name(): node for node in model.get_ops()}
    boundary = [operators[name] for name in outputs_of_network(model)]
    last_layers = _reachable(boundary, _sources, stop=_WEIGHTED)
    decoding = _reachable(boundary, _consumers)
    return sorted(last_layers | decoding)


def _reachable(nodes: Iterable[Any], step: Any, stop: Sequence[str] = ()) -> set[str]:
    """Return the names of operators that are reached without going beyond those of some types."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name not in found:
            found.add(name)
            if node.get_type_name() not in stop:
                waiting += step(node)
    return found


def _sources(node: Any) -> list[Any]:
    return [port.get_source_output().get_node() for port in node.inputs()]


def _consumers(node: Any) -> list[Any]:
    return [port.get_node() for output in node.outputs() for port in output.get_target_inputs()]
