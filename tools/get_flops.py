"""Count parameters and FLOPs of a model: see `--help`."""

import _start  # noqa: F401  (first: signals end it while it loads)

from pose_backbones.cli.flops import main
from pose_backbones.cli.main import run

if __name__ == '__main__':
    run(main)
