"""Run the main function of a command-line tool: error messages and exit statuses."""

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

import torch.distributed as dist
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ..errors import PoseBackbonesError
from ..utils.files import FULL
from .stopping import LOST, NO_ANSWER, NOTE, STOPPED, Stop, Stopped, lost_process, say

#: exit status for an error of the user's making, as argparse has it
USER_ERROR = 2
#: exit status if another process of the run is gone, or does not answer
LOST_PROCESS = 3
_GATHER = 2.0  # seconds


def run(main: Callable[[list[str] | None], object], stoppable: bool = True) -> None:
    """Run a tool: a user's error becomes one message and exit status 2.

    So does what the system refuses, as on a full disk. Ctrl-C and SIGTERM
    end the tool with one line as well, with status 130 and 143. A number
    that `main` returns is the exit status. Set POSE_BACKBONES_DEBUG=1 to see
    the traceback as well.

    Args:
        main: Takes the arguments; None stands for those of the command line.
        stoppable: Whether signals are handled; without it, `main` does that.
    """
    logging.raiseExceptions = False  # of a log file on a full disk
    _print_any_name()
    stop = Stop()
    with stop if stoppable else nullcontext():
        try:
            try:
                status = main(None)
                status = status if isinstance(status, int) else 0
                stop.leave_with(status)
                if status > STOPPED:
                    stop.leave_note(NOTE, '')  # `main` has said it
                _end_data_workers()
            except SystemExit:
                raise
            except BaseException as error:
                _end(stop, error)
        except Stopped as error:  # which came while an error was handled
            _end(stop, error)
        _leave_processes(status)
    if status:
        sys.exit(status)


def _print_any_name() -> None:
    """Let names of files be printed that the output's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, 'errors', None) == 'strict' and hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


def _end(stop: Stop, error: BaseException) -> None:
    """End the process after an error, or raise it if it is none of a user's.

    Args:
        stop: Which signal it is due to, if any.
        error: That `main` has raised.
    """
    if stop.number is not None:
        if os.environ.get('POSE_BACKBONES_DEBUG'):
            traceback.print_exception(error)
        stop.say()
        with suppress(BaseException):
            _end_data_workers()
            atexit._run_exitfuncs()
        _exit(STOPPED + stop.number)
    reason = lost_process(error)
    if reason is not None and stop.launcher.folder is not None:
        # The launcher knows which one it was.
        stop.leave_note(LOST, reason)
        stop.leave_note(NOTE, stop.note())
        stop.leave_with(LOST_PROCESS)
        if reason == NO_ANSWER:  # the others will miss it soon
            time.sleep(_GATHER)
        _exit(LOST_PROCESS)
    status = USER_ERROR
    if isinstance(error, PoseBackbonesError):
        message = _message(error)
    elif isinstance(error, OSError):
        message = _system_message(error)
    elif reason is not None:
        message, status = f'{reason}; {stop.note()}', LOST_PROCESS
    else:
        raise  # with its traceback
    if os.environ.get('POSE_BACKBONES_DEBUG'):
        traceback.print_exception(error)
    stop.leave_with(status)
    if stop.launcher.first_to_say(message):
        say(f'error: {message}')
    # Without waiting for data workers and process groups.
    _exit(status)


def _end_data_workers() -> None:
    """Let data workers end, which have files in the temporary folder."""
    if not multiprocessing.active_children():
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises
    for one in gc.get_objects():
        if issubclass(type(one), _MultiProcessingDataLoaderIter):
            one._shutdown_workers()


def _exit(status: int) -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)


def _leave_processes(status: int) -> None:
    """End this process's part in a distributed run, with an exit status.

    Threads of gloo that are left to the end of the interpreter abort it now
    and then (https://github.com/pytorch/pytorch/pull/179291); so where they
    run, what is registered for the exit is done and the rest is skipped.
    """
    if not dist.is_initialized():
        return
    if dist.get_backend() != 'gloo':
        dist.destroy_process_group()
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _message(error: Exception) -> str:
    """The message itself; a data worker's arrives behind its traceback."""
    text = str(error).strip()
    if 'in DataLoader worker process' in text:
        text = text.split('\n')[-1].split('Error: ', 1)[-1]
    return text


def _system_message(error: OSError) -> str:
    """What the system has refused, and for which file."""
    if error.errno is None or error.strerror is None:
        text = _message(error) or type(error).__name__
        return re.sub(r'^\[Errno \d+\] ', '', text)
    names = [
        os.fsdecode(name)
        for name in (error.filename, error.filename2)
        if isinstance(name, (str, bytes))
    ]
    text = ': '.join([' -> '.join(names), error.strerror] if names else [error.strerror])
    if error.errno in FULL:
        text += ': make room there, or choose another folder'
    return text
