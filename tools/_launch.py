"""Launch a tool in several processes; tools/dist_*.sh run this script."""

import _start  # noqa: F401  (first, to handle signals while the tool loads)

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.launch import main

if __name__ == '__main__':
    run(main, stoppable=False)
