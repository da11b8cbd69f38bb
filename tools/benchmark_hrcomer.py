"""Measure HRCoMer's prediction, encoding and assigner: see `--help`."""

from pose_backbones.apis.benchmark_hrcomer import main
from pose_backbones.apis.cli import run

if __name__ == '__main__':
    run(main)
