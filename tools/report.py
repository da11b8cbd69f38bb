"""Make a page about a test run: see `--help`."""

from pose_backbones.apis.cli import run
from pose_backbones.evaluation.report.cli import main

if __name__ == '__main__':
    run(main)
