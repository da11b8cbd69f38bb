"""Folders and files that a run writes, and what it would lose there."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size

from ..configs import strings_of
from ..engine.checkpoints import checkpoint_dir, newest_saved
from ..errors import ConfigError, WorkDirError
from ..utils.literals import read_assignments


def check_work_dir(cfg: Config, resume: bool, overwrite: bool) -> None:
    """Refuse to train into a folder whose earlier run would be lost.

    Args:
        cfg: A config with its `work_dir`.
        resume: Whether the earlier run is to be continued.
        overwrite: Whether it may be replaced.

    Raises:
        WorkDirError: If it holds checkpoints of another config's run, or of
            this one's and neither option is given.
    """
    folder = Path(cfg.work_dir)
    saved_in = checkpoint_dir(cfg)
    checkpoints = sorted({*folder.glob('*.pth'), *saved_in.glob('*.pth')})
    if overwrite or not checkpoints:
        return
    name = Path(cfg.filename).name
    earlier = [file for file in folder.glob('*.py') if file.name != name]
    same = (folder / name).is_file()
    if earlier and not same:
        raise WorkDirError(
            f'{folder} holds the run of another config, {earlier[0].name} '
            f'({len(checkpoints)} checkpoints, such as '
            f'{checkpoints[0].name}). Choose another --work-dir, or replace '
            'it with --overwrite'
        )
    if resume and same and not _same_model(cfg, folder / name):
        raise WorkDirError(
            f'{folder} holds a run of {name} with another model, so it '
            'cannot be resumed with this one. Choose another --work-dir, or '
            'replace it with --overwrite'
        )
    if not resume:
        raise WorkDirError(
            f'{folder} already holds a run ({len(checkpoints)} checkpoints, '
            f'such as {checkpoints[0].name}). Continue it with --resume, '
            'choose another --work-dir, or replace it with --overwrite'
        )


def _same_model(cfg: Config, dumped: Path) -> bool:
    """Whether a run's saved config has this model, start weights apart.

    The file is not run. A model that is no plain data counts as the same:
    weights that do not fit it are an error later.
    """
    try:
        old = read_assignments(dumped)
    except ConfigError:
        return False
    return 'model' not in old or _plain(cfg.model) == _plain(old['model'])


def _plain(value):
    """Lists for tuples; without what does not change the weights."""
    if isinstance(value, dict):
        return {
            key: _plain(item) for key, item in value.items() if key not in ('init_cfg', 'test_cfg')
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _earlier_run(folder: str | Path) -> list[Path]:
    """Files of an earlier run: checkpoints, saved configs, their pointer."""
    work = Path(folder)
    files = [
        file for pattern in ('*.pth', '*.partial', 'last_checkpoint') for file in work.glob(pattern)
    ]
    # MMEngine saves a config with these two, which nobody writes by hand.
    return files + [
        file
        for file in work.glob('*.py')
        if all(
            re.search(f'^{name} = ', file.read_text(), re.MULTILINE)
            for name in ('launcher', 'work_dir')
        )
    ]


def check_overwrite(cfg: Config) -> None:
    """Refuse to remove an earlier run whose weights this one starts from.

    Args:
        cfg: A config with its `work_dir`.

    Raises:
        WorkDirError: With the file that would be lost.
    """
    removed = {
        file.resolve()
        for folder in (cfg.work_dir, checkpoint_dir(cfg))
        for file in _earlier_run(folder)
    }
    for text in strings_of([cfg.get('load_from'), cfg.model]):
        if Path(text).expanduser().resolve() in removed:
            raise WorkDirError(
                f'--overwrite would remove {text}, which the training is to '
                'start from: move it elsewhere, or choose another --work-dir'
            )


def check_same_start(cfg: Config) -> None:
    """Refuse processes of one run that would start at different steps.

    Machines whose work dirs are not the same folder find different
    checkpoints to resume. Call it when the processes have met.

    Args:
        cfg: A config whose `resume` and `load_from` are decided.

    Raises:
        WorkDirError: With what each process would start from.
    """
    start = cfg.load_from if cfg.get('resume') else None
    name = Path(start).name if start else 'the first step'
    starts: list = [None] * get_world_size()
    if len(starts) > 1:
        torch.distributed.all_gather_object(starts, name)
    else:
        starts = [name]
    if len(set(starts)) > 1:
        raise WorkDirError(
            f'the processes would not start together, but from '
            f'{", ".join(starts)}: put --work-dir {cfg.work_dir} on a disk '
            'that all machines share, or copy the checkpoint to each'
        )


def clear_work_dir(folder: str | Path) -> None:
    """Remove an earlier run: checkpoints, saved configs, logged curves.

    Args:
        folder: The work dir; what no run has written there stays.
    """
    for file in _earlier_run(folder):
        file.unlink(missing_ok=True)
    for curves in Path(folder).glob('*/vis_data'):
        shutil.rmtree(curves)


def check_output(path: str | None, option: str, endings: Sequence[str]):
    """Refuse a file name that could not be written after the run.

    Args:
        path: Of the file, or None.
        option: That named it, for the message.
        endings: What it may end with.

    Raises:
        ConfigError: For another ending, or where a folder of that name is.
    """
    if path is None:
        return
    if not path.endswith(tuple(endings)):
        raise ConfigError(f'{option} {path}: expected a name that ends with {" or ".join(endings)}')
    if Path(path).is_dir():
        raise ConfigError(f'{option} {path}: a folder has this name')
    Path(path).parent.mkdir(parents=True, exist_ok=True)


def saved_summary(work_dir: str | Path) -> str:
    """What a run that was stopped has saved, and how to continue it.

    Args:
        work_dir: Of the run.

    Returns:
        One line, without a full stop.
    """
    newest = newest_saved(work_dir)
    if not newest:
        return f'nothing was saved yet in {work_dir}'
    return f'{newest} is saved; continue with --resume'
