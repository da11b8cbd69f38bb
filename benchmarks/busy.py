"""Benchmark of inference and training on a CPU while other processes are busy."""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.deploy.export import export_model
from pose_backbones.deploy.runtimes import load_runtime
from pose_backbones.models.layers import fuse
from pose_backbones.zoo import find_name

from ._measure import in_new_process, markdown_head, markdown_row, write_json
from .exported import build_model
from .fusion import build, predict

#: name of a wait policy of OpenMP → environment variables, which libgomp reads when it is loaded
POLICIES = {
    'default': {},
    'short spin': {'GOMP_SPINCOUNT': '10000'},
    'passive': {'OMP_WAIT_POLICY': 'PASSIVE'},
}
TASKS = ('inference', 'training', 'openvino')
_NAME = 'moganet-xt_coco-256x192'
_BATCH = 8
_SECONDS = 5.0


@dataclass(frozen=True)
class Row:
    """Measurements of a setting.

    Args:
        task: `'inference'` or `'training'` in PyTorch, or inference in `'openvino'` (fp32), which
            uses no OpenMP.
        busy: Number of busy processes.
        threads: Number of threads.
        policy: One of `POLICIES`.
        rates: Images per second of each round.
    """

    task: str
    busy: int
    threads: int
    policy: str
    rates: list[float]


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep processes busy within a `with` statement."""
    processes = [get_context('spawn').Process(target=_spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables within a `with` statement."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def rate(name: str, task: str, threads: int, batch: int, seconds: float) -> float:
    """Return how many images per second this process computes.

    Args:
        name: Name in the model zoo.
        task: One of `TASKS`.
        threads: Number of threads.
        batch: Number of images of a batch.
        seconds: Time to measure, after a batch that is not timed.
    """
    torch.set_num_threads(threads)
    model, shape = build(name)
    images = torch.randn(batch, 3, *shape)
    step = _STEPS[task](name, model, images, threads)
    step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        count += batch
    return count / (time.perf_counter() - start)


def _inference(
    name: str, model: torch.nn.Module, images: torch.Tensor, threads: int
) -> Callable[[], object]:
    fused = fuse(model)
    return lambda: predict(fused, images)


def _openvino(
    name: str, model: torch.nn.Module, images: torch.Tensor, threads: int
) -> Callable[[], object]:
    with tempfile.TemporaryDirectory() as folder:
        exported, _ = export_model(build_model(name), Path(folder, 'model'), flip_test=False)
        runtime = load_runtime('openvino', exported.path, 'fp32', threads)
    crops = np.zeros((len(images), *images.shape[2:], 3), np.uint8)
    return lambda: runtime(crops)


def _training(
    name: str, model: torch.nn.Module, images: torch.Tensor, threads: int
) -> Callable[[], object]:
    model.train()
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        model.head(model.extract_feat(images)).square().mean().backward()
        optimizer.step()

    return step


_STEPS = {'inference': _inference, 'training': _training, 'openvino': _openvino}


def measure(args: argparse.Namespace) -> list[Row]:
    """Measure all settings, which take turns, each in a new process.

    Args:
        args: The parsed command line.
    """
    settings = list(product(args.task, args.busy, args.threads, POLICIES))
    rates: dict[tuple, list[float]] = {setting: [] for setting in settings}
    for _ in range(args.repeat):
        for setting in settings:
            task, busy, threads, policy = setting
            with environment(POLICIES[policy]), busy_processes(busy):
                rates[setting].append(
                    in_new_process(rate, args.model, task, threads, args.batch, args.seconds)
                )
    return [Row(*setting, values) for setting, values in rates.items()]


def table(rows: list[Row]) -> Iterator[str]:
    """Format measurements as a Markdown table, one column for each wait policy.

    Args:
        rows: The measurements.

    Yields:
        The lines.
    """
    yield from markdown_head(('task', 'busy processes', 'threads', *POLICIES))
    cells: dict[tuple, list[str]] = {}
    for row in rows:
        key = row.task, str(row.busy), str(row.threads)
        cells.setdefault(key, []).append(f'{statistics.median(row.rates):.1f}')
    for key, values in cells.items():
        yield markdown_row((*key, *values))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.busy`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.busy',
        description='Images per second of a model on the CPU while other processes '
        'compute, by the number of threads and the wait policy of OpenMP: by default, its threads '
        'spin while they wait for each other. Settings take turns, each in a new process.',
    )
    parser.add_argument('--model', default=_NAME, metavar='NAME', help='default: %(default)s')
    parser.add_argument(
        '--task', nargs='+', choices=TASKS, default=list(TASKS[:2]), help='default: %(default)s'
    )
    parser.add_argument(
        '--busy', type=int, nargs='+', default=[0, 1, 2], metavar='N', help='default: 0 1 2'
    )
    parser.add_argument(
        '--threads', type=int, nargs='+', default=[1, 2], metavar='N', help='default: 1 2'
    )
    parser.add_argument(
        '--batch', type=int, default=_BATCH, metavar='N', help='default: %(default)s'
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=_SECONDS,
        metavar='S',
        help='time of each measurement (default: %(default)s)',
    )
    parser.add_argument('--repeat', type=int, default=3, metavar='N', help='rounds (default: 3)')
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.busy`.

    Args:
        argv: Arguments; None means those of the command line.

    Raises:
        PoseBackbonesError: If an argument is invalid.
    """
    args = parse_args(argv)
    check_counts(args, 'repeat', 'threads', 'batch')
    args.model = find_name(args.model)
    rows = measure(args)
    print('\n'.join(table(rows)))
    if args.json:
        content = [asdict(row) for row in rows]
        write_json(args.json, content)


if __name__ == '__main__':
    run(main)
