"""Save checkpoints as plain data, with finite weights, and atomically."""

import logging
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log

from ..checkpoints import write_file
from ..errors import TrainingError, WorkDirError
from ..utils.files import DISK_FULL_ERRNOS, atomic_write, os_error_reason
from .checkpoints import PARTIAL

#: maximum number of tensor names in an error message
_MAX_NAMES = 5
#: result of the conversion of a value that is not data
_DROPPED = object()


def write_checkpoint(content: dict, path: Path, hint: Callable[[], str] = str) -> None:
    """Write a checkpoint atomically: a file of this name is complete at any time.

    The checkpoint is written to `path` + `.partial`, flushed to the disk and renamed.

    Args:
        content: Object for `torch.save`.
        path: Path of the file, which may exist.
        hint: Returns text for the end of an error message: what the user can do.

    Raises:
        WorkDirError: If the disk is full or cannot be written. The temporary file is removed,
            and an existing file at `path` is not modified.
    """
    try:
        with atomic_write(path, draft=Path(f'{path}{PARTIAL}')) as draft:
            write_file(content, draft)
    except OSError as error:
        raise WorkDirError(
            f'the checkpoint {path} cannot be written: {os_error_reason(error)}. '
            f'{_advice(error)}{hint()}'
        ) from error


def _advice(error: OSError) -> str:
    if error.errno in DISK_FULL_ERRNOS:
        return 'Free some space, or choose a --work-dir on another disk'
    return 'Check the permissions and the disk'


def check_finite(checkpoint: dict, name: str) -> None:
    """Check that weights and optimizer state are finite before they are saved.

    Args:
        checkpoint: A checkpoint in MMEngine's layout.
        name: File name, for the error message.

    Raises:
        TrainingError: With the names of the first tensors that contain NaN or infinity.
    """
    names = [
        *non_finite_names(checkpoint['state_dict']),
        *non_finite_names(checkpoint.get('ema_state_dict') or {}, 'EMA of '),
        *non_finite_names(checkpoint.get('optimizer') or {}, 'optimizer '),
    ]
    if names:
        raise TrainingError(
            f'{name} is not saved, since training has diverged: NaN or infinity in '
            f'{join_first_names(names)}. Earlier checkpoints are kept; continue from one of '
            'them with a lower learning rate or with gradient clipping (optim_wrapper.clip_grad)'
        )


def join_first_names(names: list[str]) -> str:
    """Join the first names of a list, and state how many more there are."""
    more = len(names) - _MAX_NAMES
    shown = ', '.join(names[:_MAX_NAMES])
    return f'{shown} and {more} more tensors' if more > 0 else shown


def non_finite_names(value, prefix: str = '') -> list[str]:
    """Return the names of the tensors in nested dicts that contain NaN or infinity.

    Args:
        value: Dicts, lists and tensors; anything else is ignored.
        prefix: Prefix of the names.

    Returns:
        Their names, such as `optimizer state.3.exp_avg`.
    """
    return [
        name
        for name, tensor in iterate_tensors(value, prefix)
        if not torch.isfinite(tensor if tensor.itemsize > 1 else tensor.float()).all()
    ]


def iterate_tensors(value, prefix: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    """Iterate over the floating-point and complex tensors in nested dicts and lists.

    Args:
        value: Dicts, lists and tensors; anything else is ignored.
        prefix: Prefix of the names.

    Yields:
        Name and tensor.
    """
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() or value.is_complex():
            yield prefix.rstrip('.'), value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from iterate_tensors(item, f'{prefix}{key}.')
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from iterate_tensors(item, f'{prefix}{number}.')


def to_plain(value, location: str = '', dropped: Callable[[str], object] = len):
    """Convert a value to plain data, which any checkpoint reader supports.

    Args:
        value: Any value.
        place: Location of the value, for `dropped`.
        dropped: Called with the location of each entry that is dropped because it is not data, such
            as a function.

    Returns:
        None, numbers, strings, bytes, tensors, numeric arrays and history buffers unchanged; dicts,
        lists, tuples and sets of them; paths as strings; NumPy numbers as Python numbers; text
        arrays as lists.
    """
    result = _plain(value, location, dropped)
    return None if result is _DROPPED else result


def _plain(value, location: str, dropped: Callable[[str], object]):
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (torch.Tensor, HistoryBuffer)):
        return value
    for kind in (bool, int, float, complex, str, bytes):
        if isinstance(value, kind):  # Values of subclasses are converted.
            return value if type(value) is kind else kind(value)
    if isinstance(value, np.generic) and value.dtype.kind in 'biufcUS':
        item = value.item()
        return item if not isinstance(item, np.generic) else float(item)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in 'biufc':
            return np.asarray(value)
        return _plain(value.tolist(), location, dropped)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return _plain_dict(value, location, dropped)
    if isinstance(value, (list, tuple, set, frozenset)) or hasattr(value, 'appendleft'):
        items = [
            _plain(item, f'{location}[{number}]', dropped) for number, item in enumerate(value)
        ]
        items = [item for item in items if item is not _DROPPED]
        return tuple(items) if isinstance(value, tuple) else items
    dropped(location)
    return _DROPPED


def _plain_dict(value: Mapping, location: str, dropped: Callable[[str], object]) -> dict:
    result = {}
    for key, item in value.items():
        name = f'{location}.{key}' if location else str(key)
        key, item = (_plain(part, name, dropped) for part in (key, item))
        if key is not _DROPPED and item is not _DROPPED:
            result[key] = item
    return result


def make_checkpoint_plain(checkpoint: dict) -> None:
    """Convert a checkpoint to plain data, in place.

    Weights are not changed. Entries that are dropped are logged, except for functions of schedules
    (MMEngine's `OneCycleLR`), which are created again from the config.

    Args:
        checkpoint: A checkpoint in MMEngine's layout.
    """
    dropped: list[str] = []
    for key in list(checkpoint):
        if key not in ('state_dict', 'ema_state_dict'):
            is_schedule = key == 'param_schedulers'
            checkpoint[key] = to_plain(checkpoint[key], key, len if is_schedule else dropped.append)
    if dropped:
        print_log(
            f'not saved, since they are not plain data: {", ".join(dropped)}',
            logger='current',
            level=logging.WARNING,
        )
