"""Handle Ctrl-C and SIGTERM: end a tool promptly, with one message, and remove temporary files.

A signal raises `Stopped` in the main thread, so that `finally` blocks remove temporary files. If
the main thread does not react, for example while it waits for another process, a second thread
ends the process after a few seconds. A second signal ends the process at once. `tools/_start.py`
handles signals until this package is imported.
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

from ..utils.files import remove_draft_folders

#: exit status of a process that a signal has ended, minus the number of the signal
SIGNAL_STATUS_BASE = 128
#: environment variable that `launch` sets for its workers: `PROCESS_ID:DIRECTORY`
LAUNCHER = 'POSE_BACKBONES_LAUNCHER'
#: prefixes of the files that workers write to the launcher's directory; the rank follows
NOTE_PREFIX, LOST_PREFIX = 'note-', 'lost-'
NOT_RESPONDING = 'another process did not respond in time'
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REACTION_TIME = 3.0  # seconds in which the main thread must react to a signal
_UNWINDING_TIME = 10.0  # seconds for the `finally` blocks of the main thread
#: seconds in which two signals count as one, since `timeout` sends its signal twice
DUPLICATE_SIGNAL_TIME = 0.2
_QUIT, _AGAIN = b'\0', b'\xff'  # messages to the second thread, distinct from signal numbers
_FIRST_RANK_TIME = 2.0  # seconds in which rank 0 prints a message that all ranks have


class Stopped(KeyboardInterrupt):
    """Exception that a signal raises in the main thread to end the tool.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Launcher:
    """The launcher that has started this process, if any.

    Attributes:
        folder: Directory for messages to the launcher. None for a process that
            `pose_backbones.cli.launch` has not started.
        process: ID of the parent process.
    """

    def __init__(self):
        process, _, folder = os.environ.get(LAUNCHER, '').partition(':')
        self.folder: Path | None = None
        self.process = os.getppid()
        if process == str(self.process):
            self.folder = Path(folder)

    def is_gone(self, wait: float = 0.0) -> bool:
        """Return whether the process had a launcher that has ended.

        Args:
            wait: Seconds to wait for the launcher to end.
        """
        if self.folder is None:
            return False
        until = time.monotonic() + wait
        while os.getppid() == self.process and time.monotonic() < until:
            time.sleep(0.02)
        return os.getppid() != self.process

    def remove_folder(self) -> None:
        """Remove the directory of a launcher that was killed."""
        with suppress(OSError):
            for file in list(self.folder.iterdir()):
                file.unlink()
            self.folder.rmdir()

    def claim_message(self, message: str) -> bool:
        """Return whether no other process on this machine has claimed a message.

        Without a launcher of this package, the processes share no directory. Rank 0 then prints
        the message, and each other rank prints it if it still runs two seconds later.

        Args:
            message: The message to print.
        """
        digest = hashlib.sha256(message.encode(errors='replace')).hexdigest()
        if self.folder is None:
            if rank() > 0:
                time.sleep(_FIRST_RANK_TIME)
            return True
        try:
            os.close(os.open(self.folder / digest, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        except OSError:
            return rank() == 0
        return True


def rank() -> int:
    """Return the rank of this process; 0 for a single process."""
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return 0


class Stop:
    """Context manager that handles the signals of a process while its tool runs.

    Attributes:
        number: Number of the signal that stops the process; None before a signal arrives.
    """

    def __init__(self):
        self.launcher = Launcher()
        self.number: int | None = None
        self._get_note: Callable[[], str] | None = None
        self._process = os.getpid()
        self._status: int | None = None  # exit status once the tool is ending
        self._until: float | None = None
        self._first_signal_time: float | None = None
        self._ignored = False
        self._printing = threading.Lock()

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
        sys.unraisablehook = self._handle_unraisable
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
        """Let the next signal end the process at once with this exit status."""
        self._status = status

    def print_stopped(self) -> None:
        """Print once, for all processes of the run, that it was stopped."""
        if not self._printing.acquire(blocking=False):
            return
        note = self.note()
        if self.launcher.folder is not None:
            self.leave_note(NOTE_PREFIX, note)
        # The kernel sends SIGTERM when the launcher's first thread ends.
        if self.launcher.is_gone(1.0 * (self.number == signal.SIGTERM)):
            if rank() == 0:
                print_message(
                    f'stopped, because the launcher (process '
                    f'{self.launcher.process}) has ended; {note}'
                )
            self.launcher.remove_folder()
        elif self.launcher.folder is None and rank() == 0:
            print_message(f'stopped; {note}')

    def note(self) -> str:
        """Return what the run has saved and how to continue it."""
        try:
            return self._get_note() if self._get_note else 'run the command again'
        except Exception:
            return 'run the command again'

    def leave_note(self, kind: str, text: str) -> None:
        """Write a message for the launcher to print.

        Args:
            kind: `NOTE_PREFIX` or `LOST_PREFIX`, the start of the file name.
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
            # This is a data worker, which the main process ends.
            if number != signal.SIGINT:
                os._exit(SIGNAL_STATUS_BASE + number)
            return
        if self._status is not None:
            os._exit(self._status)
        if self._until is not None:
            return
        if self._ignored:
            os.write(self._write, _AGAIN)
            return
        self.number = number
        self._until = time.monotonic() + _UNWINDING_TIME
        raise Stopped(number)

    def _handle_unraisable(self, unraisable) -> None:
        """Raise `Stopped` again if it was raised where Python ignores exceptions."""
        if self.number is None:
            self._unraisable(unraisable)
        elif isinstance(unraisable.exc_value, Stopped):
            self._ignored = True  # Python also ignores what is raised in this hook
            self._until = None
            os.write(self._write, _AGAIN)
            self._ignored = False

    def _watch(self) -> None:
        """Second thread: end the process if the main thread does not react."""
        until, echoes = None, 0
        while True:
            wait = None
            if until not in (None, math.inf):
                wait = max(0.0, until - time.monotonic())
            if not select.select([self._read], [], [], wait)[0]:
                # The main thread gets more time once it has started to unwind.
                if self._until is None or self._until <= time.monotonic():
                    self._end()
                until = self._until
                continue
            for number in os.read(self._read, 64):
                if number == _QUIT[0]:
                    return
                if number == _AGAIN[0]:
                    time.sleep(DUPLICATE_SIGNAL_TIME / 4)
                    echoes += 1
                    signal.pthread_kill(threading.main_thread().ident, self.number)
                    continue
                if signal.getsignal(number) != self._handle:
                    continue
                now = time.monotonic()
                if echoes:
                    echoes -= 1
                elif self._first_signal_time is None:
                    self._first_signal_time, self.number = now, number
                    until = now + _REACTION_TIME
                elif now > self._first_signal_time + DUPLICATE_SIGNAL_TIME:
                    self._end()

    def _end(self) -> None:
        remove_draft_folders()
        self.print_stopped()
        os._exit(SIGNAL_STATUS_BASE + self.number)


_current: Stop | None = None


def _in_child() -> None:
    """Reset the signal handling in a forked data worker."""
    if _current is None:
        return
    signal.set_wakeup_fd(-1)  # do not report its signals to the main process
    before = sys.excepthook

    def hook(kind, error, trace) -> None:
        # A thread that was sending when the main process ended raises these.
        if not isinstance(error, (ConnectionError, EOFError)):
            before(kind, error, trace)

    sys.excepthook = hook


os.register_at_fork(after_in_child=_in_child)


def when_stopped(note: Callable[[], str]) -> None:
    """Set the message that a stopped tool prints: what is saved, and how to continue.

    Args:
        note: Function that returns the text after `stopped; `. It is called when the tool is
            stopped, possibly in another thread.
    """
    if _current is not None:
        _current._get_note = note


@contextmanager
def finishing() -> Iterator[None]:
    """Context manager that suspends the time limit of a stopped tool.

    Use it for files that must be written after the first signal. A second signal still ends the
    process at once.
    """
    try:
        if _current is not None and _current.number is not None:
            _current._until = math.inf
        yield
    finally:
        if _current is not None and _current.number is not None:
            _current._until = time.monotonic() + _UNWINDING_TIME


def lost_process(error: BaseException) -> str | None:
    """Return the reason if an error is due to the loss of another process of the run.

    Args:
        error: The exception that the tool has raised.

    Returns:
        The reason; None for any other error.
    """
    dist = sys.modules.get('torch.distributed')  # not imported by `--help`
    if not isinstance(error, RuntimeError) or dist is None or not dist.is_initialized():
        return None
    text = str(error)
    if 'Timed out waiting' in text or 'wait timeout' in text.lower():
        return NOT_RESPONDING
    if 'gloo/transport' in text or isinstance(error, dist.DistNetworkError):
        return 'the connection to another process was closed'
    return None


def print_message(message: str) -> None:
    """Print a line to stderr if it is still open."""
    with suppress(OSError, ValueError):
        if threading.current_thread() is threading.main_thread():
            print(message, file=sys.stderr, flush=True)
        else:  # the main thread may hold the lock of the stream
            os.write(2, f'{message}\n'.encode(errors='backslashreplace'))
