"""Benchmark of exported models: OpenVINO and ONNX Runtime against PyTorch."""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import MMLogger
from mmpose.models.pose_estimators import BottomupPoseEstimator
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.deploy.crop_model import CropModel
from pose_backbones.deploy.export import export_model
from pose_backbones.deploy.image_model import ImageModel, image_settings
from pose_backbones.deploy.precisions import PRECISIONS
from pose_backbones.deploy.runtimes import BACKENDS, load_runtime
from pose_backbones.deploy.verification import example_crops
from pose_backbones.deploy.writing import check_supported
from pose_backbones.zoo import build, find_name

from ._measure import (
    machine,
    markdown_head,
    markdown_row,
    median_ratio,
    milliseconds,
    number_of_threads,
    timed,
    write_json,
)
from .fusion import NAMES, fill, predict

TOP_DOWN_NAMES = tuple(name for name in NAMES if not name.startswith('hrcomer'))
_MATRIX = 2048  # side of the matrices whose product is the peak of the machine
_DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}
_COPIED = 1 << 26  # numbers in the tensor that is copied to measure the bandwidth of the memory


@dataclass(frozen=True)
class Row:
    """Measurements of an exported model.

    Args:
        model: Name in the model zoo.
        backend: Backend.
        precision: Precision of the exported model.
        batch: Number of crops.
        threads: Number of threads.
        flops: See `benchmarks.fusion.Row`.
        peak: FLOPs per second of the best matrix product of the precision in the same run, or of
            float32 if PyTorch has no product of the precision on the CPU.
        bytes: Size of the inputs, outputs and weights of the operators that `flops` counts, in the
            precision: what has to be read and written if all other operators are fused with them.
        bandwidth: Bytes per second that a copy in memory reads and writes, in the same run.
        pixels: Mean distance of the keypoints from those of PyTorch.
        reference: Seconds of each round of the unfused network in float32 in PyTorch, without
            decoding.
        exported: Seconds of each round of the exported model, with normalization and decoding.
    """

    model: str
    backend: str
    precision: str
    batch: int
    threads: int
    flops: int
    peak: float
    bytes: int
    bandwidth: float
    pixels: float
    reference: list[float]
    exported: list[float]

    @property
    def ratio(self) -> float:
        """How many times as fast the exported model is: median over the rounds."""
        return median_ratio(self.reference, self.exported)

    def share(self, seconds: Sequence[float]) -> float:
        """Return the share of the peak that the fastest of some rounds reaches."""
        return self.flops / min(seconds) / self.peak

    @property
    def memory_share(self) -> float:
        """Share of the time of the exported model that the copying of `bytes` takes."""
        return self.bytes / self.bandwidth / min(self.exported)


class TrafficMode(TorchDispatchMode):
    """Count the numbers in inputs, outputs and weights of the operators that have FLOPs.

    Attributes:
        numbers: The count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operator and count; as in `FlopCounterMode`, others are decomposed."""
        if func._overloadpacket not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                outputs = func.decompose(*args, **(kwargs or {}))
            if outputs is not NotImplemented:
                return outputs
        outputs = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            tensors = [x for x in (*args, *as_tuple(outputs)) if isinstance(x, torch.Tensor)]
            self.numbers += sum(tensor.numel() for tensor in tensors)
        return outputs


