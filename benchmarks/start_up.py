"""Benchmark of the start of the interpreter with the finder that `pose_backbones.pth` installs."""

import argparse
import os
import subprocess
import sys
import time

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones_env import finder

from ._measure import markdown_head, markdown_row, median_ratio, milliseconds

FINDER = 'import pose_backbones_env.finder; pose_backbones_env.finder.install()'
#: `-S` ignores .pth files, and without it `os` is imported
VARIANTS = {'without': 'import os', 'with': f'import os; {FINDER}'}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.start_up`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.start_up',
        description='Time interpreters that start with and without the finder, in turns.',
    )
    parser.add_argument('--rounds', type=int, default=200, metavar='N', help='default: 200')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.start_up`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    check_counts(args, 'rounds')
    seconds = {name: [] for name in VARIANTS}
    for _ in range(args.rounds):
        for name, code in VARIANTS.items():
            seconds[name].append(measure(code))
    print('\n'.join(markdown_head(['finder', 'start in ms', 'relative'])))
    for name, times in seconds.items():
        ratio = median_ratio(times, seconds['without'])
        print(markdown_row([name, milliseconds(times, 2), f'{ratio:.2f}']))


def measure(code: str) -> float:
    """Return the time in seconds in which an interpreter starts, runs the code and ends."""
    root = os.path.dirname(os.path.dirname(finder.__file__))
    start = time.perf_counter()
    subprocess.run([sys.executable, '-S', '-c', code], env={'PYTHONPATH': root}, check=True)
    return time.perf_counter() - start


if __name__ == '__main__':
    run(main)
