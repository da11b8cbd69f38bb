"""Files that are read, and files that are written whole or not at all.

One home for what every tool needs: whether a path can be read without
waiting for ever (`check_regular_file`, `open_regular`), whether an output can
be written and is no input (`check_writable_file`, `check_writable_dir`,
`check_output_file`), and writing without half files (`atomic_write`).
"""

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO

from ..errors import DatasetError, PoseBackbonesError, WorkDirError

#: most bytes of a file that is read as a text
MAX_TEXT = 2 << 30
#: what `check_writable_dir` writes for a moment
PROBE_FILE = 'try'
_NO_NAME = 'its name is not one that a file can have'
_LONGEST = 255  # bytes of a file's name
_LONGEST_STEM = 240  # bytes of a name that a draft's suffix may be added to
#: names of files that were being written: `atomic_write`, and `VideoWriter`
_DRAFT = re.compile(
    r'(?P<file>.+)\.\d+\.part|'
    r'(?P<video>.+)\.part\d+(\.whole)?\.mp4',
    re.DOTALL,
)
#: what the system says when a disk is full
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OTHER_KINDS = (
    (stat.S_ISDIR, 'a directory'),
    (stat.S_ISFIFO, 'a named pipe (FIFO)'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a character device'),
    (stat.S_ISBLK, 'a block device'),
)
#: what some file systems answer to fsync of a folder
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)


def is_url(name) -> bool:
    """Whether a name is a URL, and not a path."""
    return isinstance(name, str) and '://' in name


def os_error_reason(error: OSError) -> str:
    """What an error of the system says, without number and path."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return 'there is no such file or directory'
    return error.strerror or str(error) or type(error).__name__


def file_problem(path: str | PathLike) -> str | None:
    """Why a path cannot be read as a file.

    Nothing is opened: opening a FIFO or a device may block for ever.

    Args:
        path: Of a local file; links are followed.

    Returns:
        The reason; None for a regular file that this process may read.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.islink(path):
            return f'there is no such file: it is a link to {os.readlink(path)}'
        return 'there is no such file'
    except OSError as error:
        return os_error_reason(error)
    except ValueError:  # a NUL byte
        return _NO_NAME
    kind = _other_kind(mode)
    if kind is not None:
        return f'it is {kind}'
    return None if os.access(path, os.R_OK) else os.strerror(errno.EACCES)


