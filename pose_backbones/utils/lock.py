"""One run per folder."""

import errno
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.logging import print_log

from ..errors import WorkDirError
from .files import convert_write_errors, os_error_reason

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

#: file that a run holds a lock of
LOCK = '.lock'
#: seconds until a process that is just being killed has let go
_PATIENCE = 3.0
#: flags that this system may not have
_NO_LINK = getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_NONBLOCK', 0)
_BEGIN = b'process '  # of what a lock file says
_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def lock_directory(folder: str | Path, option: str = '--work-dir') -> Iterator[None]:
    """Let no second run write into a folder.

    The lock is one of POSIX (`fcntl.lockf`): it ends with its process, however
    that ends, and workers that the process has forked do not inherit it.
    File systems without such locks are used without one, with a warning.

    Args:
        folder: The work dir, which is made if it does not exist.
        option: That names it, for messages.

    Raises:
        WorkDirError: If another process holds it, with that process, or if
            the folder cannot be written.
    """
    path = Path(folder, LOCK)
    if path.parent.exists() and not path.parent.is_dir():
        raise WorkDirError(f'{option}: {folder} is a file, not a folder')
    handle = _acquire(path, option)
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)


def _acquire(path: Path, option: str) -> int | None:
    """The open lock file; None where the file system has no locks."""
    until = time.monotonic() + _PATIENCE
    while True:
        with convert_write_errors(path.parent, option, f'. Choose another {option}'):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = _open(path)
        try:
            if fcntl is None:
                raise OSError(errno.ENOLCK, 'no locks on this system')
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 200, 0).decode(errors='replace')
            os.close(handle)
            if error.errno not in _HELD:
                print_log(
                    f'{path.parent} cannot be locked ({os_error_reason(error)}): start no second run there',
                    logger='current',
                    level=logging.WARNING,
                )
                return None
            if time.monotonic() > until:
                raise WorkDirError(
                    f'another run is writing into {path.parent}'
                    f'{holder and f" ({holder})"}: wait until it has ended, '
                    f'stop it, or choose another {option}'
                ) from error
            time.sleep(0.1)
            continue
        if _is(handle, path):
            break
        os.close(handle)  # the run before has just removed it
    holder = (
        f'process {os.getpid()} on {socket.gethostname()}, since '
        f'{time.strftime("%Y-%m-%d %H:%M:%S")}'
    )
    try:
        with convert_write_errors(
            path.parent, option, f'. Make room there, or choose another {option}'
        ):
            os.ftruncate(handle, 0)
            os.pwrite(handle, holder.encode(), 0)
    except WorkDirError:
        path.unlink(missing_ok=True)
        os.close(handle)
        raise
    return handle


def _open(path: Path) -> int:
    """Open or make the lock file; it is written to, so no other file is.

    Raises:
        WorkDirError: If the name is that of a link or of another file.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | _NO_LINK, 0o644)
        found = os.fstat(handle)
        begin = os.pread(handle, len(_BEGIN), 0) if stat.S_ISREG(found.st_mode) else None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        begin, handle = None, None
    if begin is not None and found.st_nlink <= 1 and begin in (b'', _BEGIN):
        return handle
    if handle is not None:
        os.close(handle)
    raise WorkDirError(
        f'{path} is not the lock file of a run, which would have this name: move it away'
    )


def _is(handle: int, path: Path) -> bool:
    """Whether an open file is the one that has the name now."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
