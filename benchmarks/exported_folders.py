"""Benchmark of exported models: precisions, and OpenVINO with a fixed and a variable batch size."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.deploy.exported import ExportedModel, read_exported
from pose_backbones.deploy.runtimes import import_backend, load_runtime, precision_hint
from pose_backbones.deploy.verification import example_crops
from pose_backbones.errors import ConfigError

from ._measure import markdown_head, markdown_row, median_ratio, milliseconds, timed, write_json


@dataclass(frozen=True)
class Row:
    """Measurements of an exported model.

    Args:
        variant: Directory of the model, and how it is run.
        batch: Number of crops.
        seconds: Seconds of each round.
        ratio: How many times as fast as the first variant: median over the rounds.
    """

    variant: str
    batch: int
    seconds: list[float]
    ratio: float


def variable(model: ExportedModel, threads: int) -> Callable:
    """Return the function of an OpenVINO model that is compiled for any number of crops.

    Args:
        model: The exported model.
        threads: Number of threads.
    """
    core = import_backend('openvino').Core()
    options = {
        'INFERENCE_PRECISION_HINT': precision_hint(core, model.description['precision']),
        'PERFORMANCE_HINT': 'LATENCY',
        'ENABLE_CPU_PINNING': False,
        'INFERENCE_NUM_THREADS': str(threads),
    }
    compiled = core.compile_model(core.read_model(model.path), 'CPU', options)
    return lambda crops: compiled(crops)


def variants(folders: list[str], threads: int, with_variable: bool) -> dict[str, Callable]:
    """Return the functions that are compared, by name.

    Args:
        folders: Directories from `pose-backbones export`.
        threads: Number of threads.
        with_variable: Whether OpenVINO also runs models compiled for any number of crops.

    Raises:
        ConfigError: If the models have inputs of different sizes.
    """
    models = {folder: read_exported(folder) for folder in folders}
    sizes = {tuple(model.description['input_size']) for model in models.values()}
    if len(sizes) > 1:
        raise ConfigError(f'the inputs have the sizes {sizes}: expected one size')
    found: dict[str, Callable] = {}
    for folder, model in models.items():
        backend, precision = (model.description[name] for name in ('backend', 'precision'))
        if with_variable and backend == 'openvino':
            found[f'{folder}, variable batch size'] = variable(model, threads)
        found[folder] = load_runtime(backend, model.path, precision, threads)
    return found


def measure(functions: dict[str, Callable], crops: np.ndarray, repeat: int) -> list[Row]:
    """Time several functions, which take turns.

    Args:
        functions: The functions by name.
        crops: (N, H, W, 3), uint8, BGR.
        repeat: Number of rounds, after one that is not measured.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function(crops)
    for _ in range(repeat):
        for name, function in functions.items():
            seconds[name].append(timed(function, crops)[1])
    first = next(iter(seconds.values()))
    return [
        Row(name, len(crops), times, median_ratio(first, times)) for name, times in seconds.items()
    ]


def table(rows: Iterator[Row]) -> Iterator[str]:
    """Format measurements as a Markdown table.

    Args:
        rows: The measurements.

    Yields:
        Lines, as soon as each measurement is available.
    """
    yield from markdown_head(('model', 'batch', 'per crop, ms', 'fastest, ms', 'ratio'))
    for row in rows:
        per_crop = [value / row.batch for value in row.seconds]
        cells = (row.variant, str(row.batch), milliseconds(per_crop), milliseconds([min(per_crop)]))
        yield markdown_row((*cells, f'{row.ratio:.2f}'))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.exported_folders`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.exported_folders',
        description='Time exported models with inputs of the same size, in turns. The ratio is the '
        'median over the rounds of the time of the first model divided by that of the other one.',
    )
    parser.add_argument('models', nargs='+', metavar='DIR', help='from pose-backbones export')
    parser.add_argument(
        '--variable',
        action='store_true',
        help='also run the models of OpenVINO compiled for any number of crops',
    )
    parser.add_argument(
        '--batch', type=int, nargs='+', metavar='N', default=[1, 8], help='crops (default: 1 8)'
    )
    parser.add_argument('--threads', type=int, metavar='N', default=2, help='default: 2')
    parser.add_argument(
        '--repeat', type=int, default=10, metavar='N', help='number of rounds (default: 10)'
    )
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.exported_folders`.

    Args:
        argv: Arguments; None means those of the command line.

    Raises:
        PoseBackbonesError: If an argument is invalid.
    """
    args = parse_args(argv)
    check_counts(args, 'repeat', 'threads', 'batch')
    functions = variants(args.models, args.threads, args.variable)
    size = tuple(read_exported(args.models[0]).description['input_size'])
    rows: list[Row] = []

    def measured() -> Iterator[Row]:
        for batch in args.batch:
            rows.extend(measure(functions, example_crops(size, batch), args.repeat))
            yield from rows[-len(functions) :]

    for line in table(measured()):
        print(line, flush=True)
    if args.json:
        content = [asdict(row) for row in rows]
        write_json(args.json, content)


if __name__ == '__main__':
    run(main)