def _other_kind(mode: int) -> str | None:
    """What something is that is no regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((name for test, name in _OTHER_KINDS if test(mode)), 'no regular file')


def check_regular_file(
    path: str | PathLike, what: str = 'file', error: type[PoseBackbonesError] = DatasetError
) -> None:
    """Refuse a path that is no regular, readable file, without opening it.

    Args:
        path: Of a local file.
        what: It holds, for the message, such as `'checkpoint'`.
        error: Class of the error.

    Raises:
        PoseBackbonesError: Of that class, with the path and the reason, such
            as that it is a named pipe.
    """
    problem = file_problem(path)
    if problem is not None:
        raise error(f'cannot read the {what} {fspath(path)}: {problem}')


def open_regular(
    path: str | PathLike, what: str = 'file', error: type[PoseBackbonesError] = DatasetError
) -> BinaryIO:
    """Open a regular file for reading; never waits for another process.

    Args:
        path, what, error: See `check_regular_file`.

    Returns:
        The open file.

    Raises:
        PoseBackbonesError: As `check_regular_file`.
    """
    check_regular_file(path, what, error)
    problem: str | None = None
    try:
        # It may have become a FIFO since it was looked at.
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as found:
        raise error(f'cannot read the {what} {fspath(path)}: {os_error_reason(found)}') from found
    problem = _other_kind(os.fstat(number).st_mode)
    if problem is not None:
        os.close(number)
        raise error(f'cannot read the {what} {fspath(path)}: it is {problem}')
    return open(number, 'rb')


def read_text(
    path: str | PathLike,
    what: str = 'file',
    error: type[PoseBackbonesError] = DatasetError,
    errors: str = 'strict',
) -> str:
    """The text of a regular file, in UTF-8.

    Args:
        path, what, error: See `check_regular_file`.
        errors: What to do about another encoding, see `bytes.decode`.

    Returns:
        The text, without a byte order mark.

    Raises:
        PoseBackbonesError: As `check_regular_file`, for another encoding, or
            above `MAX_TEXT`.
    """
    try:
        with open_regular(path, what, error) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_TEXT:
                raise error(
                    f'cannot read the {what} {fspath(path)}: it has '
                    f'{size:,} bytes: expected at most {MAX_TEXT:,}'
                )
            return file.read().decode('utf-8-sig', errors)
    except UnicodeDecodeError as found:
        raise error(f'cannot read the {what} {fspath(path)}: {found}') from found
    except OSError as found:
        raise error(f'cannot read the {what} {fspath(path)}: {os_error_reason(found)}') from found


def check_not_input(
    outputs: str | PathLike | Iterable[str | PathLike],
    option: str,
    inputs: Iterable[str | PathLike | None],
) -> None:
    """Refuse to overwrite files that are read.

    They are compared as files, so that links, `..` and case do not matter.

    Args:
        outputs: Path of the output, or several.
        option: That named it, for the message.
        inputs: Paths that are read; None, URLs and what is no path are left
            out.

    Raises:
        WorkDirError: With the input that would be overwritten.
    """
    if isinstance(outputs, (str, PathLike)):
        outputs = [outputs]
    known = {
        _identity(one): one
        for one in inputs
        if isinstance(one, (str, PathLike)) and not is_url(one)
    }
    known.pop(None, None)
    for path in outputs if known else ():
        found = known.get(_identity(path))
        if found is not None:
            raise WorkDirError(
                f'{option}: {fspath(path)} is an input of this command, '
                f'{fspath(found)}, which would be overwritten: choose '
                'another name'
            )


def _identity(path: str | PathLike) -> tuple[int, int] | None:
    """What tells a file from all others; None if it is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def check_output_file(
    path: str | PathLike,
    option: str,
    inputs: Iterable[str | PathLike | None] = (),
    overwrite: bool = False,
) -> None:
    """Refuse an output that would overwrite something, or cannot be written.

    Call it before any work.

    Args:
        path, option, inputs: See `check_not_input`.
        overwrite: Whether a file that is there may be replaced; an input may
            not.

    Raises:
        WorkDirError: With the path and the reason.
    """
    check_not_input(path, option, inputs)
    if os.path.lexists(path) and not overwrite and not os.path.isdir(path):
        raise WorkDirError(
            f'{option} {fspath(path)} is there already: choose another name '
            f'with {option}, or replace it with --overwrite'
        )
    check_writable_file(Path(path), option)


def check_writable_file(path: Path, option: str) -> None:
    """Try whether a file can be written, before any work.

    A file beside it is written and removed, and so are folders that are not
    there yet. What is there under its name stays as it is.

    Args:
        path: Of the file.
        option: That named it, for the message, such as `'--out'`.

    Raises:
        WorkDirError: With the path and the reason.
    """
    with convert_write_errors(path, option):
        _check_name(path)
        if os.path.lexists(path):
            kind = _other_kind(os.stat(path).st_mode)
            if kind is not None:
                raise WorkDirError(f'{option} {path} is {kind}: expected the name of a file')
        elif len(os.fsencode(path.name)) > _LONGEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        _try(path)


def check_writable_dir(path: Path, option: str) -> None:
    """Try whether files can be written into a folder, before any work.

    A file in it is written and removed, and so is the folder, if it is not
    there yet.

    Args:
        path, option: See `check_writable_file`.

    Raises:
        WorkDirError: With the path and the reason.
    """
    with convert_write_errors(path, option):
        _check_name(path)
        if os.path.lexists(path) and not stat.S_ISDIR(os.stat(path).st_mode):
            raise WorkDirError(f'{option} {path} is a file: expected a folder')
        _try(path / PROBE_FILE)


def _check_name(path: Path) -> None:
    """Refuse a name that Python does not hand to the system."""
    try:
        known = '\0' not in os.fsdecode(os.fsencode(path))
    except UnicodeEncodeError:  # half of a surrogate pair
        known = False
    if not known:
        raise OSError(errno.EINVAL, _NO_NAME)


