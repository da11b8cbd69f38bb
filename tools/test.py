"""Evaluate a checkpoint: see `--help`."""

from pose_backbones.apis.cli import run
from pose_backbones.apis.test import main

if __name__ == '__main__':
    run(main)
