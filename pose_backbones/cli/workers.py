"""The processes of a distributed run on this machine.

torchrun's agent starts and watches them. This module passes signals on to
them, prints one message at the end, and chooses the exit status.
"""

import logging
import math
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

from torch.distributed import run
from torch.distributed.elastic.agent.server import WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from ..errors import LaunchError
from .entry_point import LOST_PROCESS, USER_ERROR
from .stopping import LOST, NO_ANSWER, NOTE, ONE_PRESS, SIGNALS, STOPPED, say

_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)
_LOOK = 1.0  # seconds between looks at the processes
_STOPPED_FOR = 10.0  # seconds until a stopped process is worth a warning


class Workers:
    """The processes of a run on this machine.

    Args:
        options: Of torchrun: `launch.torchrun_arguments`.
        folder: Where the processes leave what is to be said.
    """

    def __init__(self, options: list[str], folder: Path):
        self._folder = folder
        self._signal: int | None = None  # that ends the run
        self._since = 0.0
        self._passed_on = False
        self._silent: dict[int, int] = {}  # rank → process that was stopped
        self._ended = threading.Event()
        self._agent = _make_agent(options)

    def run(self) -> int:
        """Start the processes and wait for them.

        Returns:
            The exit status of the run.

        Raises:
            LaunchError: If the port is taken.
        """
        if 'POSE_BACKBONES_DEBUG' not in os.environ:
            logging.disable(logging.CRITICAL)  # of torchrun, in this process
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        for number in _PASSED_ON:
            signal.signal(number, self._pass_on)
        threading.Thread(target=self._look_after, daemon=True).start()
        try:
            result = self._agent.run()
        except SignalException:
            return self._stopped()
        except RuntimeError as error:
            if 'EADDRINUSE' not in str(error):
                raise
            raise LaunchError(
                f'port {self._agent.get_worker_group().spec.master_port} is '
                'used by another process: set PORT to a free one'
            ) from error
        finally:
            self._ended.set()
            self._send(signal.SIGKILL)  # to what is left
        return self._failed(result.failures) if result.is_failed() else 0

    def _processes(self) -> dict[int, int]:
        """Rank → process ID of those that were started."""
        return {
            worker.global_rank: worker.id
            for worker in self._agent.get_worker_group().workers
            if worker.id is not None
        }

    def _send(self, number: int) -> None:
        """Send a signal to all processes that run, with their children."""
        for process in self._processes().values():
            with suppress(OSError):
                os.killpg(process, number)

    def _stop(self, number: int, _frame) -> None:
        now = time.monotonic()
        if self._signal is None:
            self._signal, self._since = number, now
            raise SignalException('', signal.Signals(number))
        if now > self._since + ONE_PRESS:
            self._send(signal.SIGKILL)

    def _pass_on(self, number: int, _frame) -> None:
        self._passed_on = True
        for process in self._processes().values():
            with suppress(OSError):
                os.kill(process, number)

    def _look_after(self) -> None:
        """Warn of a process that is stopped; wake it when it is to end."""
        since: dict[int, float] = {}
        while not self._ended.wait(_LOOK):
            now = time.monotonic()
            for rank, process in self._processes().items():
                if not _is_stopped(process):
                    since.pop(process, None)
                elif self._signal or self._notes(LOST):
                    self._silent[rank] = process
                    with suppress(OSError):
                        os.killpg(process, signal.SIGCONT)
                elif now - since.setdefault(process, now) > _STOPPED_FOR:
                    since[process] = math.inf
                    say(
                        f'warning: rank {rank} (process {process}) is '
                        'stopped, and the others wait for it; to continue '
                        f'it: kill -CONT {process}'
                    )

    def _notes(self, kind: str) -> dict[int, str]:
        """Rank → what it has left in the folder, in the ranks' order."""
        found = {}
        for file in self._folder.glob(f'{kind}*'):
            found[int(file.name.removeprefix(kind))] = file.read_text()
        return dict(sorted(found.items()))

    def _note(self) -> str:
        """What is kept of the run, and how to go on."""
        return next(
            iter(self._notes(NOTE).values()),
            'run the command again; a training goes on with --resume',
        )

    def _stopped(self) -> int:
        """Say that a signal has ended the run; its exit status."""
        self._say_stopped()
        # torchrun's agent itself handles SIGQUIT.
        return STOPPED + (self._signal or signal.SIGQUIT)

    def _say_stopped(self) -> None:
        note = self._note()
        if note:  # and a process has not said it itself
            say(f'stopped; {note}')

    def _failed(self, failures: dict[int, ProcessFailure]) -> int:
        """Say which process failed first; the exit status.

        Args:
            failures: Of each rank, as they were noticed.
        """
        lost = self._notes(LOST)
        if NO_ANSWER in lost.values():
            silent = self._silent or {
                rank: process for rank, process in self._processes().items() if rank not in lost
            }
            names = ', '.join(
                f'rank {rank} (process {process})' for rank, process in silent.items()
            )
            say(
                f'error: {names or "a process on another machine"} did not '
                f'answer in time; {self._note()}'
            )
            return LOST_PROCESS
        rank, failure = next(
            ((rank, failure) for rank, failure in failures.items() if rank not in lost),
            next(iter(failures.items())),
        )
        status = failure.exitcode
        name = f'rank {rank} (process {failure.pid})'
        if status < 0 or status - STOPPED in SIGNALS:
            number = -status if status < 0 else status - STOPPED
            status = STOPPED + number
            if self._passed_on and number == signal.SIGTERM:
                self._say_stopped()
            else:
                say(f'error: {name} was ended by {signal.Signals(number).name}; {self._note()}')
        elif rank in lost:
            say(f'error: {lost[rank]}; {self._note()}')
        elif status != USER_ERROR:  # which the process has said
            say(f'error: {name} ended with status {status}; {self._note()}')
        return status


def _make_agent(options: list[str]) -> LocalElasticAgent:
    """torchrun's agent, without its log files and its own signal handlers."""
    config, command, arguments = run.config_from_args(
        run.parse_args(['--log-dir', os.devnull, *options])
    )
    # It has to handle some signal, so one that is not handled here.
    os.environ['TORCHELASTIC_SIGNALS_TO_HANDLE'] = 'SIGQUIT'
    rendezvous = RendezvousParameters(
        config.rdzv_backend,
        config.rdzv_endpoint,
        config.run_id,
        config.min_nodes,
        config.max_nodes,
        **config.rdzv_configs,
    )
    address, _, port = config.rdzv_endpoint.rpartition(':')
    return LocalElasticAgent(
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
            numa_options=config.numa_options,
        ),
        logs_specs=config.logs_specs,
    )


def _is_stopped(process: int) -> bool:
    """Whether a process was stopped by SIGSTOP; False where not known."""
    try:
        text = Path(f'/proc/{process}/stat').read_text()
    except OSError:
        return False
    return text.rpartition(')')[2].split()[0] == 'T'
