"""Benchmark of `tools/infer.py --keep-freed-memory`: pairs of processes with and without it."""

import argparse
import subprocess
import sys
import time
from statistics import median

import numpy as np

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts

_MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'
_PEOPLE = 8  # of each image


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.allocator`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.allocator',
        description='Time PoseInferencer on a CPU with and without --keep-freed-memory, in '
        'processes that take turns. Weights and images are random; the time is that of the CPU, '
        'which other processes disturb less.',
    )
    parser.add_argument('--model', default=_MODEL, metavar='NAME', help='default: %(default)s')
    parser.add_argument('--images', type=int, default=40, metavar='N', help='default: 40')
    parser.add_argument('--pairs', type=int, default=5, metavar='N', help='default: 5')
    parser.add_argument('--worker', choices=('default', 'kept'), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.allocator`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    check_counts(args, 'images', 'pairs')
    if args.worker:
        print(*_measure(args.model, args.images, args.worker == 'kept'))
        return
    results = {'default': [], 'kept': []}
    for _ in range(args.pairs):
        for variant, values in results.items():
            values.append(_run(args, variant))
            rate, memory = values[-1]
            print(f'{variant}: {rate:.1f} crops per CPU second, peak {memory:.0f} MiB', flush=True)
    ratios = [kept[0] / plain[0] for plain, kept in zip(results['default'], results['kept'])]
    memory = [kept[1] - plain[1] for plain, kept in zip(results['default'], results['kept'])]
    print(
        f'kept is {median(ratios):.2f} times as fast (pairs: {min(ratios):.2f} to '
        f'{max(ratios):.2f}), with {median(memory):+.0f} MiB'
    )


def _run(args: argparse.Namespace, variant: str) -> tuple[float, float]:
    command = [sys.executable, '-W', 'ignore', '-m', 'benchmarks.allocator', '--worker', variant]
    command += ['--model', args.model, '--images', str(args.images)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rate, memory = map(float, output.split()[-2:])
    return rate, memory


def _measure(model: str, images: int, keep: bool) -> tuple[float, float]:
    """Return crops per CPU second and the peak memory in MiB of this process."""
    from pose_backbones import PoseInferencer, build
    from pose_backbones.cli.allocator import keep_freed_memory
    from pose_backbones.zoo import find_name

    from .inference_worker import peak_memory

    if keep:
        keep_freed_memory()
    pose = PoseInferencer(build(find_name(model)), device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    boxes = np.array([(60 * n, 20, 60 * n + 180, 460) for n in range(_PEOPLE)])

    def predict(count: int) -> int:
        return sum(map(len, pose([image] * count, [boxes] * count, keep_images=False)))

    predict(3)
    start = time.process_time()
    crops = predict(images)
    return crops / (time.process_time() - start), peak_memory()


if __name__ == '__main__':
    run(main)
