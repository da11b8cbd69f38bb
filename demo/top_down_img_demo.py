"""Draw poses for the bounding boxes of a COCO annotation file: see `--help`."""

from pose_backbones.cli.image_demo import main
from pose_backbones.cli.entry_point import run

if __name__ == '__main__':
    run(main)
