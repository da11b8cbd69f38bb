"""Draw poses for the bounding boxes of a COCO annotation file: see `--help`."""

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.image_demo import main

if __name__ == '__main__':
    run(main)
