"""Write an HTML report about a test run: see `--help`."""

import _start  # noqa: F401  (first, to handle signals while the tool loads)

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.report import main

if __name__ == '__main__':
    run(main)
