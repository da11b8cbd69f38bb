"""Use fewer threads if other processes use some of the CPU's cores."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

#: environment variables with which users set the number of threads
_SETTINGS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
_LEAST_SECONDS = 0.3  # of a measurement; the kernel counts in hundredths of a second
_STAT = Path('/proc/stat')


@dataclass(frozen=True)
class Usage:
    """Times in seconds since some moment.

    Args:
        time: Time that has passed.
        idle: Time in which the cores that this process may use were idle, all of them together.
        own: Time for which this process used cores.
    """

    time: float
    idle: float
    own: float


def read_usage() -> Usage | None:
    """Return the usage of the cores; None if the system does not state it, as outside Linux."""
    try:
        cores = {f'cpu{number}' for number in os.sched_getaffinity(0)}
        rows = [line.split() for line in _STAT.read_text().splitlines()]
        # the fourth and fifth numbers are those of idle cores, and of cores that wait for a disk
        ticks = sum(int(row[4]) + int(row[5]) for row in rows if row[0] in cores)
        idle = ticks / os.sysconf('SC_CLK_TCK')
    except (AttributeError, IndexError, OSError, ValueError):
        return None
    return Usage(time.monotonic(), idle, time.process_time())


#: usage when the command started, before PyTorch was imported
_START = read_usage()


def free_cores(start: Usage | None, end: Usage | None) -> float | None:
    """Return how many cores were idle or used by this process.

    Args:
        start, end: The usage at two moments.

    Returns:
        The number; None if it is unknown, or there is too little time between the moments.
    """
    if start is None or end is None or end.time - start.time < _LEAST_SECONDS:
        return None
    return (end.idle - start.idle + end.own - start.own) / (end.time - start.time)


def limit_threads() -> None:
    """Let PyTorch use only as many threads as cores are not used by other processes.

    The threads of OpenMP wait for each other, so that one thread more than there are free cores
    makes a model slower, see docs/benchmarks.md. `OMP_NUM_THREADS` or `MKL_NUM_THREADS` prevents
    the change.
    """
    free = free_cores(_START, read_usage())
    if free is None or any(name in os.environ for name in _SETTINGS):
        return
    import torch
    from mmengine.logging import print_log

    total = torch.get_num_threads()
    count = max(1, min(total, round(free)))
    if count < total:
        torch.set_num_threads(count)
        print_log(
            f'using {count} instead of {total} threads, since other processes use the other '
            'cores; set OMP_NUM_THREADS to choose the number',
            'current',
            logging.INFO,
        )
