"""Draw the poses of the people that a COCO file has boxes of: see `--help`."""

from pose_backbones.apis.cli import run
from pose_backbones.apis.image_demo import main

if __name__ == '__main__':
    run(main)