def as_tuple(value: object) -> tuple:
    """Return the outputs of an operator as a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def build_model(name: str) -> nn.Module:
    """Return an estimator with random weights, see `benchmarks.fusion.build`."""
    MMLogger.get_instance('exported', log_level='ERROR')  # no log of the initialization
    torch.manual_seed(0)
    model = build(name, pretrained=False)
    fill(model)
    return model.eval()


def measure(
    name: str,
    backend: str,
    precisions: Sequence[str],
    batches: Sequence[int],
    threads: Sequence[int],
    repeat: int,
) -> Iterator[Row]:
    """Measure a model on the CPU in several precisions.

    PyTorch, the exported model and the matrix product take turns, so that other load of the machine
    affects all of them.

    Args:
        name: Name in the model zoo.
        backend: Key of `BACKENDS`.
        precisions: Keys of `PRECISIONS`.
        batches: Numbers of crops.
        threads: Numbers of threads.
        repeat: Number of rounds.

    Yields:
        The measurements.
    """
    model = build_model(name)
    size = _image_size(model)
    computed = CropModel(model, False) if size is None else ImageModel(model, False, size)
    for precision in precisions:
        with tempfile.TemporaryDirectory() as folder:
            exported, _ = export_model(
                model, Path(folder, 'model'), backend, precision, flip_test=False, image_size=size
            )
            for count in threads:
                with number_of_threads(count):
                    runtime = load_runtime(backend, exported.path, precision, count)
                    for batch in batches:
                        yield _measure_batch(
                            model, computed, runtime, name, backend, precision, batch, repeat
                        )


def _image_size(model: nn.Module) -> tuple[int, int] | None:
    """Return the size of the images of a bottom-up model, with sides of 4 to 3; None for crops."""
    if not isinstance(model, BottomupPoseEstimator):
        return None
    settings = image_settings(model.cfg)
    side, divisor = settings['short_side'], settings['size_divisor']
    return -(-side * 4 // 3 // divisor) * divisor, side


def _measure_batch(
    model: nn.Module,
    computed: CropModel | ImageModel,
    runtime,
    name: str,
    backend: str,
    precision: str,
    batch: int,
    repeat: int,
) -> Row:
    size = computed.image_size if isinstance(computed, ImageModel) else computed.input_size
    crops = example_crops(size, batch)
    with torch.inference_mode():
        images = computed.normalize(torch.from_numpy(crops))
        with FlopCounterMode(display=False) as counter:
            predict(model, images)
        with TrafficMode() as traffic:
            predict(model, images)
        expected = computed(torch.from_numpy(crops))[0].numpy()
    dtype = _DTYPES.get(precision, torch.float32)
    matrix = torch.randn(_MATRIX, _MATRIX, dtype=dtype)
    source, target = (torch.zeros(_COPIED) for _ in range(2))
    pixels = np.linalg.norm(runtime(crops)[0] - expected, axis=-1).mean()
    names = ('reference', 'exported', 'product', 'copy')
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeat):
        seconds['reference'].append(timed(predict, model, images)[1])
        seconds['exported'].append(timed(runtime, crops)[1])
        seconds['product'].append(timed(torch.mm, matrix, matrix)[1])
        seconds['copy'].append(timed(target.copy_, source)[1])
    return Row(
        model=name,
        backend=backend,
        precision=precision,
        batch=batch,
        threads=torch.get_num_threads(),
        flops=counter.get_total_flops(),
        peak=2 * _MATRIX**3 / min(seconds['product']),
        bytes=dtype.itemsize * traffic.numbers,
        bandwidth=2 * source.nbytes / min(seconds['copy']),
        pixels=float(pixels),
        reference=seconds['reference'],
        exported=seconds['exported'],
    )


def table(rows: Iterator[Row]) -> Iterator[str]:
    """Format measurements as a Markdown table.

    Args:
        rows: The measurements.

    Yields:
        Lines, as soon as each measurement is available.
    """
    yield from markdown_head(
        (
            'model',
            'backend',
            'precision',
            'batch',
            'threads',
            'PyTorch, ms',
            'exported, ms',
            'ratio',
            'peak, GFLOP/s',
            'exported, % of peak',
            '% of time for memory',
            'pixels',
        )
    )
    for row in rows:
        yield markdown_row(
            (
                row.model,
                row.backend,
                row.precision,
                str(row.batch),
                str(row.threads),
                milliseconds(row.reference),
                milliseconds(row.exported),
                f'{row.ratio:.2f}',
                f'{row.peak / 1e9:.0f}',
                f'{100 * row.share(row.exported):.0f}',
                f'{100 * row.memory_share:.0f}',
                f'{row.pixels:.3f}',
            )
        )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.exported`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.exported',
        description='Time exported models on the CPU, with normalization and decoding, and the '
        'networks in float32 in PyTorch, unfused and without decoding, in turns. Weights are '
        'random, and there is no flip test. The ratio is the median over the rounds of the time of '
        'PyTorch divided by that of the exported model. The peak is the best matrix product of the '
        'precision in PyTorch, in the same run.',
    )
    parser.add_argument(
        'models',
        nargs='*',
        metavar='NAME',
        help='models of docs/model_zoo.md (default: a top-down model of each family)',
    )
    parser.add_argument(
        '--backend', choices=tuple(BACKENDS), default='openvino', help='default: openvino'
    )
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=tuple(PRECISIONS),
        default=['fp32', 'bf16'],
        help='default: fp32 bf16',
    )
    parser.add_argument(
        '--batch', type=int, nargs='+', metavar='N', default=[1, 8], help='crops (default: 1 8)'
    )
    parser.add_argument(
        '--threads', type=int, nargs='+', metavar='N', default=[1, 2], help='default: 1 2'
    )
    parser.add_argument(
        '--repeat', type=int, default=10, metavar='N', help='number of rounds (default: 10)'
    )
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.exported`.

    Args:
        argv: Arguments; None means those of the command line.

    Raises:
        PoseBackbonesError: If an argument is invalid, or a model cannot be exported.
    """
    args = parse_args(argv)
    check_counts(args, 'repeat', 'batch', 'threads')
    names = [find_name(name) for name in args.models or TOP_DOWN_NAMES]  # raises early
    for precision in args.precision:
        check_supported(args.backend, precision)
    rows = []
    start = machine()

    def measured() -> Iterator[Row]:
        for name in names:
            for row in measure(
                name, args.backend, args.precision, args.batch, args.threads, args.repeat
            ):
                rows.append(row)
                yield row

    for line in table(measured()):
        print(line, flush=True)
    if args.json:
        content = dict(machine=start, rows=[dict(asdict(row), ratio=row.ratio) for row in rows])
        write_json(args.json, content)


if __name__ == '__main__':
    run(main)
