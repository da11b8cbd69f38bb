"""Use fewer threads if other processes use some of the CPU's cores."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

#: environment variables with which users set the number of threads
_SETTINGS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
_SECONDS = 0.3  # least duration of a measurement; the kernel counts in hundredths of a second
#: accepted difference of the time that the kernel counts for the cores from the time that passes
_TOLERANCE = 0.2
_STAT = Path('/proc/stat')


@dataclass(frozen=True)
class Usage:
    """Times in seconds since some moment, summed over the cores that this process may use.

    Args:
        cores: Names of the cores.
        time: Time that has passed.
        total: Time that has passed, as counted for each core.
        idle: Time in which the cores were idle.
        own: Time for which this process used cores.
    """

    cores: frozenset[str]
    time: float
    total: float
    idle: float
    own: float


def read_usage() -> Usage | None:
    """Return the usage of the cores; None if the system does not state it, as outside Linux."""
    try:
        cores = frozenset(f'cpu{number}' for number in os.sched_getaffinity(0))
        rows = [line.split() for line in _STAT.read_text().splitlines()]
        ticks = [list(map(int, row[1:])) for row in rows if row and row[0] in cores]
        second = os.sysconf('SC_CLK_TCK')
        # the fourth and fifth numbers are those of idle cores, and of cores that wait for a disk;
        # those from the ninth on are part of others
        idle = sum(row[3] + row[4] for row in ticks) / second
        total = sum(sum(row[:8]) for row in ticks) / second
    except (AttributeError, IndexError, OSError, ValueError):
        return None
    if len(ticks) != len(cores):
        return None
    return Usage(cores, time.monotonic(), total, idle, time.process_time())


def free_cores(start: Usage | None, end: Usage | None) -> float | None:
    """Return how many cores were idle or used by this process.

    Args:
        start, end: The usage at two moments.

    Returns:
        The number; None if it is unknown, for example since the cores have changed or their times
        are not counted, as in some containers.
    """
    if start is None or end is None or start.cores != end.cores or end.time <= start.time:
        return None
    elapsed, counted = end.time - start.time, end.total - start.total
    if abs(counted - len(end.cores) * elapsed) > _TOLERANCE * len(end.cores) * elapsed:
        return None
    return (end.idle - start.idle + end.own - start.own) / elapsed


_start: Usage | None = None


def start_measurement() -> None:
    """Start to measure which cores other processes use; for commands, not for functions."""
    global _start
    _start = read_usage()


def limit_threads() -> None:
    """Let PyTorch use only as many threads as cores are not used by other processes.

    The threads of OpenMP wait for each other, so that one thread more than there are free cores
    makes a model slower, see docs/benchmarks.md. `OMP_NUM_THREADS` or `MKL_NUM_THREADS` prevents
    the change. Without `start_measurement`, nothing is changed.
    """
    if _start is None or any(name in os.environ for name in _SETTINGS):
        return
    time.sleep(max(0.0, _SECONDS - (time.monotonic() - _start.time)))
    free = free_cores(_start, read_usage())
    if free is None:
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
            logging.WARNING,
        )
