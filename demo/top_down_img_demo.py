"""Draw the poses of the people that a COCO file has boxes of: see `--help`."""

from pose_backbones.cli.image_demo import main
from pose_backbones.cli.main import run

if __name__ == '__main__':
    run(main)
