"""Benchmark of training steps on a CPU: MMPose's default settings and those of tools/train.py."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed

from pose_backbones.cli.allocator import TRAINING_BYTES, keep_freed_memory
from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.engine.memory_format import use_channels_last
from pose_backbones.synthetic import make_synthetic_coco
from pose_backbones.zoo import find_name, get_config

from ._measure import (
    machine,
    markdown_head,
    markdown_row,
    median_ratio,
    milliseconds,
    peak_memory,
    write_json,
)
from .fusion import build

_MODELS = (
    'moganet-xt_coco-256x192',
    'uniformer-s_coco-256x192',
    'mspn-1stg_8xb32-210e_coco-256x192',
)
VARIANTS = ('default', 'train.py')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.training_step`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.training_step',
        description='Time training steps on a CPU, with the data, loss and optimizer of the '
        'configs and random weights: as in MMPose, and with the memory format and the allocator '
        'of tools/train.py. Loading of data is not included. The variants run in processes that '
        'take turns; all steps of a model get the same batch.',
    )
    parser.add_argument(
        'models', nargs='*', default=_MODELS, metavar='NAME', help='default: three models'
    )
    parser.add_argument('--batch', type=int, default=8, metavar='N', help='default: 8')
    parser.add_argument('--steps', type=int, default=5, metavar='N', help='default: 5')
    parser.add_argument('--pairs', type=int, default=3, metavar='N', help='default: 3')
    parser.add_argument('--threads', type=int, metavar='N', help='default: as chosen by PyTorch')
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    parser.add_argument('--worker', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    check_counts(args, 'batch', 'steps', 'pairs', 'threads')
    return args


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.training_step`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    if args.worker:
        result = measure(args.models[0], *args.worker, args.batch, args.steps, args.threads)
        print(json.dumps(result))
        return
    names = [find_name(name) for name in args.models]
    start = machine()
    titles = ['model', 'batch', *(f'{name}, ms' for name in VARIANTS), 'ratio', 'loss']
    titles += [f'{name}, MiB' for name in VARIANTS]
    print('\n'.join(markdown_head(titles)))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_synthetic_coco(Path(folder, 'data'), max(8, args.batch), 1, people=(1, 3))
        for name in names:
            pairs = [
                {variant: _in_process(args, name, variant, folder) for variant in VARIANTS}
                for _ in range(args.pairs)
            ]
            rows.append(summarize(name, args.batch, pairs))
            print(markdown_row(_cells(rows[-1])), flush=True)
    if args.json:
        write_json(args.json, dict(machine=start, rows=rows))


def _in_process(args: argparse.Namespace, name: str, variant: str, folder: str) -> dict:
    command = [sys.executable, '-W', 'ignore', '-m', 'benchmarks.training_step', name]
    command += ['--worker', variant, folder, '--batch', str(args.batch)]
    command += ['--steps', str(args.steps)]
    if args.threads:
        command += ['--threads', str(args.threads)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def summarize(name: str, batch: int, pairs: list[dict]) -> dict:
    """Return the measurements of a model.

    Args:
        name: Name in the model zoo.
        batch: Number of images.
        pairs: For each round, the results of `measure` by variant.

    Returns:
        `ratio`, how many times as fast `train.py` is; the relative difference of the `loss` of
        the first step; and for each variant the `seconds` of all steps and the `peak` in bytes.
    """
    seconds = {key: [pair[key]['seconds'] for pair in pairs] for key in VARIANTS}
    medians = [[sorted(times)[len(times) // 2] for times in seconds[key]] for key in VARIANTS]
    losses = [
        abs(pair['train.py']['loss'] - pair['default']['loss']) / pair['default']['loss']
        for pair in pairs
    ]
    return dict(
        model=name,
        batch=batch,
        ratio=median_ratio(*medians),
        loss=max(losses),
        seconds={key: [x for times in rounds for x in times] for key, rounds in seconds.items()},
        peak={key: max(pair[key]['peak'] for pair in pairs) for key in VARIANTS},
    )


def _cells(row: dict) -> list[str]:
    times = [milliseconds(row['seconds'][key], 0) for key in VARIANTS]
    memory = [f'{row["peak"][key] / 2**20:.0f}' for key in VARIANTS]
    ratio, loss = f'{row["ratio"]:.2f}', f'{row["loss"]:.0e}'
    return [row['model'], str(row['batch']), *times, ratio, loss, *memory]


def measure(
    name: str, variant: str, folder: str, batch: int, steps: int, threads: int | None = None
) -> dict:
    """Run training steps in this process.

    Args:
        name: Name in the model zoo.
        variant: One of `VARIANTS`.
        folder: Directory with the synthetic dataset `data`.
        batch: Number of images.
        steps: Number of steps, after one that is not timed.
        threads: Number of threads. Default: as chosen by PyTorch.

    Returns:
        `seconds` of each step, the `loss` of the first one, and the `peak` of the memory in bytes.
    """
    warnings.simplefilter('ignore')
    if threads:
        torch.set_num_threads(threads)
    if variant == 'train.py':
        keep_freed_memory(TRAINING_BYTES)
    model, _ = build(name)
    if variant == 'train.py':
        use_channels_last(model)
    config = get_config(name)
    init_default_scope('mmpose')
    loader = config.train_dataloader
    loader.update(batch_size=batch, num_workers=0, persistent_workers=False)
    loader.dataset.update(
        data_root=str(Path(folder, 'data')),
        ann_file='annotations/person_keypoints_train.json',
        data_prefix=dict(img='train/'),
    )
    MMLogger.get_instance('training_step', log_level='ERROR')
    set_random_seed(0)  # of the augmentation
    data = next(iter(Runner.build_dataloader(loader, seed=0)))
    model.train()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    seconds, losses = [], []
    for _ in range(1 + steps):
        torch.manual_seed(0)  # of the stochastic depth
        start = time.perf_counter()
        logged = model.train_step(data, optimizer)
        seconds.append(time.perf_counter() - start)
        losses.append(float(logged['loss']))
    return dict(seconds=seconds[1:], loss=losses[0], peak=peak_memory())


if __name__ == '__main__':
    run(main)
