"""Run the scripts in `tools/` without importing PyTorch for each of them.

The server is a process that has already imported the modules of the tools, and with them PyTorch.
It forks a process for each tool, which takes milliseconds instead of the seconds that the imports
take. A launcher (`tools/_launch.py`) forks its workers in the same way: they are child processes of
the launcher, as usual. Requests and answers are lines of JSON. If it is run as a module, this file
is the server.
"""

import atexit
import functools
import gc
import importlib
import json
import logging
import math
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

TOOLS = tuple(
    f'pose_backbones.cli.{name}' for name in ('infer', 'launch', 'report', 'test', 'train')
)


def restore_signals() -> None:
    """Handle Ctrl-C and SIGHUP in a new process.

    If the suite runs in the background or with nohup, it ignores them, and so do its processes.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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


def shorten_logs() -> None:
    """Skip the slow parts of MMEngine's logging.

    Configs are not formatted with yapf, neither in the log nor in saved files, and environment
    information (such as compiler versions) is not collected. Tools that run in a new interpreter
    are not affected.
    """
    from mmengine.config import config
    from mmengine.runner import runner

    config.FormatCode = lambda text, **options: (text, True)
    runner.collect_env = dict


def _prepare_tools() -> None:
    """Do once what each tool would do after its imports."""
    import mmpose.registry
    import mmpose.utils

    # MMEngine's registries import these modules when a name is looked up for the first time.
    mmpose.utils.register_all_modules(init_default_scope=False)
    mmpose.registry.MODELS.import_from_location()
    shorten_logs()


def _serve() -> None:
    """Read requests, and fork a process for each tool."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    if tuple(sys.argv[1:]) == TOOLS:
        _prepare_tools()
    gc.collect()
    gc.freeze()  # so that garbage collection in the children does not touch (and copy) shared pages
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
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

    SubprocessHandler._popen = lambda _, args, env: _Worker(args, env)
    os.setsid()
    os.chdir(cwd)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target_fd, fd in ((0, null), (1, output), (2, output)):
        os.dup2(fd, target_fd)
    _run_script(command, env)


def _run_script(command: list[str], env: dict[str, str]) -> None:
    """Run a script in this process as a new interpreter would; does not return.

    Args:
        command: Path of the script, and its arguments.
        env: Environment variables.
    """
    import numpy as np

    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # reset, so that the environment of the tool determines it
    random.seed()  # Each tool would inherit the same state from the server.
    np.random.seed()
    restore_signals()
    sys.argv = command
    sys.path[0] = os.path.dirname(command[0])
    status = 0
    try:
        runpy.run_path(command[0], run_name='__main__')
    except SystemExit as exit_:
        status = exit_.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Worker:
    """Worker process of a launcher: a minimal replacement of `subprocess.Popen` for torchrun.

    Args:
        args: Command line: the interpreter, `-u`, and the script with its arguments.
        env: Environment variables of the worker.

    Attributes:
        pid: Process ID.
        returncode: Exit status, or minus the number of the signal; None while the worker runs.
    """

    def __init__(self, args: tuple[str, ...], env: dict[str, str]):
        interpreter, option, *command = args
        assert (interpreter, option) == (sys.executable, '-u')
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            self._forget_launcher()
            _run_script(command, env)
        # Wait for setsid(), because killpg() fails before it.
        while os.getsid(self.pid) != self.pid:
            time.sleep(0.001)

    def _forget_launcher(self) -> None:
        """Undo in a worker what its launcher has set up in the process."""
        os.closerange(3, os.sysconf('SC_OPEN_MAX'))
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        logging.disable(logging.NOTSET)
        del sys.modules['_start']  # so that the worker's script imports `tools/_start.py` again
        weakref.finalize._registry.clear()  # the launcher removes its directory itself
        sys.stdout.reconfigure(write_through=True)

    def poll(self) -> int | None:
        """Return `returncode`."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = math.inf) -> int:
        """Wait for the end, and return `returncode`.

        Args:
            timeout: Maximum time in seconds.

        Raises:
            subprocess.TimeoutExpired: If the worker has not ended in this time.
        """
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(sys.argv, timeout)
            time.sleep(0.01)
        return self.returncode


if __name__ == '__main__':
    _serve()
