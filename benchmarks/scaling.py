"""Benchmark of the cost of a model over the batch size, the input size, boxes and processes."""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from pose_backbones import PoseInferencer
from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.deploy.crop_model import CropModel
from pose_backbones.deploy.export import export_model
from pose_backbones.deploy.exported import read_exported
from pose_backbones.deploy.runtimes import load_runtime
from pose_backbones.deploy.verification import example_crops
from pose_backbones.inference.predictors import TorchRuntime
from pose_backbones.zoo import find_name

from ._measure import machine, markdown_head, markdown_row, number_of_threads, timed, write_json
from .exported import build_model

_MODELS = ('moganet-xt_coco-256x192', 'moganet-xt_coco-384x288')
_IMAGE_SIZE = 640, 480
#: variant → precision of the exported model; None for PyTorch, fused
VARIANTS = {'torch': None, 'openvino fp32': 'fp32', 'openvino bf16': 'bf16'}


@dataclass(frozen=True)
class Row:
    """A measurement.

    Args:
        quantity: What is changed: `'batch'`, `'input size'`, `'boxes'` or `'processes'`.
        model: Name in the model zoo.
        variant: One of `VARIANTS`.
        value: Number of crops, input pixels, boxes per image, or processes.
        rate: Crops per second: in the fastest round, or of all processes together.
    """

    quantity: str
    model: str
    variant: str
    value: int
    rate: float


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.scaling`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.scaling',
        description='Crops per second on the CPU of a model in PyTorch and OpenVINO: over the '
        'batch size; over the input size (other models of the command line, in batches of 8); over '
        'the boxes per image, with PoseInferencer; and over the number of processes, each with '
        'one thread. Weights are random, without flip test.',
    )
    parser.add_argument(
        'models', nargs='*', default=_MODELS, metavar='NAME', help='default: MogaNet-XT, two sizes'
    )
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 2, 4, 8, 16, 32], metavar='N')
    parser.add_argument('--boxes', type=int, nargs='+', default=[1, 2, 5, 10, 20], metavar='N')
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2], metavar='N')
    parser.add_argument('--threads', type=int, default=2, metavar='N', help='default: 2')
    parser.add_argument('--seconds', type=float, default=4.0, metavar='S', help='default: 4')
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    args = parser.parse_args(argv)
    check_counts(args, 'batch', 'boxes', 'processes', 'threads')
    return args


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.scaling`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    names = [find_name(name) for name in args.models]
    start, rows = machine(), []
    print('\n'.join(markdown_head([*Row.__dataclass_fields__])))
    for row in measure(names, args):
        rows.append(row)
        cells = [row.quantity, row.model, row.variant, str(row.value), f'{row.rate:.1f}']
        print(markdown_row(cells), flush=True)
    if args.json:
        content = dict(machine=start, threads=args.threads, rows=[asdict(row) for row in rows])
        write_json(args.json, content)


def measure(names: list[str], args: argparse.Namespace) -> Iterator[Row]:
    """Measure all quantities.

    Args:
        names: Names in the model zoo, the first of which is used for all quantities.
        args: The options of the command line.

    Yields:
        The measurements.
    """
    first = names[0]
    with tempfile.TemporaryDirectory() as folder, number_of_threads(args.threads):
        for index, name in enumerate(names):
            model = build_model(name)
            for variant, precision in VARIANTS.items():
                out = str(Path(folder, f'{index}-{precision}'))
                if precision:
                    export_model(model, out, 'openvino', precision, flip_test=False)
                predict, size = make_runtime(name, precision and out, args.threads)
                for batch in args.batch if name == first else ():
                    rate = _rate(predict, example_crops(size, batch), args.seconds)
                    yield Row('batch', name, variant, batch, rate)
                rate = _rate(predict, example_crops(size, 8), args.seconds)
                yield Row('input size', name, variant, size[0] * size[1], rate)
                if name == first:
                    yield from _over_boxes(name, variant, out, args)
                    yield from _over_processes(name, variant, precision and out, args)


def make_runtime(
    name: str, exported: str | None, threads: int
) -> tuple[Callable[[np.ndarray], object], tuple[int, int]]:
    """Return a function from crops to keypoints, and the size of the crops.

    Args:
        name: Name in the model zoo.
        exported: Directory of the exported model; None for PyTorch.
        threads: Number of threads of the exported model.
    """
    if exported is None:
        model = CropModel(build_model(name), flip_test=False)
        return torch.inference_mode()(TorchRuntime(model, torch.device('cpu'), False)), (
            model.input_size
        )
    folder = read_exported(exported)
    description = folder.description
    runtime = load_runtime('openvino', folder.path, description['precision'], threads)
    return runtime, tuple(description['input_size'])


def _rate(predict: Callable, crops: np.ndarray, seconds: float) -> float:
    """Return the crops per second of the fastest round."""
    predict(crops)
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 3:
        times.append(timed(predict, crops)[1])
    return len(crops) / min(times)


def _over_boxes(name: str, variant: str, exported: str, args: argparse.Namespace) -> Iterator[Row]:
    if variant == 'torch':
        pose = PoseInferencer(build_model(name), device='cpu', flip_test=False, backend='torch')
    else:
        pose = PoseInferencer(exported)
    rng = np.random.default_rng(0)
    width, height = _IMAGE_SIZE
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    for count in args.boxes:
        corners = rng.uniform(0, (0.5 * width, 0.4 * height), (count, 2))
        boxes = np.concatenate([corners, corners + (0.3 * width, 0.6 * height)], axis=1)

        def predict(images: list, boxes: np.ndarray = boxes) -> None:
            for _ in pose(images, [boxes] * len(images), keep_images=False):
                pass

        images = [image] * max(2, 16 // count)
        rate = _rate(predict, images, args.seconds)
        yield Row('boxes', name, variant, count, rate * count)


def _over_processes(
    name: str, variant: str, exported: str | None, args: argparse.Namespace
) -> Iterator[Row]:
    context = get_context('spawn')
    for count in args.processes:
        barrier, queue = context.Barrier(count), context.Queue()
        processes = [
            context.Process(
                target=_work, args=(name, exported, args.seconds, barrier, queue), daemon=True
            )
            for _ in range(count)
        ]
        for process in processes:
            process.start()
        rates = [queue.get(timeout=300) for _ in processes]
        for process in processes:
            process.join()
        yield Row('processes', name, variant, count, sum(rates))


def _work(name: str, exported: str | None, seconds: float, barrier, queue) -> None:
    """Predict with one thread for some seconds at the same time as other processes."""
    torch.set_num_threads(1)
    predict, size = make_runtime(name, exported, 1)
    crops = example_crops(size, 8)
    predict(crops)
    barrier.wait()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        predict(crops)
        count += len(crops)
    queue.put(count / (time.perf_counter() - start))


if __name__ == '__main__':
    run(main)
