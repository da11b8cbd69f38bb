"""Compare MSPN with MMPose's, by number of stages: see `--help`."""

from pose_backbones.apis.benchmark_mspn import main
from pose_backbones.apis.cli import run

if __name__ == '__main__':
    run(main)
