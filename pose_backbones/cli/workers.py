"""Processes of a distributed run on this machine.

The agent of torchrun starts and monitors them. This module forwards signals to them, prints one
message at the end, and chooses the exit status.
"""

import logging
import math
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.distributed import run
from torch.distributed.elastic.agent.server import WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from ..errors import LaunchError
from .entry_point import LOST_PROCESS, USER_ERROR
from .stopping import (
    DUPLICATE_SIGNAL_TIME,
    LOST_PREFIX,
    NOT_RESPONDING,
    NOTE_PREFIX,
    SIGNAL_STATUS_BASE,
    SIGNALS,
    print_message,
)

_FORWARDED = (signal.SIGUSR1, signal.SIGUSR2)
_POLL_INTERVAL = 1.0  # seconds between checks of the processes
_SUSPENDED_TIME = 10.0  # seconds until a suspended process causes a warning


class Workers:
    """The processes of a run on this machine.

    Args:
        options: Arguments of torchrun, from `launch.torchrun_arguments`.
        folder: Directory in which the processes leave messages for the launcher.
    """

    def __init__(self, options: list[str], folder: Path):
        self._folder = folder
        self._signal: int | None = None  # signal that ends the run
        self._first_signal_time = 0.0
        self._forwarded = False
        self._suspended: dict[int, int] = {}  # rank → ID of a process that was suspended
        self._ended = threading.Event()
        self._agent = _make_agent(options)

    def run(self) -> int:
        """Start the processes and wait for them.

        Returns:
            The exit status of the run.

        Raises:
            LaunchError: If the port is in use.
        """
        if 'POSE_BACKBONES_DEBUG' not in os.environ:
            logging.disable(logging.CRITICAL)  # messages of torchrun in this process
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        for number in _FORWARDED:
            signal.signal(number, self._forward)
        threading.Thread(target=self._monitor, daemon=True).start()
        try:
            result = self._agent.run()
        except SignalException as error:
            self._signal = self._signal or error.sigval
            self._print_stopped()
            return SIGNAL_STATUS_BASE + self._signal
        except RuntimeError as error:
            if 'EADDRINUSE' not in str(error):
                raise
            raise LaunchError(
                f'port {self._agent.get_worker_group().spec.master_port} is in use by another '
                'process: set PORT to a free port'
            ) from error
        finally:
            self._ended.set()
            self._send(signal.SIGKILL)  # to remaining processes
        return self._failed(result.failures) if result.is_failed() else 0

    def _processes(self) -> dict[int, int]:
        """Return rank → process ID of the started processes."""
        return {
            worker.global_rank: worker.id
            for worker in self._agent.get_worker_group().workers
            if worker.id is not None
        }

    def _send(self, number: int) -> None:
        """Send a signal to all running processes and their children."""
        for process in self._processes().values():
            with suppress(OSError):
                os.killpg(process, number)

    def _stop(self, number: int, _frame) -> None:
        now = time.monotonic()
        if self._signal is None:
            self._signal, self._first_signal_time = number, now
            raise SignalException('', signal.Signals(number))
        if now > self._first_signal_time + DUPLICATE_SIGNAL_TIME:
            self._send(signal.SIGKILL)

    def _forward(self, number: int, _frame) -> None:
        self._forwarded = True
        for process in self._processes().values():
            with suppress(OSError):
                os.kill(process, number)

    def _monitor(self) -> None:
        """Warn about suspended processes; when the run ends, send them SIGCONT so they can exit."""
        since: dict[int, float] = {}
        while not self._ended.wait(_POLL_INTERVAL):
            now = time.monotonic()
            for rank, process in self._processes().items():
                if not _is_suspended(process):
                    since.pop(process, None)
                elif self._signal or self._notes(LOST_PREFIX):
                    self._suspended[rank] = process
                    with suppress(OSError):
                        os.killpg(process, signal.SIGCONT)
                elif now - since.setdefault(process, now) > _SUSPENDED_TIME:
                    since[process] = math.inf
                    print_message(
                        f'warning: rank {rank} (process {process}) is suspended, and the other '
                        f'processes wait for it; to resume it: kill -CONT {process}'
                    )

    def _notes(self, kind: str) -> dict[int, str]:
        """Return a dict from rank to the message that the process wrote to the folder.

        Args:
            kind: `NOTE_PREFIX` or `LOST_PREFIX`.

        Returns:
            Rank → message, sorted by rank.
        """
        notes = {}
        for file in self._folder.glob(f'{kind}*'):
            notes[int(file.name.removeprefix(kind))] = file.read_text()
        return dict(sorted(notes.items()))

    def _resume_hint(self) -> str:
        """Return what the run has saved and how to continue it."""
        return next(
            iter(self._notes(NOTE_PREFIX).values()),
            'run the command again; to continue a training run, add --resume',
        )

    def _print_stopped(self) -> None:
        """Print that a signal has ended the run."""
        note = self._resume_hint()
        if note:  # it is empty if a process has printed the message itself
            print_message(f'stopped; {note}')

    def _failed(self, failures: dict[int, ProcessFailure]) -> int:
        """Print which process failed first, and return the exit status.

        Args:
            failures: Rank → failure, in the order in which they were noticed.
        """
        lost = self._notes(LOST_PREFIX)
        if NOT_RESPONDING in lost.values():
            unresponsive = self._suspended or {
                rank: process for rank, process in self._processes().items() if rank not in lost
            }
            names = ', '.join(
                f'rank {rank} (process {process})' for rank, process in unresponsive.items()
            )
            print_message(
                f'error: {names or "a process on another machine"} did not respond in time; '
                f'{self._resume_hint()}'
            )
            return LOST_PROCESS
        rank, failure = next(
            ((rank, failure) for rank, failure in failures.items() if rank not in lost),
            next(iter(failures.items())),
        )
        status = failure.exitcode
        name = f'rank {rank} (process {failure.pid})'
        if status < 0 or status - SIGNAL_STATUS_BASE in SIGNALS:
            number = -status if status < 0 else status - SIGNAL_STATUS_BASE
            status = SIGNAL_STATUS_BASE + number
            if self._forwarded and number == signal.SIGTERM:
                self._print_stopped()
            else:
                print_message(
                    f'error: {name} was ended by {signal.Signals(number).name}; '
                    f'{self._resume_hint()}'
                )
        elif rank in lost:
            print_message(f'error: {lost[rank]}; {self._resume_hint()}')
        elif status != USER_ERROR:  # in that case, the process has printed the message
            print_message(f'error: {name} ended with status {status}; {self._resume_hint()}')
        return status


