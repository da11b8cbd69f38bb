"""Lock a work directory or a file, so that only one run writes to it."""

import errno
import logging
import math
import os
import socket
import stat
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mmengine.logging import print_log

from ..errors import WorkDirError
from .files import check_is_dir, convert_write_errors, os_error_reason, write_to_folder

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

#: name of the lock file in the work directory
LOCK = '.lock'
#: seconds to wait for the lock of a process that is being killed
_TIMEOUT = 3.0
#: flags that are not defined on all systems
_NO_LINK = getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_NONBLOCK', 0)
#: locks of `lock_file` for the threads of this process, which a POSIX lock does not exclude
_THREADS: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
_PREFIX = b'process '  # the content of a lock file starts with it
#: errors of `lockf` if another process holds the lock
_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def lock_directory(
    folder: str | Path, option: str = '--work-dir', created: list[Path] | None = None
) -> Iterator[None]:
    """Hold a lock on a directory, so that no other run writes to it.

    The lock is a POSIX lock (`fcntl.lockf`). It is released when the process ends, for whatever
    reason, and worker processes that are forked do not inherit it. If the file system does not
    support such locks, a warning is logged and the directory is used without a lock.

    Args:
        folder: The work directory, which is created if it does not exist.
        option: Command-line option that sets the directory, for error messages.
        created: The directories that were created are appended, for `remove_empty`.

    Raises:
        WorkDirError: If another process holds the lock, with the ID of that process, or if the
            directory cannot be written.
    """
    path = Path(folder, LOCK)
    with convert_write_errors(path.parent, option):
        check_is_dir(path.parent, option)
    hint = f'choose another {option}'
    with _hold(path, option, hint, created=created):
        yield


@contextmanager
def lock_file(path: Path, hint: str) -> Iterator[bool]:
    """Hold a lock on a file; wait while another process or thread holds it.

    The lock is that of `lock_directory`.

    Args:
        path: The lock file, which is created, also its directory, and removed.
        hint: What the user can do if it cannot be written, for the error message.

    Yields:
        Whether the file is locked; False if the file system does not support locks.

    Raises:
        WorkDirError: If the lock file cannot be written.
    """
    with _THREADS[path], _hold(path, '', hint, math.inf) as handle:
        yield handle is not None


@contextmanager
def _hold(
    path: Path, option: str, hint: str, timeout: float = _TIMEOUT, created: list[Path] | None = None
) -> Iterator[int | None]:
    handle = _acquire(path, option, hint, timeout, created)
    try:
        yield handle
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)


def _acquire(
    path: Path, option: str, hint: str, timeout: float, created: list[Path] | None
) -> int | None:
    """Return the locked file; None if the file system does not support locks."""
    deadline = time.monotonic() + timeout
    is_waiting = False
    while True:
        with convert_write_errors(path.parent, option, f'. {hint[0].upper()}{hint[1:]}'):
            handle = write_to_folder(path.parent, partial(_open, path), created)
        try:
            if fcntl is None:
                raise OSError(errno.ENOLCK, 'this system does not support file locks')
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 200, 0).decode(errors='replace')
            os.close(handle)
            if error.errno not in _HELD:
                print_log(
                    f'{path.parent} cannot be locked ({os_error_reason(error)}): do not start '
                    'another run in it',
                    logger='current',
                    level=logging.WARNING,
                )
                return None
            if time.monotonic() > deadline:
                raise WorkDirError(
                    f'another run is writing to {path.parent}{holder and f" ({holder})"}: wait '
                    f'until it has ended, stop it, or {hint}'
                ) from error
            if timeout == math.inf and not is_waiting:
                print_log(f'waiting for {holder or "another process"}: {path}', 'current')
                is_waiting = True
            time.sleep(0.1)
            continue
        if _has_path(handle, path):
            break
        os.close(handle)  # the previous run has just removed this file
    holder = (
        f'process {os.getpid()} on {socket.gethostname()}, since '
        f'{time.strftime("%Y-%m-%d %H:%M:%S")}'
    )
    try:
        with convert_write_errors(path.parent, option, f'. Free some space, or {hint}'):
            os.ftruncate(handle, 0)
            os.pwrite(handle, holder.encode(), 0)
    except WorkDirError:
        path.unlink(missing_ok=True)
        os.close(handle)
        raise
    return handle


def _open(path: Path) -> int:
    """Open or create the lock file. No other file is opened for writing.

    Raises:
        WorkDirError: If the path is a link or a file that is not a lock file.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | _NO_LINK, 0o644)
        status = os.fstat(handle)
        prefix = os.pread(handle, len(_PREFIX), 0) if stat.S_ISREG(status.st_mode) else None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        prefix, handle = None, None
    if prefix is not None and status.st_nlink <= 1 and prefix in (b'', _PREFIX):
        return handle
    if handle is not None:
        os.close(handle)
    raise WorkDirError(
        f'{path} is not the lock file of a run, but a lock file needs this name: move or rename it'
    )


def _has_path(handle: int, path: Path) -> bool:
    """Return whether an open file still has the given path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
