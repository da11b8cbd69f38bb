"""Check input and output files, and write files atomically.

- `check_regular_file` and `open_regular` check that a path can be read, without blocking on a named
  pipe or a device.
- `check_writable_file`, `check_writable_dir` and `check_output_file` check that an output can be
  written and does not overwrite an input.
- `atomic_write` replaces a file only when the new content is complete.
"""

import errno
import os
import random
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..errors import DatasetError, PoseBackbonesError, WorkDirError

_Result = TypeVar('_Result')
#: maximum size in bytes of a file that is read as text
MAX_TEXT = 2 << 30
#: first bytes of files that are not text in UTF-8 → their kind
_SIGNATURES = {
    b'\x1f\x8b': 'compressed with gzip',
    b'\xff\xfe': 'text in UTF-16',
    b'\xfe\xff': 'text in UTF-16',
    b'\x80': 'probably a pickle file',
    b'PK\x03\x04': 'a zip archive',
}
#: base name of the temporary file (`write-test.<pid>.part`) with which `check_writable_dir` tests a
#: directory
PROBE_FILE = 'write-test'
_INVALID_NAME = 'its name is not a valid file name'
#: how often `write_to_folder` creates a directory that other processes remove
_MAX_ATTEMPTS = 20
_MAX_NAME = 255  # bytes of a file name
_MAX_STEM = 240  # bytes of a file name to which the suffix of a temporary file can be added
#: names of the temporary files of `atomic_write` and `VideoWriter`
_DRAFT = re.compile(
    r'(?P<file>.+)\.\d+\.part|'
    r'(?P<video>.+)\.part\d+(\.whole)?\.mp4',
    re.DOTALL,
)
#: suffix of the directories of `draft_folder`
DRAFT = '.part'
#: directories that `draft_folder` has created and not yet removed
_draft_folders: list[Path] = []
#: error numbers of a full disk
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SPECIAL_FILE_KINDS = (
    (stat.S_ISDIR, 'a directory'),
    (stat.S_ISFIFO, 'a named pipe (FIFO)'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a character device'),
    (stat.S_ISBLK, 'a block device'),
)
#: error numbers of file systems that do not support fsync of a directory
_FSYNC_UNSUPPORTED_ERRNOS = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)


def is_url(name) -> bool:
    """Return whether a name is a URL rather than a path."""
    return isinstance(name, str) and '://' in name


def os_error_reason(error: OSError) -> str:
    """Return the message of an operating system error, without its number and path."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return 'there is no such file or directory'
    return error.strerror or str(error) or type(error).__name__


def file_problem(path: str | PathLike) -> str | None:
    """Return why a path cannot be read as a regular file.

    The path is not opened, since opening a named pipe or a device may block forever.

    Args:
        path: Path of a local file; symbolic links are followed.

    Returns:
        The reason, or None for a regular file that this process may read.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.islink(path):
            return f'it is a symbolic link to {os.readlink(path)}, which does not exist'
        return 'there is no such file'
    except OSError as error:
        return os_error_reason(error)
    except ValueError:  # a NUL byte
        return _INVALID_NAME
    kind = _special_file_kind(mode)
    if kind is not None:
        return f'it is {kind}'
    return None if os.access(path, os.R_OK) else os.strerror(errno.EACCES)


