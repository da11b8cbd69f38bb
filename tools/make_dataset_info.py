"""Write a dataset metainfo file for MMPose: see `--help`."""

import _start  # noqa: F401  (first, to handle signals while the tool loads)

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.make_dataset_info import main

if __name__ == '__main__':
    run(main)
