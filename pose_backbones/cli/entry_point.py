"""Run the main function of a command-line tool with error messages and exit statuses."""

import atexit
import gc
import logging
import multiprocessing
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress

from ..errors import PoseBackbonesError
from ..utils.files import DISK_FULL_ERRNOS
from .cores import start_measurement
from .stopping import (
    LOST_PREFIX,
    NOT_RESPONDING,
    NOTE_PREFIX,
    SIGNAL_STATUS_BASE,
    Stop,
    Stopped,
    lost_process,
    print_message,
)

#: exit status after a user error, the same as that of argparse
USER_ERROR = 2
#: packages that most commands need, but `import pose_backbones` does not
_OPENMMLAB = ('mmpose', 'mmdet')
#: exit status if another process of the run has ended or does not respond
LOST_PROCESS = 3
_GATHER_TIME = 2.0  # seconds in which the other processes notice the same error


def run(main: Callable[[list[str] | None], object], stoppable: bool = True) -> None:
    """Run a tool and turn its errors into one-line messages and exit statuses.

    A `PoseBackbonesError` or an `OSError`, such as on a full disk, prints one message and exits
    with status 2. Ctrl-C and SIGTERM also print one line, and exit with status 130 and 143. If
    `main` returns an integer, it becomes the exit status. Set `POSE_BACKBONES_DEBUG=1` to print
    the traceback as well.

    Args:
        main: The main function. It is called with None, for the arguments of the command line.
        stoppable: Whether to handle signals. If False, `main` handles them.
    """
    logging.raiseExceptions = False  # a log file on a full disk prints no tracebacks
    _escape_unencodable_output()
    start_measurement()
    stop = Stop()
    with stop if stoppable else nullcontext():
        try:
            try:
                status = main(None)
                status = status if isinstance(status, int) else 0
                stop.leave_with(status)
                if status > SIGNAL_STATUS_BASE:
                    stop.leave_note(NOTE_PREFIX, '')  # `main` has printed a message
                _end_data_workers()
            except SystemExit:
                raise
            except BaseException as error:
                _end(stop, error)
        except Stopped as error:  # raised while another error was handled
            _end(stop, error)
        _leave_processes(status)
    if status:
        sys.exit(status)


def _escape_unencodable_output() -> None:
    """Escape characters that the encoding of the output does not have, as in file names."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, 'errors', None) == 'strict' and hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


def _end(stop: Stop, error: BaseException) -> None:
    """Exit after an error of the user or the system, or raise any other error.

    Args:
        stop: The signal handling, with the number of the signal that caused the error, if any.
        error: The exception that `main` has raised.
    """
    if stop.number is not None:
        if os.environ.get('POSE_BACKBONES_DEBUG'):
            traceback.print_exception(error)
        stop.print_stopped()
        with suppress(BaseException):
            _end_data_workers()
            atexit._run_exitfuncs()
        _exit(SIGNAL_STATUS_BASE + stop.number)
    reason = lost_process(error)
    if reason is not None and stop.launcher.folder is not None:
        # The launcher knows which process has ended.
        stop.leave_note(LOST_PREFIX, reason)
        stop.leave_note(NOTE_PREFIX, stop.note())
        stop.leave_with(LOST_PROCESS)
        if reason == NOT_RESPONDING:  # the other processes time out soon, too
            time.sleep(_GATHER_TIME)
        _exit(LOST_PROCESS)
    status = USER_ERROR
    if isinstance(error, PoseBackbonesError):
        message = _message(error)
    elif isinstance(error, ModuleNotFoundError) and error.name in _OPENMMLAB:
        message = f'{error.name} is not installed; pose-backbones doctor prints how to install it'
    elif isinstance(error, ModuleNotFoundError) or _is_missing_operator(error):
        message = str(error)
    elif isinstance(error, OSError):
        message = _system_message(error)
    elif reason is not None:
        message, status = f'{reason}; {stop.note()}', LOST_PROCESS
    else:
        raise
    if os.environ.get('POSE_BACKBONES_DEBUG'):
        traceback.print_exception(error)
    stop.leave_with(status)
    if stop.launcher.claim_message(message):
        print_message(f'error: {message}')
    # Do not wait for data workers and process groups.
    _exit(status)


def _is_missing_operator(error: BaseException) -> bool:
    """Return whether a model has called an operator of mmcv that is not available."""
    replacement = sys.modules.get('mmcv._ext')
    missing = getattr(replacement, 'MissingOperatorError', None)
    return missing is not None and isinstance(error, missing)


def _end_data_workers() -> None:
    """Shut down the data workers, so that they remove their temporary files."""
    loading = sys.modules.get('torch.utils.data.dataloader')  # not imported by `--help`
    if loading is None or not multiprocessing.active_children():
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler raises
    for candidate in gc.get_objects():
        if issubclass(type(candidate), loading._MultiProcessingDataLoaderIter):
            candidate._shutdown_workers()


def _exit(status: int) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)


def _leave_processes(status: int) -> None:
    """Leave the process group of a distributed run.

    Gloo threads that still run when the interpreter shuts down sometimes abort the process
    (https://github.com/pytorch/pytorch/pull/179291). With the gloo backend, this function
    therefore runs the exit handlers and ends the process itself.

    Args:
        status: The exit status.
    """
    dist = sys.modules.get('torch.distributed')  # not imported by `--help`
    if dist is None or not dist.is_initialized():
        return
    if dist.get_backend() != 'gloo':
        dist.destroy_process_group()
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _message(error: Exception) -> str:
    """Return the message of an error, without the traceback that a data worker adds."""
    text = str(error).strip()
    if 'in DataLoader worker process' in text:
        text = text.split('\n')[-1].split('Error: ', 1)[-1]
    return text


def _system_message(error: OSError) -> str:
    """Return the path and the reason of a system error."""
    if error.errno is None or error.strerror is None:
        text = _message(error) or type(error).__name__
        return re.sub(r'^\[Errno \d+\] ', '', text)
    names = [
        os.fsdecode(name)
        for name in (error.filename, error.filename2)
        if isinstance(name, (str, bytes))
    ]
    text = ': '.join([' -> '.join(names), error.strerror] if names else [error.strerror])
    if error.errno in DISK_FULL_ERRNOS:
        text += ': free some space there, or choose another directory'
    return text
