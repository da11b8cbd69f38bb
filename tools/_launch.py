"""Start a tool in several processes: what tools/dist_*.sh run."""

import _start  # noqa: F401  (first: signals end it while it loads)

from pose_backbones.cli.launch import main
from pose_backbones.cli.main import run

if __name__ == '__main__':
    run(main, stoppable=False)
