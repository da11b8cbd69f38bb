"""Start a tool in several processes: what tools/dist_*.sh run."""

import _start  # noqa: F401  (first: signals end it while it loads)

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.launch import main

if __name__ == '__main__':
    run(main, stoppable=False)
