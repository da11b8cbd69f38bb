"""Make a page about a test run: see `--help`."""

import _start  # noqa: F401  (first: signals end it while it loads)

from pose_backbones.apis.cli import run
from pose_backbones.evaluation.report.cli import main

if __name__ == '__main__':
    run(main)
