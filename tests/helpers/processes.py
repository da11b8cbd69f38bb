"""Tools as processes that get signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.helpers.tools import ROOT, tool_env

#: Imports everything and forks a process for each request: a start takes a
#: tenth of a second and not ten. Requests and answers are lines of JSON.
_SERVER = """
import json, os, runpy, signal, sys
import torch
import pose_backbones
import pose_backbones.cli.infer, pose_backbones.cli.test
import pose_backbones.cli.train, pose_backbones.cli.report
for line in sys.stdin:
    request = json.loads(line)
    if 'wait' in request:
        answer = os.waitstatus_to_exitcode(os.waitpid(request['wait'], 0)[1])
    else:
        answer = os.fork()
        if answer == 0:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            log = os.open(request['log'], os.O_WRONLY | os.O_CREAT
                          | os.O_TRUNC, 0o600)
            null = os.open(os.devnull, os.O_RDONLY)
            for number, end in ((0, null), (1, log), (2, log)):
                os.dup2(end, number)
            sys.argv = request['command']
            sys.path[0] = os.path.dirname(sys.argv[0])
            status = 0
            try:
                runpy.run_path(sys.argv[0], run_name='__main__')
            except SystemExit as left:
                status = left.code or 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
                status = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(json.dumps(answer), flush=True)
"""


class Process:
    """A tool that runs, in a session of its own.

    Args:
        pid: Of the process.
        log: What it prints.
        wait: Gives the exit status when it has ended.
    """

    def __init__(self, pid: int, log: Path, wait: Callable[[], int]):
        self.pid, self.log, self._wait = pid, log, wait

    @property
    def output(self) -> str:
        return self.log.read_text(errors='replace')

    def runs(self) -> bool:
        return runs(self.pid)

    def wait_for(self, *texts: str) -> None:
        """Wait until it has printed one of these."""
        self.wait_until(lambda: any(text in self.output for text in texts))

    def wait_until(self, true: Callable[[], bool], timeout: float = 120) -> None:
        until = time.monotonic() + timeout
        while not true():
            assert self.runs(), self.output
            assert time.monotonic() < until, self.output
            time.sleep(0.01)

    def send(self, number: int, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.pid, number)

    def wait(self) -> int:
        return self._wait()

    def said(self) -> list[str]:
        """The lines that are for its user."""
        return [
            line
            for line in self.output.splitlines()
            if line.startswith(('stopped', 'error', 'warning:'))
        ]


def runs(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        text = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False
    return text.rpartition(')')[2].split()[0] != 'Z'


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for task in Path(f'/proc/{pid}/task').iterdir():
        found += map(int, (task / 'children').read_text().split())
    return found


def start(command: list, log: Path, **env: str) -> Process:
    """Start a command as a user would."""
    with log.open('w') as out:
        process = subprocess.Popen(
            [*map(str, command)],
            env=tool_env(**env),
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    return Process(process.pid, log, lambda: process.wait(timeout=120))


class Server:
    """Starts tools fast, after it has loaded everything once.

    Args:
        folder: For logs, and for temporary files of the tools.
    """

    def __init__(self, folder: Path):
        self.folder, self.temporary = folder, folder / 'tmp'
        self.temporary.mkdir()
        self._started: list[int] = []
        self._process = subprocess.Popen(
            [sys.executable, '-c', _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=tool_env(TMPDIR=str(self.temporary)),
        )

    def _ask(self, **request) -> int:
        self._process.stdin.write(json.dumps(request) + '\n')
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, name: str, *arguments) -> Process:
        """Start a script of tools/."""
        log = self.folder / f'{len(self._started)}.log'
        log.touch()
        pid = self._ask(log=str(log), command=[str(ROOT / 'tools' / name), *map(str, arguments)])
        self._started.append(pid)
        return Process(pid, log, lambda: self._ask(wait=pid))

    def close(self) -> None:
        for pid in filter(runs, self._started):  # after a failure
            os.killpg(pid, signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait()
