"""The checkpoints of a run: which there are, and which one is the newest."""

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

#: a file that is being written has this behind its name
PARTIAL = '.partial'
#: file of a work dir that names its newest checkpoint
POINTER = 'last_checkpoint'
#: names of MMEngine's checkpoints, by iteration and by epoch
_NUMBERED = re.compile(r'(iter|epoch)_(\d+)\.pth')


def checkpoint_dir(cfg: Config) -> Path:
    """The directory in which a run saves its checkpoints.

    Args:
        cfg: A config with its `work_dir`.

    Returns:
        The work dir or, below the `out_dir` of the checkpoint hook, a
        directory of the same name. For one that is no local directory, the
        work dir, which has the pointer.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    out_dir = hook.get('out_dir')
    if not out_dir or not is_local(out_dir, hook.get('file_client_args'), hook.get('backend_args')):
        return Path(cfg.work_dir)
    if str(out_dir) == cfg.work_dir:
        return Path(out_dir)
    return Path(out_dir, Path(cfg.work_dir).name)


def is_local(folder: str | Path, file_client_args: dict | None, backend_args: dict | None) -> bool:
    """Whether checkpoints are written as files of this machine.

    Args:
        folder: In which.
        file_client_args, backend_args: Of MMEngine's storage backends.
    """
    return not (file_client_args or backend_args or is_url(str(folder)))


def write_pointer(folder: str | Path, name: str) -> None:
    """Name the newest checkpoint of a run.

    Args:
        folder: The work dir.
        name: Of the checkpoint's file, without a directory.
    """
    path = Path(folder, POINTER)
    with atomic_write(path, draft=Path(f'{path}{PARTIAL}')) as draft:
        draft.write_text(name)


def read_pointer(folder: str | Path) -> str | None:
    """The checkpoint that a run names as its newest.

    Args:
        folder: The work dir.

    Returns:
        The name of a file in `folder`, which may be missing; of a path, as
        MMEngine writes it, the last part. Empty if the pointer is empty or
        damaged, None if there is none.
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
    """The checkpoints `iter_N.pth` and `epoch_N.pth` of a folder.

    Args:
        folder: The work dir.

    Returns:
        `'iter'` and `'epoch'` → number → file.
    """
    found: dict[str, dict[int, Path]] = {'iter': {}, 'epoch': {}}
    for file in Path(folder).glob('*.pth'):
        if match := _NUMBERED.fullmatch(file.name):
            found[match[1]][int(match[2])] = file
    return found


def remove_partial(folder: str | Path) -> None:
    """Remove what killed processes have left half written.

    Args:
        folder: In which no other process writes checkpoints now.
    """
    for pattern in ('*.pth', POINTER):
        for file in Path(folder).glob(f'{pattern}{PARTIAL}'):
            file.unlink(missing_ok=True)


def newest_saved(folder: str | Path) -> Path | None:
    """The newest checkpoint whose file is complete, at a glance.

    Only the table at the end of the file is looked at, so this is quick
    enough for a process that is about to end.

    Args:
        folder: The work dir.

    Returns:
        The file; None if there is none.
    """
    for file in _in_order(folder):
        if not file_problem(file) and zipfile.is_zipfile(file):
            return file
    return None


def _in_order(folder: str | Path) -> Iterator[Path]:
    """Checkpoints, what was saved last first, as far as names tell.

    The pointer comes first, but for a newer checkpoint that was saved after
    it: the run ended before it could name that one.
    """
    found = numbered_checkpoints(folder)
    files = [
        by_number[number]
        for by_number in found.values()
        for number in sorted(by_number, reverse=True)
    ]
    if all(found.values()):
        files.sort(key=_saved_at, reverse=True)
    named = read_pointer(folder)
    first = Path(folder, named) if named else None
    if first is not None and (first.is_file() or first in files):
        written = _saved_at(Path(folder, POINTER))
        later = files[: files.index(first)] if first in files else []
        yield from (file for file in later if _saved_at(file) > written)
        yield first
    yield from files


def _saved_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def find_latest(folder: str | Path) -> tuple[Path, dict] | None:
    """The newest checkpoint of a run that can be read, with its content.

    Args:
        folder: The work dir.

    Returns:
        The file and what it holds. None if no checkpoint was ever saved
        there. A warning is logged for each newer one that is damaged.

    Raises:
        CheckpointError: If there are checkpoints, or was one, but none can
            be read.
    """
    named = read_pointer(folder)
    problems = {}
    if named is not None and not (named and Path(folder, named).is_file()):
        problems[POINTER] = f'names {named}, which is missing' if named else 'is empty or damaged'
    tried = set()
    for file in _in_order(folder):
        if file in tried:
            continue
        tried.add(file)
        try:
            content = read_checkpoint(str(file))
        except CheckpointError as error:
            problems[file.name] = str(error)
            continue
        for name, problem in problems.items():
            print_log(
                f'{Path(folder, name)} cannot be used ({problem}); training '
                f'continues from the newest whole checkpoint, {file.name}',
                logger='current',
                level=logging.WARNING,
            )
        return file, content
    if not problems:
        return None
    listed = '; '.join(f'{name}: {why}' for name, why in problems.items())
    raise CheckpointError(
        f'{folder} holds a run, but no checkpoint of it can be read '
        f'({listed}). Copy a whole checkpoint there, or start anew with '
        '--overwrite or in another --work-dir'
    )


def latest_checkpoint(folder: str | Path) -> str | None:
    """The path of the checkpoint that `find_latest` finds.

    Args:
        folder: The work dir.

    Returns:
        The path; None if no checkpoint was ever saved there.

    Raises:
        CheckpointError: If there are checkpoints, but none can be read.
    """
    found = find_latest(folder)
    return None if found is None else str(found[0])
