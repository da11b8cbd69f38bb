"""Handle signals while a tool is loading; each tool imports this module first.

The imports of a tool take seconds, in which Ctrl-C would otherwise print a traceback. A process
that tools/dist_*.sh has started also asks the kernel to send it SIGTERM when its launcher ends for
any reason.

This module does not import the package, since that takes most of the time. As soon as
`pose_backbones.cli.entry_point.run` is called, `pose_backbones.cli.stopping` handles the signals.
"""

import os
import signal
import sys

#: environment variable set by `pose_backbones.cli.launch`: `PROCESS_ID:DIRECTORY`
LAUNCHER = 'POSE_BACKBONES_LAUNCHER'
_PR_SET_PDEATHSIG = 1  # constant of <sys/prctl.h>


def stop(number: int, _frame=None) -> None:
    """End the process; only a single process, or rank 0 without a launcher, prints a message."""
    if (
        LAUNCHER not in os.environ
        and os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0'
    ):
        os.write(2, b'stopped while loading; nothing was read or written\n')
    os._exit(128 + number)


def follow(launcher: int) -> None:
    """End this process when its launcher ends.

    Args:
        launcher: Process ID of the launcher.
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
    # This tool was started by a process of a run, not by the launcher itself.
    del os.environ[LAUNCHER]


def spawned() -> bool:
    """Return whether this process is a data worker that a tool has spawned."""
    process = sys.modules.get('multiprocessing.process')
    return process is not None and process.parent_process() is not None


if not spawned():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    if LAUNCHER in os.environ:
        follow(int(os.environ[LAUNCHER].partition(':')[0]))