def _special_file_kind(mode: int) -> str | None:
    """Describe a file that is not a regular file; return None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((name for test, name in _SPECIAL_FILE_KINDS if test(mode)), 'not a regular file')


def check_regular_file(
    path: str | PathLike, what: str = 'file', error: type[PoseBackbonesError] = DatasetError
) -> None:
    """Check that a path is a regular, readable file, without opening it.

    Args:
        path: Path of a local file.
        what: What the file contains, for the error message, such as `'checkpoint'`.
        error: Class of the error to raise.

    Raises:
        PoseBackbonesError: Of class `error`, with the path and the reason, such as that it is a
            named pipe.
    """
    problem = file_problem(path)
    if problem is not None:
        raise error(f'cannot read the {what} {fspath(path)}: {problem}')


def open_regular(
    path: str | PathLike, what: str = 'file', error: type[PoseBackbonesError] = DatasetError
) -> BinaryIO:
    """Open a regular file for reading, without ever waiting for another process.

    Args:
        path, what, error: See `check_regular_file`.

    Returns:
        The open file.

    Raises:
        PoseBackbonesError: See `check_regular_file`.
    """
    check_regular_file(path, what, error)
    problem: str | None = None
    try:
        # It may have become a named pipe since the check.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as os_error:
        raise error(
            f'cannot read the {what} {fspath(path)}: {os_error_reason(os_error)}'
        ) from os_error
    problem = _special_file_kind(os.fstat(fd).st_mode)
    if problem is not None:
        os.close(fd)
        raise error(f'cannot read the {what} {fspath(path)}: it is {problem}')
    return open(fd, 'rb')


def read_text(
    path: str | PathLike,
    what: str = 'file',
    error: type[PoseBackbonesError] = DatasetError,
    errors: str = 'strict',
) -> str:
    """Read a regular file as UTF-8 text.

    Args:
        path, what, error: See `check_regular_file`.
        errors: How to handle invalid UTF-8, see `bytes.decode`.

    Returns:
        The text, without a byte order mark.

    Raises:
        PoseBackbonesError: See `check_regular_file`; also if the file is not valid UTF-8 or is
            larger than `MAX_TEXT`.
    """
    try:
        with open_regular(path, what, error) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_TEXT:
                raise error(
                    f'cannot read the {what} {fspath(path)}: it has {size:,} bytes: expected at '
                    f'most {MAX_TEXT:,}'
                )
            return file.read().decode('utf-8-sig', errors)
    except UnicodeDecodeError as read_error:
        starts = (start for start in _SIGNATURES if read_error.object.startswith(start))
        start = next(starts, None)
        reason = str(read_error) if start is None else f'it is {_SIGNATURES[start]}'
        raise error(
            f'cannot read the {what} {fspath(path)}: {reason}: expected text in UTF-8'
        ) from read_error
    except OSError as read_error:
        raise error(
            f'cannot read the {what} {fspath(path)}: {os_error_reason(read_error)}'
        ) from read_error


def check_not_input(
    outputs: str | PathLike | Iterable[str | PathLike],
    option: str,
    inputs: Iterable[str | PathLike | None],
) -> None:
    """Check that outputs do not overwrite files that are read.

    The files themselves are compared, not their paths, so that links, `..` and letter case do not
    matter.

    Args:
        outputs: Path of an output, or several paths.
        option: Command-line option that sets the outputs, for the error message.
        inputs: Paths that are read. None, URLs and objects that are not paths are ignored.

    Raises:
        WorkDirError: With the input that would be overwritten.
    """
    if isinstance(outputs, (str, PathLike)):
        outputs = [outputs]
    input_ids = {
        _identity(source): source
        for source in inputs
        if isinstance(source, (str, PathLike)) and not is_url(source)
    }
    input_ids.pop(None, None)
    for path in outputs if input_ids else ():
        source = input_ids.get(_identity(path))
        if source is not None:
            raise WorkDirError(
                f'{option}: {fspath(path)} is an input of this command, {fspath(source)}, which '
                'would be overwritten: choose another name'
            )


def _identity(path: str | PathLike) -> tuple[int, int] | None:
    """Return the device and inode number of a file; None if it does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def check_output_file(
    path: str | PathLike,
    option: str,
    inputs: Iterable[str | PathLike | None] = (),
    overwrite: bool = False,
) -> None:
    """Check that an output can be written and would not overwrite another file.

    Call it before any other work.

    Args:
        path, option, inputs: See `check_not_input`.
        overwrite: Whether to allow an existing file to be replaced; an input is never replaced.

    Raises:
        WorkDirError: With the path and the reason.
    """
    check_not_input(path, option, inputs)
    if os.path.lexists(path) and not overwrite and not os.path.isdir(path):
        raise WorkDirError(
            f'{option} {fspath(path)} already exists: choose another name with {option}, or '
            'replace it with --overwrite'
        )
    check_writable_file(Path(path), option)


