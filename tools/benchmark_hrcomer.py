"""Measure HRCoMer's prediction, encoding and assigner: see `--help`."""

import _start  # noqa: F401  (first: signals end it while it loads)

from benchmarks.hrcomer import main
from pose_backbones.cli.main import run

if __name__ == '__main__':
    run(main)
