"""Find the checkpoints in a work directory, and the newest one that can be read."""

import logging
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from ..checkpoints.loading import read_checkpoint
from ..errors import CheckpointError
from ..utils.files import atomic_write, file_problem, is_url

#: suffix of a file that is being written
PARTIAL = '.partial'
#: file in a work directory that contains the name of the newest checkpoint
POINTER = 'last_checkpoint'
#: names of checkpoints, by iteration or by epoch
_NUMBERED = re.compile(r'(iter|epoch)_(\d+)\.pth')


def checkpoint_dir(cfg: Config) -> Path:
    """Return the directory in which a run saves its checkpoints.

    Args:
        cfg: A config with a `work_dir`.

    Returns:
        The work directory or, if the checkpoint hook has an `out_dir`, a directory of the same name
        in it. If `out_dir` is not a local directory, the work directory, which contains
        `last_checkpoint`.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    out_dir = hook.get('out_dir')
    if not out_dir or not is_local(out_dir, hook.get('file_client_args'), hook.get('backend_args')):
        return Path(cfg.work_dir)
    if str(out_dir) == cfg.work_dir:
        return Path(out_dir)
    return Path(out_dir, Path(cfg.work_dir).name)


def is_local(folder: str | Path, file_client_args: dict | None, backend_args: dict | None) -> bool:
    """Return whether checkpoints are saved to the local file system.

    Args:
        folder: Output directory.
        file_client_args, backend_args: Arguments of MMEngine's storage backends.
    """
    return not (file_client_args or backend_args or is_url(str(folder)))


def write_pointer(folder: str | Path, name: str) -> None:
    """Write the name of the newest checkpoint to `last_checkpoint`.

    Args:
        folder: The work directory.
        name: File name of the checkpoint, without a directory.
    """
    path = Path(folder, POINTER)
    with atomic_write(path, draft=Path(f'{path}{PARTIAL}')) as draft:
        draft.write_text(name)


def read_pointer(folder: str | Path) -> str | None:
    """Read the name of the newest checkpoint from `last_checkpoint`.

    Args:
        folder: The work directory.

    Returns:
        A file name in `folder`; the file may not exist. If the pointer contains a path, as MMEngine
        writes it, the last component of the path. An empty string if the pointer is empty or
        damaged, None if it does not exist.
    """
    pointer = Path(folder, POINTER)
    if not os.path.lexists(pointer):
        return None
    if file_problem(pointer):
        return ''
    with pointer.open('rb') as file:
        text = file.read(65536).decode(errors='replace').strip()
    name = text.replace('\\', '/').rsplit('/', 1)[-1]
    return '' if name in ('.', '..') or not name.isprintable() else name


def numbered_checkpoints(folder: str | Path) -> dict[str, dict[int, Path]]:
    """Return the checkpoints `iter_N.pth` and `epoch_N.pth` in a directory.

    Args:
        folder: The work directory.

    Returns:
        `'iter'` and `'epoch'` → number → path.
    """
    checkpoints: dict[str, dict[int, Path]] = {'iter': {}, 'epoch': {}}
    for file in Path(folder).glob('*.pth'):
        if match := _NUMBERED.fullmatch(file.name):
            checkpoints[match[1]][int(match[2])] = file
    return checkpoints


def remove_partial(folder: str | Path) -> None:
    """Remove partially written files of processes that were killed.

    Args:
        folder: Directory to which no other process is writing checkpoints.
    """
    for pattern in ('*.pth', POINTER):
        for file in Path(folder).glob(f'{pattern}{PARTIAL}'):
            file.unlink(missing_ok=True)


def newest_saved(folder: str | Path) -> Path | None:
    """Return the newest checkpoint whose file looks complete.

    Only the table at the end of the zip archive is read, which is fast enough for a process that is
    about to exit.

    Args:
        folder: The work directory.

    Returns:
        The path, or None if there is no such checkpoint.
    """
    for file in _newest_first(folder):
        if not file_problem(file) and zipfile.is_zipfile(file):
            return file
    return None


def _newest_first(folder: str | Path) -> Iterator[Path]:
    """Iterate over the checkpoints in a directory, newest first according to their names.

    The checkpoint in `last_checkpoint` comes first, unless a newer one was saved after the pointer
    was written: then the run ended before it could update the pointer.
    """
    numbered = numbered_checkpoints(folder)
    files = [
        by_number[number]
        for by_number in numbered.values()
        for number in sorted(by_number, reverse=True)
    ]
    if all(numbered.values()):
        files.sort(key=_modification_time, reverse=True)
    named = read_pointer(folder)
    first = Path(folder, named) if named else None
    if first is not None and (first.is_file() or first in files):
        written = _modification_time(Path(folder, POINTER))
        later = files[: files.index(first)] if first in files else []
        yield from (file for file in later if _modification_time(file) > written)
        yield first
    yield from files


def _modification_time(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def find_latest(folder: str | Path) -> tuple[Path, dict] | None:
    """Find the newest checkpoint in a work directory that can be read.

    Args:
        folder: The work directory.

    Returns:
        The path and the content, or None if no checkpoint was ever saved there. A warning is logged
        for each newer checkpoint that is damaged.

    Raises:
        CheckpointError: If there are checkpoints, or `last_checkpoint` exists, but no checkpoint
            can be read.
    """
    named = read_pointer(folder)
    errors = {}
    if named is not None and not (named and Path(folder, named).is_file()):
        errors[POINTER] = (
            f'it refers to {named}, which does not exist' if named else 'it is empty or damaged'
        )
    tried = set()
    for file in _newest_first(folder):
        if file in tried:
            continue
        tried.add(file)
        try:
            content = read_checkpoint(str(file))
        except CheckpointError as error:
            errors[file.name] = str(error)
            continue
        for name, problem in errors.items():
            print_log(
                f'{Path(folder, name)} cannot be used ({problem}); training continues from the '
                f'newest complete checkpoint, {file.name}',
                logger='current',
                level=logging.WARNING,
            )
        return file, content
    if not errors:
        return None
    listed = '; '.join(f'{name}: {problem}' for name, problem in errors.items())
    raise CheckpointError(
        f'{folder} contains a run, but none of its checkpoints can be read ({listed}). Copy a '
        'complete checkpoint to it, or train from scratch with --overwrite or in another '
        '--work-dir'
    )


def latest_checkpoint(folder: str | Path) -> str | None:
    """Return the path of the checkpoint that `find_latest` finds.

    Args:
        folder: The work directory.

    Returns:
        The path, or None if no checkpoint was ever saved there.

    Raises:
        CheckpointError: If there are checkpoints, but none can be read.
    """
    latest = find_latest(folder)
    return None if latest is None else str(latest[0])
