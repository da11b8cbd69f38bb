"""Describe the key points of a data set for MMPose: see `--help`."""

from pose_backbones.apis.cli import run
from pose_backbones.datasets.metainfo import main

if __name__ == '__main__':
    run(main)
