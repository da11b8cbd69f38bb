"""Convert a released checkpoint to today's names: see `--help`."""

import _start  # noqa: F401  (first: signals end it while it loads)

from pose_backbones.cli.convert import main
from pose_backbones.cli.entry_point import run

if __name__ == '__main__':
    run(main)
