"""A folder that one process at a time writes to."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import WorkDirError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


@contextmanager
def locked(folder: Path, option: str) -> Iterator[None]:
    """Keep other processes from writing to a folder.

    The lock is one of the folder itself (`flock`): there is no file of it,
    and it ends with the process, however that ends. Where the file system
    has no such locks, nothing is locked.

    Args:
        folder: Which exists.
        option: That named it, for the message.

    Raises:
        WorkDirError: If another process has it.
    """
    if fcntl is None:
        yield
        return
    number = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
                raise WorkDirError(
                    f'{option} {folder}: another process is writing to it: '
                    'wait until it has ended, or choose another folder'
                ) from error
        yield
    finally:
        os.close(number)
