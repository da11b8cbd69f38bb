"""Benchmark of exported models of this package and of MMPose: AP on COCO over crops per second."""

import argparse
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.deploy.export import export_model
from pose_backbones.deploy.runtimes import Runtime, load_runtime
from pose_backbones.deploy.verification import example_crops
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import find_model, read_models
from pose_backbones.zoo.mmpose import read_mmpose_models
from pose_backbones.zoo.names import MMPOSE, Entry

from ._measure import machine, markdown_head, markdown_row, number_of_threads, timed, write_json
from .exported import build_model

#: models of this package, and of MMPose
NAMES = (
    'moganet-xt_coco-256x192',
    'moganet-s_coco-256x192',
    'uniformer-s_coco-256x192',
    'convnext-t_coco-256x192',
    'mspn-1stg_8xb32-210e_coco-256x192',
    'swin-t-p4-w7_coco-256x192',
)
MMPOSE_NAMES = (
    'rtmpose-s_8xb256-420e_coco-256x192',
    'rtmpose-m_8xb256-420e_coco-256x192',
    'td-hm_ViTPose-small_8xb64-210e_coco-256x192',
    'td-hm_res50_8xb64-210e_coco-256x192',
    'td-hm_hrnet-w32_8xb64-210e_coco-256x192',
)


@dataclass(frozen=True)
class Row:
    """Measurements of a model.

    Args:
        model: Name of the config.
        package: `'pose_backbones'` or `'mmpose'`.
        average_precision: AP on COCO val2017 as stated upstream, with the flip test of the config.
        flip_test: Whether that AP is with the flip test.
        seconds: Precision → seconds of each round for a batch, with normalization, the flip test
            and decoding.
        batch: Number of crops.
        threads: Number of threads.
    """

    model: str
    package: str
    average_precision: float
    flip_test: bool
    seconds: dict[str, list[float]]
    batch: int
    threads: int

    def rate(self, precision: str) -> float:
        """Return the crops per second, the median of the rounds."""
        return self.batch / statistics.median(self.seconds[precision])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.accuracy`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.accuracy',
        description='Time exported models of this package and of MMPose in OpenVINO, in turns, and '
        'list them with the AP on COCO val2017 that is stated upstream. Weights are random. The '
        'flip test is that of the config. Boxes and images are not loaded.',
    )
    parser.add_argument('models', nargs='*', metavar='NAME', help='default: several of each')
    parser.add_argument('--precision', nargs='+', default=['fp32', 'bf16'], metavar='P')
    parser.add_argument('--batch', type=int, default=8, metavar='N', help='crops (default: 8)')
    parser.add_argument('--threads', type=int, default=2, metavar='N', help='default: 2')
    parser.add_argument('--repeat', type=int, default=5, metavar='N', help='default: 5')
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    args = parser.parse_args(argv)
    check_counts(args, 'batch', 'threads', 'repeat')
    return args


def average_precision(model: Entry) -> float:
    """Return the AP of a model on COCO val2017, as stated upstream.

    Raises:
        ConfigError: If it is not known.
    """
    if model.source == MMPOSE:
        metrics = read_mmpose_models()[model.name].metrics.get('COCO', {})
    else:
        own = read_models()[model.name]
        metrics = {**own.stated.get('val2017', {}), **own.metrics}
    if 'AP' not in metrics:
        raise ConfigError(f'the metafile of {model.name} has no AP: choose another model')
    return metrics['AP']


def measure(
    names: list[str], precisions: list[str], batch: int, threads: int, repeat: int
) -> list[Row]:
    """Measure exported models, which take turns.

    Args:
        names: Names of models of this package or of MMPose.
        precisions: Precisions of the exported models.
        batch: Number of crops.
        threads: Number of threads.
        repeat: Number of rounds, after one that is not measured.

    Raises:
        ConfigError: If there is no such model, or its AP is not known.
    """
    entries = [find_model(name) for name in names]
    values = [average_precision(entry) for entry in entries]  # raises early
    runtimes: list[tuple[Row, str, Runtime, np.ndarray]] = []
    rows = []
    with tempfile.TemporaryDirectory() as folder, number_of_threads(threads):
        for index, (entry, value) in enumerate(zip(entries, values)):
            model = build_model(f'{entry.source}::{entry.name}')
            flip_test = bool((model.test_cfg or {}).get('flip_test'))
            row = Row(entry.name, entry.source, value, flip_test, {}, batch, threads)
            rows.append(row)
            for precision in precisions:
                out = Path(folder, f'{index}-{precision}')
                exported, _ = export_model(model, out, 'openvino', precision)
                runtime = load_runtime('openvino', exported.path, precision, threads)
                crops = example_crops(tuple(exported.description['input_size']), batch)
                row.seconds[precision] = []
                runtimes.append((row, precision, runtime, crops))
                runtime(crops)
        for _ in range(repeat):
            for row, precision, runtime, crops in runtimes:
                row.seconds[precision].append(timed(runtime, crops)[1])
    return rows


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.accuracy`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    start = machine()
    names = args.models or [*NAMES, *MMPOSE_NAMES]
    rows = measure(names, args.precision, args.batch, args.threads, args.repeat)
    titles = ['model', 'AP upstream', 'flip test']
    print(
        '\n'.join(
            markdown_head([*titles, *(f'{name}, crops per second' for name in args.precision)])
        )
    )
    for row in rows:
        rates = [f'{row.rate(name):.1f}' for name in args.precision]
        cells = [row.model, f'{100 * row.average_precision:.1f}', str(row.flip_test)]
        print(markdown_row([*cells, *rates]))
    if args.json:
        content = dict(machine=start, rows=[asdict(row) for row in rows])
        write_json(args.json, content)


if __name__ == '__main__':
    run(main)