def check_writable_file(path: Path, option: str) -> None:
    """Check that a file can be written, before any other work.

    The check creates a temporary file in the same directory and removes it. If the directory does
    not exist, it is created and removed as well. An existing file at `path` is not modified.

    Args:
        path: Path of the file.
        option: Command-line option that sets the path, for the error message, such as `'--out'`.

    Raises:
        WorkDirError: With the path and the reason.
    """
    with convert_write_errors(path, option):
        _check_name(path)
        if os.path.lexists(path):
            kind = _special_file_kind(os.stat(path).st_mode)
            if kind is not None:
                raise WorkDirError(f'{option} {path} is {kind}: expected a file name')
        elif len(os.fsencode(path.name)) > _MAX_NAME:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        _try_to_write(path)


def check_writable_dir(path: Path, option: str) -> None:
    """Check that files can be written to a directory, before any other work.

    The check creates a temporary file in the directory and removes it. If the directory does not
    exist, it is created and removed as well.

    Args:
        path, option: See `check_writable_file`.

    Raises:
        WorkDirError: With the path and the reason.
    """
    with convert_write_errors(path, option):
        _check_name(path)
        check_is_dir(path, option)
        _try_to_write(path / PROBE_FILE)


def check_is_dir(path: Path, option: str) -> None:
    """Check that a path is a directory or does not exist.

    Args:
        path, option: See `check_writable_file`.

    Raises:
        WorkDirError: If it is a file.
        OSError: If it cannot be read, such as a link to itself.
    """
    # a file in place of a parent: `make_folder` names it
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise WorkDirError(f'{option} {path} is a file: expected a directory')


def _check_name(path: Path) -> None:
    """Raise an `OSError` for a name that Python cannot pass to the operating system."""
    try:
        valid = '\0' not in os.fsdecode(os.fsencode(path))
    except UnicodeEncodeError:  # a lone surrogate
        valid = False
    if not valid:
        raise OSError(errno.EINVAL, _INVALID_NAME)


def _try_to_write(path: Path) -> None:
    """Write and remove a temporary file in the directory of `path`."""
    draft = _draft(path)
    created: list[Path] = []
    try:
        # On some file systems, only writing data fails if the disk is full.
        write_to_folder(path.parent, lambda: draft.write_bytes(bytes(64)), created)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        remove_empty(created)


def write_to_folder(
    path: Path, write: Callable[[], _Result], created: list[Path] | None = None
) -> _Result:
    """Create a directory and its parents, and write the first file or directory to it.

    Another process that created the directory may remove it while it is empty, as
    `check_writable_dir` does. It is then created again.

    Args:
        path: The directory, which may exist.
        write: Function that writes to the directory.
        created: The directories that were created are appended, for `remove_empty`.

    Returns:
        What the function returns.

    Raises:
        OSError: If the directory cannot be created or written.
    """
    attempts = 0
    while True:
        try:
            folders = make_folder(path)
            if created is not None:
                created.extend(folders)
            return write()
        except FileNotFoundError:
            attempts += 1
            if attempts == _MAX_ATTEMPTS:
                raise
            time.sleep(random.uniform(0, 0.01))  # the other process may try again, too


def make_folder(path: Path) -> list[Path]:
    """Create a directory and its parents.

    If it cannot be created, the error message contains the path that is in the way.

    Args:
        path: The directory, which may exist.

    Returns:
        The directories that were created, for `remove_empty`.

    Raises:
        OSError: If it cannot be created.
    """
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
        if file.is_dir():  # another process has removed the directory meanwhile
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
        raise OSError(errno.ENOTDIR, f'{file} is not a directory') from error
    except FileNotFoundError as error:  # in /proc and similar file systems
        raise OSError(errno.ENOENT, f'cannot create a directory in {path.parent}') from error
    return created


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the given directories that are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def convert_write_errors(path: str | PathLike, option: str, hint: str = '') -> Iterator[None]:
    """Convert operating system errors in a `with` block to `WorkDirError`.

    Args:
        path: The path that is written.
        option: Command-line option that sets the path, or an empty string.
        hint: Text for the end of the error message: what the user can do.

    Raises:
        WorkDirError: For an `OSError` in the block, such as a full disk.
    """
    try:
        yield
    except PoseBackbonesError:
        raise
    except OSError as error:
        name = f'{option} {fspath(path)}'.lstrip()
        raise WorkDirError(f'{name} cannot be written: {os_error_reason(error)}{hint}') from error