def _try(path: Path) -> None:
    """Write something beside a file, and remove it."""
    draft, new = _draft(path), make_folder(path.parent)
    try:
        # Some file systems are full only when there is something to write.
        draft.write_bytes(bytes(64))
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        remove_empty(new)


def make_folder(path: Path) -> list[Path]:
    """Make a folder and those above; what is in the way is named.

    Args:
        path: Of the folder, which may exist.

    Returns:
        The folders that were not there, for `remove_empty`.

    Raises:
        OSError: If it cannot be made.
    """
    new = [place for place in (path, *path.parents) if not place.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next(place for place in (path, *path.parents) if os.path.lexists(place))
        raise OSError(errno.ENOTDIR, f'{file} is no directory') from error
    except FileNotFoundError as error:  # of /proc and the like
        raise OSError(errno.ENOENT, f'no directory can be made in {path.parent}') from error
    return new


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders that nothing was put into."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def convert_write_errors(path: str | PathLike, option: str, then: str = '') -> Iterator[None]:
    """Let what the system refuses to write be one message.

    Args:
        path: What is written.
        option: That named it, or an empty text.
        then: What the user may do, for the end of the message.

    Raises:
        WorkDirError: For an OSError in the block, such as of a full disk.
    """
    try:
        yield
    except PoseBackbonesError:
        raise
    except OSError as error:
        name = f'{option} {fspath(path)}'.lstrip()
        raise WorkDirError(f'{name} cannot be written: {os_error_reason(error)}{then}') from error


@contextmanager
def atomic_write(path: Path, durable: bool = True, draft: Path | None = None) -> Iterator[Path]:
    """Have a file written beside the one that it replaces when it is whole.

    Args:
        path: The file.
        durable: Whether the file is forced to the disk before it takes the
            name, so that a loss of power leaves the old or the new one.
        draft: Where to write, in the same folder; for a file that only one
            process writes.

    Yields:
        Where to write; by default a file of the same folder whose name ends
        in `.part`.
        After an error, what was written is gone, and `path` is as it was.
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
    """The file that is written in place of another one, by this process."""
    ending = f'.{os.getpid()}.part'
    name = os.fsencode(path.name)[: _LONGEST - len(ending)]
    return path.with_name(os.fsdecode(name) + ending)


def shorten_name(path: Path, more: str = '') -> Path:
    """Shorten a file's name to one that file systems take, also with the suffix of a draft.

    Args:
        path: Its last part may be too long.
        more: Text that is added to the stem, such as a number.
    """
    suffix = os.fsencode(more + path.suffix)
    stem = os.fsencode(path.stem)
    cut = stem[: _LONGEST_STEM - len(suffix)]
    errors = 'surrogateescape' if cut == stem else 'ignore'
    return path.with_name(cut.decode(errors=errors) + more + path.suffix)


def fsync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk.

    Args:
        path: Which exists.

    Raises:
        OSError: If the disk refuses; a file system that cannot force the
            names in a folder is no error.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    except OSError as error:
        if not path.is_dir() or error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(number)


def check_no_symlinks(paths: Iterable[Path], below: Path, option: str) -> None:
    """Refuse outputs that a symbolic link would put into another folder.

    Args:
        paths: Of the outputs, in `below`.
        below: The folder, which may be a link itself.
        option: That named it, for the message.

    Raises:
        WorkDirError: With the link and where it leads.
    """
    seen = {below}
    for path in paths:
        while path not in seen:
            seen.add(path)
            if path.is_symlink():
                raise WorkDirError(
                    f'{option}: {path} is a link to {os.readlink(path)}, '
                    'where files would be overwritten: remove the link, or '
                    f'choose another {option}'
                )
            path = path.parent


def remove_drafts(paths: Iterable[Path]) -> None:
    """Remove what killed processes have left half written.

    Other files stay, whatever their names are.

    Args:
        paths: Of the files that they have written, with `atomic_write` or
            `VideoWriter`, and nothing else writes now.
    """
    folders: dict[Path, set[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, set()).add(path.name)
    for folder, names in folders.items():
        with suppress(OSError):
            for found in set(os.listdir(folder)) - names:
                draft = _DRAFT.fullmatch(found)
                if draft and (draft['file'] or f'{draft["video"]}.mp4') in names:
                    with suppress(OSError):
                        os.unlink(folder / found)
