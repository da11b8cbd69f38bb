"""Draw predictions beside the ground truth: see `--help`."""

from pose_backbones.apis.cli import run
from pose_backbones.inference.compare import main

if __name__ == '__main__':
    run(main)
