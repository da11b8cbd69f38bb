"""Check the work dir and the output files of a run, so that no earlier run is lost."""

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
from ..utils.files import file_problem, read_text
from ..utils.literals import read_assignments


def check_work_dir(cfg: Config, resume: bool, overwrite: bool) -> None:
    """Check that a training run does not replace checkpoints of an earlier run.

    Args:
        cfg: A config with a `work_dir`.
        resume: Whether to resume the earlier run.
        overwrite: Whether to replace the earlier run.

    Raises:
        WorkDirError: If the work dir contains checkpoints and `overwrite` is not set, unless
            `resume` is set and the checkpoints are from the same config with the same model.
    """
    folder = Path(cfg.work_dir)
    saved_in = checkpoint_dir(cfg)
    checkpoints = sorted({*folder.glob('*.pth'), *saved_in.glob('*.pth')})
    if overwrite or not checkpoints:
        return
    name = Path(cfg.filename).name
    earlier = [file for file in folder.glob('*.py') if file.name != name]
    is_same_config = (folder / name).is_file()
    if earlier and not is_same_config:
        raise WorkDirError(
            f'{folder} contains a run of another config, {earlier[0].name} '
            f'({len(checkpoints)} checkpoints, such as {checkpoints[0].name}). '
            'Choose another --work-dir, or replace the run with --overwrite'
        )
    if resume and is_same_config and not _same_model(cfg, folder / name):
        raise WorkDirError(
            f'{folder} contains a run of {name} whose saved config has another model or cannot be '
            'parsed, so it cannot be resumed with this one. Choose another --work-dir, or replace '
            'the run with --overwrite'
        )
    if not resume:
        raise WorkDirError(
            f'{folder} already contains a run ({len(checkpoints)} checkpoints, such as '
            f'{checkpoints[0].name}). Continue it with --resume, choose another --work-dir, or '
            'replace it with --overwrite'
        )


def _same_model(cfg: Config, dumped: Path) -> bool:
    """Return whether the saved config of a run has the same model, except for initial weights.

    The file is parsed, not executed. Entries that are not literals are ignored: if `model` is such
    an entry, the models count as equal, and weights that do not match raise an error when they are
    loaded. If the file cannot be parsed, the models count as different.
    """
    try:
        old = read_assignments(dumped)
    except ConfigError:
        return False
    return 'model' not in old or _comparable(cfg.model) == _comparable(old['model'])


def _comparable(value):
    """Convert tuples to lists, and remove entries that do not affect the weights."""
    if isinstance(value, dict):
        return {
            key: _comparable(item)
            for key, item in value.items()
            if key not in ('init_cfg', 'test_cfg')
        }
    if isinstance(value, (list, tuple)):
        return [_comparable(item) for item in value]
    return value


def _earlier_run(folder: str | Path) -> list[Path]:
    """Return the files of an earlier run.

    These are checkpoints (also partially written ones), `last_checkpoint` and saved configs.
    """
    work = Path(folder)
    files = [
        file for pattern in ('*.pth', '*.partial', 'last_checkpoint') for file in work.glob(pattern)
    ]
    # A config that MMEngine has saved has both entries; handwritten configs do not.
    return files + [
        file
        for file in work.glob('*.py')
        if file_problem(file) is None
        and all(
            re.search(f'^{name} = ', read_text(file, errors='replace'), re.MULTILINE)
            for name in ('launcher', 'work_dir')
        )
    ]


def check_overwrite(cfg: Config) -> None:
    """Check that `--overwrite` does not remove the initial weights of the new run.

    Args:
        cfg: A config with a `work_dir`.

    Raises:
        WorkDirError: If it would remove them. The message names the file.
    """
    removed = {
        file.resolve()
        for folder in (cfg.work_dir, checkpoint_dir(cfg))
        for file in _earlier_run(folder)
    }
    for text in strings_of([cfg.get('load_from'), cfg.model]):
        if Path(text).expanduser().resolve() in removed:
            raise WorkDirError(
                f'--overwrite would remove {text}, from which the run starts: move the file '
                'elsewhere, or choose another --work-dir'
            )


def check_same_start(cfg: Config) -> None:
    """Check that all processes of a distributed run start from the same checkpoint.

    They do not if the machines do not share the work dir. Call this function after the process
    group is initialized.

    Args:
        cfg: A config with the final `resume` and `load_from`.

    Raises:
        WorkDirError: If the checkpoints differ. The message lists them.
    """
    start = cfg.load_from if cfg.get('resume') else None
    name = Path(start).name if start else 'no checkpoint'
    starts: list = [None] * get_world_size()
    if len(starts) > 1:
        torch.distributed.all_gather_object(starts, name)
    else:
        starts = [name]
    if len(set(starts)) > 1:
        raise WorkDirError(
            f'the processes would start from different checkpoints ({", ".join(starts)}): put '
            f'--work-dir {cfg.work_dir} on a disk that all machines share, or copy the checkpoint '
            'to each machine'
        )


def clear_work_dir(folder: str | Path) -> None:
    """Remove the files of an earlier run: checkpoints, saved configs, logged curves.

    Args:
        folder: The work dir. Other files in it are kept.
    """
    for file in _earlier_run(folder):
        file.unlink(missing_ok=True)
    for curves in Path(folder).glob('*/vis_data'):
        shutil.rmtree(curves)


def prepare_output(path: str | None, option: str, endings: Sequence[str]):
    """Check the path of an output file, and create its directory.

    Args:
        path: Path of the file, or None.
        option: Name of the option that sets the path, for the message.
        endings: Allowed suffixes.

    Raises:
        ConfigError: If the suffix is not allowed, or the path is a directory.
    """
    if path is None:
        return
    if not path.endswith(tuple(endings)):
        raise ConfigError(
            f'{option} {path}: expected a file name that ends with {" or ".join(endings)}'
        )
    if Path(path).is_dir():
        raise ConfigError(f'{option} {path}: this is a directory; expected the name of a file')
    Path(path).parent.mkdir(parents=True, exist_ok=True)


def saved_summary(work_dir: str | Path) -> str:
    """Return what a stopped run has saved and how to continue it.

    Args:
        work_dir: Work dir of the run.

    Returns:
        One line, without a period at the end.
    """
    newest = newest_saved(work_dir)
    if not newest:
        return f'nothing was saved yet in {work_dir}'
    return f'{newest} is saved; continue with --resume'