@contextmanager
def atomic_write(path: Path, durable: bool = True, draft: Path | None = None) -> Iterator[Path]:
    """Provide a temporary file that replaces `path` when the `with` block ends.

    If the block raises an exception, the temporary file is removed and `path` is not modified.

    Args:
        path: The file to write.
        durable: Whether to flush the file to the disk before it is renamed, so that after a power
            failure either the old or the new file exists.
        draft: Path of the temporary file, in the same directory; only for files that a single
            process writes.

    Yields:
        The path to write to, by default a file in the same directory whose name ends with `.part`.
    """
    draft = draft or _draft(path)
    try:
        yield draft
        if durable:
            fsync(draft)
        draft.replace(path)
        if durable:
            fsync(path.parent)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    """Return the path of the temporary file that this process writes instead of `path`."""
    ending = f'.{os.getpid()}.part'
    name = os.fsencode(path.name)[: _MAX_NAME - len(ending)]
    return path.with_name(os.fsdecode(name) + ending)


@contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """Provide a temporary directory beside `path`, which is to be renamed to `path`.

    At the end of the `with` block, the directory is removed if it has not been renamed, and so are
    the parents that were created for it if they are empty.

    Args:
        path: The directory to create.

    Yields:
        The temporary directory. Its name ends with `DRAFT`.
    """
    draft = path.with_name(f'{path.name}.{os.getpid()}{DRAFT}')
    created: list[Path] = []
    _draft_folders.append(draft)
    try:
        write_to_folder(draft.parent, draft.mkdir, created)
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        remove_empty(created)
        _draft_folders.remove(draft)


def rename_draft(draft: Path, path: Path, taken: WorkDirError) -> None:
    """Rename the temporary directory of `draft_folder` to its final name.

    Args:
        draft: The temporary directory.
        path: The directory to create.
        taken: The error to raise if another process has created it meanwhile.

    Raises:
        WorkDirError: `taken`.
        OSError: If the directory cannot be renamed for another reason.
    """
    try:
        draft.rename(path)
    except OSError as error:
        if path.exists():
            raise taken from error
        raise


def remove_draft_folders() -> None:
    """Remove the directories of `draft_folder`, before the process ends without `finally`."""
    for draft in _draft_folders:
        shutil.rmtree(draft, ignore_errors=True)


def shorten_name(path: Path, more: str = '') -> Path:
    """Shorten a file name so that it remains valid when the suffix of a temporary file is added.

    Args:
        path: Path whose last component may be too long.
        more: Text that is appended to the stem, such as a number.
    """
    suffix = os.fsencode(more + path.suffix)
    stem = os.fsencode(path.stem)
    cut = stem[: _MAX_STEM - len(suffix)]
    errors = 'surrogateescape' if cut == stem else 'ignore'
    return path.with_name(cut.decode(errors=errors) + more + path.suffix)


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a directory, to the disk.

    Args:
        path: An existing file or directory.

    Raises:
        OSError: If the disk reports an error. The error is ignored if the file system does not
            support flushing directories.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if not path.is_dir() or error.errno not in _FSYNC_UNSUPPORTED_ERRNOS:
            raise
    finally:
        os.close(fd)


def check_no_symlinks(paths: Iterable[Path], below: Path, option: str) -> None:
    """Check that no symbolic link redirects outputs to another directory.

    Args:
        paths: Paths of the outputs, in `below`.
        below: The output directory, which may itself be a link.
        option: Command-line option that sets the directory, for the error message.

    Raises:
        WorkDirError: With the link and its target.
    """
    seen = {below}
    for path in paths:
        while path not in seen:
            seen.add(path)
            if path.is_symlink():
                raise WorkDirError(
                    f'{option}: {path} is a link to {os.readlink(path)}, where files would be '
                    f'overwritten: remove the link, or choose another {option}'
                )
            path = path.parent


def remove_drafts(paths: Iterable[Path]) -> None:
    """Remove the temporary files of processes that were killed.

    Only temporary files of the given paths are removed.

    Args:
        paths: Paths that `atomic_write` or `VideoWriter` may have been writing. No running process
            may write them.
    """
    folders: dict[Path, set[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, set()).add(path.name)
    for folder, names in folders.items():
        with suppress(OSError):
            for name in set(os.listdir(folder)) - names:
                draft = _DRAFT.fullmatch(name)
                if draft and (draft['file'] or f'{draft["video"]}.mp4') in names:
                    with suppress(OSError):
                        os.unlink(folder / name)
