"""Convert a released checkpoint to the current parameter names: see `--help`."""

import _start  # noqa: F401  (first, to handle signals while the tool loads)

from pose_backbones.cli.convert import main
from pose_backbones.cli.entry_point import run

if __name__ == '__main__':
    run(main)