class _Agent(LocalElasticAgent):
    """The agent of torchrun, without its signal handlers except for SIGQUIT."""

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            return super()._start_workers(worker_group)  # it installs them
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _make_agent(options: list[str]) -> LocalElasticAgent:
    """Create the agent of torchrun without its log files and signal handlers."""
    config, command, arguments = run.config_from_args(
        run.parse_args(['--log-dir', os.devnull, *options])
    )
    rendezvous = RendezvousParameters(
        config.rdzv_backend,
        config.rdzv_endpoint,
        config.run_id,
        config.min_nodes,
        config.max_nodes,
        **config.rdzv_configs,
    )
    address, _, port = config.rdzv_endpoint.rpartition(':')
    # PyTorch 2.6 has no option for NUMA nodes.
    numa = {'numa_options': config.numa_options} if hasattr(config, 'numa_options') else {}
    return _Agent(
        WorkerSpec(
            role=config.role,
            local_world_size=config.nproc_per_node,
            entrypoint=command,
            args=tuple(arguments),
            rdzv_handler=get_rendezvous_handler(rendezvous),
            max_restarts=0,
            monitor_interval=config.monitor_interval,
            master_addr=address,
            master_port=int(port),
            **numa,
        ),
        logs_specs=config.logs_specs,
    )


def _is_suspended(process: int) -> bool:
    """Return whether a process was suspended by SIGSTOP; False if that is unknown."""
    try:
        text = Path(f'/proc/{process}/stat').read_text()
    except OSError:
        return False
    return text.rpartition(')')[2].split()[0] == 'T'
