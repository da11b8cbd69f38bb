"""Compare MSPN with MMPose's, by number of stages: see `--help`."""

import _start  # noqa: F401  (first: signals end it while it loads)

from benchmarks.mspn import main
from pose_backbones.cli.main import run

if __name__ == '__main__':
    run(main)
