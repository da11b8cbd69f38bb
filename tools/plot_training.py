"""Plot the curves of a training run: see `--help`."""

from pose_backbones.apis.cli import run
from pose_backbones.evaluation.curves import main

if __name__ == '__main__':
    run(main)
