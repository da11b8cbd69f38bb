"""Start a tool in several processes: what tools/dist_*.sh run."""

import _start  # noqa: F401  (first: signals end it while it loads)

from pose_backbones.apis.cli import run
from pose_backbones.apis.launch import main

if __name__ == '__main__':
    run(main, stoppable=False)
