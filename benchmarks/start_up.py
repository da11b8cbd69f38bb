"""Benchmark of the start of the interpreter with the file `pose_backbones.pth`."""

import argparse
import os
import subprocess
import tempfile
import time
import venv
from pathlib import Path

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones_env import finder

from ._measure import markdown_head, markdown_row, median_ratio, milliseconds

FINDER = 'import pose_backbones_env.finder; pose_backbones_env.finder.install()'
#: content of the file in the environment of each variant
VARIANTS = {'without': '', 'with': FINDER}


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
    with tempfile.TemporaryDirectory() as folder:
        interpreters = {name: make_environment(Path(folder, name), name) for name in VARIANTS}
        for _ in range(args.rounds):
            for name, python in interpreters.items():
                seconds[name].append(measure(python))
    print('\n'.join(markdown_head(['finder', 'start in ms', 'relative'])))
    for name, times in seconds.items():
        ratio = median_ratio(times, seconds['without'])
        print(markdown_row([name, milliseconds(times, 2), f'{ratio:.2f}']))


def make_environment(folder: Path, variant: str) -> Path:
    """Create an environment whose `site-packages` has the `.pth` file, and return its interpreter.

    Args:
        folder: Directory of the environment.
        variant: One of `VARIANTS`.
    """
    venv.create(folder)
    (packages,) = folder.glob('lib/python*/site-packages')
    root = os.path.dirname(os.path.dirname(finder.__file__))
    # In both variants, the directory is searched for modules.
    (packages / 'directory.pth').write_text(f'{root}\n')
    (packages / 'pose_backbones.pth').write_text(f'{VARIANTS[variant]}\n')
    return folder / 'bin/python'


def measure(python: Path, code: str = 'pass') -> float:
    """Return the time in seconds in which an interpreter starts, runs the code and ends."""
    start = time.perf_counter()
    subprocess.run([python, '-I', '-c', code], check=True)
    return time.perf_counter() - start


if __name__ == '__main__':
    run(main)
