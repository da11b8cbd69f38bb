"""Run the scripts in `tools/` without importing PyTorch for each of them.

The server is a process that has imported all modules. It forks a process for each tool, which takes
milliseconds instead of the seconds that the imports take. Requests and answers are lines of JSON.
If it is run as a module, this file is the server.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

TOOLS = tuple(f'pose_backbones.cli.{name}' for name in ('infer', 'report', 'test', 'train'))


class ForkServer:
    """Client of a fork server, which it starts.

    Args:
        env: Environment variables of the server; each tool has its own.
        modules: Modules that the server imports; by default, those of the tools.
        cwd: Working directory of the server, from which it imports the tests.
    """

    def __init__(
        self, env: dict[str, str], modules: Sequence[str] = TOOLS, cwd: Path | None = None
    ):
        self._process = subprocess.Popen(
            [sys.executable, '-m', __name__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            cwd=cwd,
        )

    def _ask(self, **request) -> int | None:
        self._process.stdin.write(json.dumps(request) + '\n')
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, command: list[str], log: Path, env: dict[str, str]) -> int:
        """Start a script in its own session, and return its process ID.

        Args:
            command: Path of the script, and its arguments.
            log: File for its output.
            env: Environment variables of the script.
        """
        return self._ask(command=command, log=str(log), env=env, cwd=os.getcwd())

    def wait(self, pid: int, timeout: float = 120) -> int:
        """Wait for a process to end, and return its exit status.

        Args:
            pid: Process ID.
            timeout: Time in seconds after which the process is killed.

        Raises:
            TimeoutError: If the process was killed.
        """
        deadline = time.monotonic() + timeout
        while (status := self._ask(poll=pid)) is None:
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                raise TimeoutError(f'process {pid} has not ended in {timeout} s')
            time.sleep(0.01)
        return status

    def run(
        self, command: list[str], env: dict[str, str], timeout: float = 240
    ) -> subprocess.CompletedProcess:
        """Run a script until it ends, and return the completed process with merged output.

        Args:
            command, env: See `start`.
            timeout: See `wait`.
        """
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, 'log.txt')
            status = self.wait(self.start(command, log, env), timeout)
            return subprocess.CompletedProcess(command, status, log.read_text(errors='replace'))

    def close(self) -> None:
        """Stop the server."""
        self._process.stdin.close()
        self._process.wait()


@functools.cache
def shared_server() -> ForkServer:
    """Return the fork server of this test process; the first call starts it."""
    from tests.helpers.tools import tool_env

    server = ForkServer(tool_env())
    atexit.register(server.close)
    return server


def _serve() -> None:
    """Read requests, and fork a process for each tool."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # keeps the garbage collector of the forked processes away from the shared objects
    for line in sys.stdin:
        request = json.loads(line)
        if 'poll' in request:
            pid, status = os.waitpid(request['poll'], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _run_tool(**request)
        print(json.dumps(answer), flush=True)


def _run_tool(command: list[str], log: str, env: dict[str, str], cwd: str) -> None:
    """Run a tool in the forked process; does not return."""
    import numpy as np

    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # reset, so that the environment of the tool determines it
    random.seed()  # Each tool would inherit the same state from the server.
    np.random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, end in ((0, null), (1, output), (2, output)):
        os.dup2(end, number)
    sys.argv = command
    sys.path[0] = os.path.dirname(command[0])
    status = 0
    try:
        runpy.run_path(command[0], run_name='__main__')
    except SystemExit as left:
        status = left.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == '__main__':
    _serve()
