"""Run command-line tools as processes, and send them signals."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.helpers.fork_server import restore_signals, shared_server
from tests.helpers.tools import ROOT, tool_env


class Process:
    """A running tool, in its own session.

    Args:
        pid: ID of the process.
        log: File with its output.
        wait: Waits for the end and returns the exit status.
    """

    def __init__(self, pid: int, log: Path, wait: Callable[[], int]):
        self.pid, self.log, self._wait = pid, log, wait

    @property
    def output(self) -> str:
        return self.log.read_text(errors='replace')

    def runs(self) -> bool:
        return runs(self.pid)

    def wait_for(self, *texts: str) -> None:
        """Wait until the process has printed one of the texts."""
        self.wait_until(lambda: any(text in self.output for text in texts))

    def wait_until(self, condition: Callable[[], bool], timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.runs(), self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.01)

    def send(self, number: int, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.pid, number)

    def wait(self) -> int:
        return self._wait()

    def user_messages(self) -> list[str]:
        """Return the lines of the output that are addressed to the user."""
        return [
            line
            for line in self.output.splitlines()
            if line.startswith(('stopped', 'error', 'warning:'))
        ]


def runs(pid: int) -> bool:
    """Return whether a process has not ended."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False
    return text.rpartition(')')[2].split()[0] != 'Z'


def children(pid: int) -> list[int]:
    """Return the IDs of the child processes of a process."""
    pids = []
    for task in Path(f'/proc/{pid}/task').iterdir():
        pids += map(int, (task / 'children').read_text().split())
    return pids


def start(command: list, log: Path, **env: str) -> Process:
    """Start a command in its own session."""
    with log.open('w') as out:
        process = subprocess.Popen(
            [*map(str, command)],
            env=tool_env(**env),
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=restore_signals,
        )
    return Process(process.pid, log, lambda: process.wait(timeout=120))


class Server:
    """Start tools in forked processes, to which signals can be sent.

    Args:
        folder: Directory for logs.

    Attributes:
        temporary: Directory for temporary files. Its path is short, since data workers create Unix
            sockets in it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._temporary = tempfile.TemporaryDirectory(prefix='pb-', ignore_cleanup_errors=True)
        self.temporary = Path(self._temporary.name)
        self._started: list[int] = []
        self._server = shared_server()

    def start(self, name: str | Path, *arguments, env: dict[str, str] | None = None) -> Process:
        """Start a script in `tools/`, or one with an absolute path."""
        log = self.folder / f'{len(self._started)}.log'
        log.touch()
        command = [str(ROOT / 'tools' / name), *map(str, arguments)]
        pid = self._server.start(
            command, log, tool_env(**{'TMPDIR': str(self.temporary), **(env or {})})
        )
        self._started.append(pid)
        return Process(pid, log, lambda: self._server.wait(pid))

    def start_code(self, code: str, *arguments) -> Process:
        """Start Python code as a script."""
        script = self.folder / f'{len(self._started)}.py'
        script.write_text(code)
        return self.start(script, *arguments)

    def close(self) -> None:
        """End the processes that a failed test has left running."""
        for pid in filter(runs, self._started):
            os.killpg(pid, signal.SIGKILL)
        self._temporary.cleanup()
