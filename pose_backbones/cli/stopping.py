"""Ctrl-C and SIGTERM: a tool ends soon, with one line and nothing half done.

A signal raises `Stopped` in the main thread, so that `finally` blocks remove
what is half written. Where the main thread does not get to it, as in a wait
for another process, a second thread ends the process after some seconds; a
second signal ends it at once. `tools/_start.py` does what is needed before
this package is imported.
"""

import hashlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch.distributed as dist

#: exit status of a process that a signal has stopped, less its number
STOPPED = 128
#: set for its workers by `launch`: process ID and folder, `ID:FOLDER`
LAUNCHER = 'POSE_BACKBONES_LAUNCHER'
#: in the launcher's folder, followed by the rank: what a worker leaves there
NOTE, LOST = 'note-', 'lost-'
NO_ANSWER = 'another process did not answer in time'
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_UNHEARD = 3.0  # seconds until a main thread that does not listen is ended
_UNWINDING = 10.0  # seconds that it has for its `finally` blocks
#: seconds in which two signals are one; `timeout` sends its own twice
ONE_PRESS = 0.2
_QUIT, _AGAIN = b'\0', b'\xff'  # to the second thread; no signals' numbers
_WAIT = 2.0  # seconds in which the first process says what others say, too


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by a signal that is to end the tool.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Launcher:
    """What has started this process; None of it for a single one."""

    def __init__(self):
        process, _, folder = os.environ.get(LAUNCHER, '').partition(':')
        self.folder: Path | None = None
        self.process = os.getppid()
        if process == str(self.process):
            self.folder = Path(folder)

    def is_gone(self, wait: float = 0.0) -> bool:
        """Whether it was one of ours and has ended.

        Args:
            wait: Seconds to wait for it; it may be about to end.
        """
        if self.folder is None:
            return False
        until = time.monotonic() + wait
        while os.getppid() == self.process and time.monotonic() < until:
            time.sleep(0.02)
        return os.getppid() != self.process

    def remove_folder(self) -> None:
        """Remove what a launcher that was killed has left."""
        with suppress(OSError):
            for file in list(self.folder.iterdir()):
                file.unlink()
            self.folder.rmdir()

    def first_to_say(self, message: str) -> bool:
        """Whether no other process of the run on this machine has said it.

        Without a launcher of ours, the processes have nothing in common; the
        first one speaks, and the others do if they are still there later.
        """
        digest = hashlib.sha256(message.encode(errors='replace')).hexdigest()
        if self.folder is None:
            if rank() > 0:
                time.sleep(_WAIT)
            return True
        try:
            os.close(os.open(self.folder / digest, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        except OSError:
            return rank() == 0
        return True


def rank() -> int:
    """The number of this process among those of the run; 0 for one."""
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return 0


class Stop:
    """Handles the signals of one process while its tool runs.

    Attributes:
        number: Of the signal that stops it; None without one.
    """

    def __init__(self):
        self.launcher = Launcher()
        self.number: int | None = None
        self._note: Callable[[], str] | None = None
        self._process = os.getpid()
        self._status: int | None = None  # of a tool that is leaving
        self._until: float | None = None
        self._first: float | None = None
        self._ignored = False
        self._saying = threading.Lock()

    def __enter__(self) -> 'Stop':
        global _current
        if threading.current_thread() is not threading.main_thread():
            self._before = None
            return self
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        self._before = {
            number: signal.signal(number, self._handle)
            for number in SIGNALS
            if signal.getsignal(number) not in (signal.SIG_IGN, None)
        }
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._swallowed
        self._thread = threading.Thread(target=self._watch, daemon=True, name='signals')
        self._thread.start()
        self._outer, _current = _current, self
        return self

    def __exit__(self, *_) -> None:
        global _current
        if self._before is None:
            return
        _current = self._outer
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)
        sys.unraisablehook = self._unraisable
        os.write(self._write, _QUIT)
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def leave_with(self, status: int) -> None:
        """Have the next signal end the process at once, with this status."""
        self._status = status

    def say(self) -> None:
        """Say once, for all processes of the run, that it was stopped."""
        if not self._saying.acquire(blocking=False):
            return
        note = self.note()
        if self.launcher.folder is not None:
            self.leave_note(NOTE, note)
        # The kernel sends SIGTERM when the first thread of it ends.
        if self.launcher.is_gone(1.0 * (self.number == signal.SIGTERM)):
            if rank() == 0:
                say(
                    f'stopped, because the launcher (process '
                    f'{self.launcher.process}) has ended; {note}'
                )
            self.launcher.remove_folder()
        elif self.launcher.folder is None and rank() == 0:
            say(f'stopped; {note}')

    def note(self) -> str:
        """What is kept of the work, and how to go on."""
        try:
            return self._note() if self._note else 'run the command again'
        except Exception:
            return 'run the command again'

    def leave_note(self, kind: str, text: str) -> None:
        """Leave something for the launcher to say.

        Args:
            kind: `NOTE` or `LOST`.
            text: One line.
        """
        if self.launcher.folder is None:
            return
        with suppress(OSError):
            draft = self.launcher.folder / f'.{kind}{rank()}'
            draft.write_text(text)
            draft.replace(self.launcher.folder / f'{kind}{rank()}')

    def _handle(self, number: int, _frame) -> None:
        if os.getpid() != self._process:
            # A data worker; the main process ends it.
            if number != signal.SIGINT:
                os._exit(STOPPED + number)
            return
        if self._status is not None:
            os._exit(self._status)
        if self._until is not None:
            return
        if self._ignored:
            os.write(self._write, _AGAIN)
            return
        self.number = number
        self._until = time.monotonic() + _UNWINDING
        raise Stopped(number)

    def _swallowed(self, unraisable) -> None:
        """Raise again what was raised where Python ignores exceptions."""
        if self.number is None:
            self._unraisable(unraisable)
        elif isinstance(unraisable.exc_value, Stopped):
            self._ignored = True  # what is raised in here, too
            self._until = None
            os.write(self._write, _AGAIN)
            self._ignored = False

    def _watch(self) -> None:
        """The second thread: what the main thread does not get to."""
        until, echoes = None, 0
        while True:
            wait = None
            if until not in (None, math.inf):
                wait = max(0.0, until - time.monotonic())
            if not select.select([self._read], [], [], wait)[0]:
                # The main thread has more time once it has been told.
                if self._until is None or self._until <= time.monotonic():
                    self._end()
                until = self._until
                continue
            for number in os.read(self._read, 64):
                if number == _QUIT[0]:
                    return
                if number == _AGAIN[0]:
                    time.sleep(ONE_PRESS / 4)
                    echoes += 1
                    signal.pthread_kill(threading.main_thread().ident, self.number)
                    continue
                if signal.getsignal(number) != self._handle:
                    continue
                now = time.monotonic()
                if echoes:
                    echoes -= 1
                elif self._first is None:
                    self._first, self.number = now, number
                    until = now + _UNHEARD
                elif now > self._first + ONE_PRESS:
                    self._end()

    def _end(self) -> None:
        self.say()
        os._exit(STOPPED + self.number)


_current: Stop | None = None


def _in_child() -> None:
    """Set up a forked data worker."""
    if _current is None:
        return
    signal.set_wakeup_fd(-1)  # its signals are none of the main process's
    before = sys.excepthook

    def hook(kind, error, trace) -> None:
        # Of a thread that was sending when the main process ended.
        if not isinstance(error, (ConnectionError, EOFError)):
            before(kind, error, trace)

    sys.excepthook = hook


os.register_at_fork(after_in_child=_in_child)


def when_stopped(note: Callable[[], str]) -> None:
    """Have a tool that is stopped say what is kept, and how to go on.

    Args:
        note: Called then, perhaps in another thread; gives the rest of the
            line behind `stopped; `.
    """
    if _current is not None:
        _current._note = note


@contextmanager
def finishing() -> Iterator[None]:
    """Let a block end in its own time after a first signal.

    For what must be written after a stop. A second signal ends it.
    """
    try:
        if _current is not None and _current.number is not None:
            _current._until = math.inf
        yield
    finally:
        if _current is not None and _current.number is not None:
            _current._until = time.monotonic() + _UNWINDING


def lost_process(error: BaseException) -> str | None:
    """What an error says of another process of the run that has gone.

    Args:
        error: Raised in the tool.

    Returns:
        The reason; None for another error.
    """
    if not isinstance(error, RuntimeError) or not dist.is_initialized():
        return None
    text = str(error)
    if 'Timed out waiting' in text or 'wait timeout' in text.lower():
        return NO_ANSWER
    if 'gloo/transport' in text or isinstance(error, dist.DistNetworkError):
        return 'the connection to another process was closed'
    return None


def say(message: str) -> None:
    """Write a line to the standard error output, if it is still open."""
    with suppress(OSError, ValueError):
        if threading.current_thread() is threading.main_thread():
            print(message, file=sys.stderr, flush=True)
        else:  # the main thread may be busy with that stream
            os.write(2, f'{message}\n'.encode(errors='backslashreplace'))
