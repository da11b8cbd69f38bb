"""What each tool imports first: a signal ends it while it is loading, too.

The imports of a tool take seconds, and without this Ctrl-C would show a
traceback then. A process that tools/dist_*.sh have started also asks the
kernel for SIGTERM when its launcher ends, however that happens.

It imports nothing of the package, which is what takes the seconds. From
`pose_backbones.cli.entry_point.run` on, `pose_backbones.cli.stopping` handles the
signals.
"""

import os
import signal
import sys

#: `pose_backbones.cli.launch` sets it: process ID and folder of the launcher
LAUNCHER = 'POSE_BACKBONES_LAUNCHER'
_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def stop(number: int, _frame=None) -> None:
    """End the process; of several, the launcher or the first one says so."""
    if (
        LAUNCHER not in os.environ
        and os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0'
    ):
        os.write(2, b'stopped while loading; nothing was read or written\n')
    os._exit(128 + number)


def follow(launcher: int) -> None:
    """End this process with its launcher.

    Args:
        launcher: Its process ID.
    """
    if os.getppid() == launcher and sys.platform == 'linux':
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == launcher:
        return
    try:
        os.kill(launcher, 0)
    except OSError:  # it ended while this process started
        os._exit(128 + signal.SIGTERM)
    # A tool that one of its processes has started in turn.
    del os.environ[LAUNCHER]


def spawned() -> bool:
    """Whether this is a data worker, which a tool has spawned."""
    process = sys.modules.get('multiprocessing.process')
    return process is not None and process.parent_process() is not None


if not spawned():
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, stop)
    if LAUNCHER in os.environ:
        follow(int(os.environ[LAUNCHER].partition(':')[0]))
