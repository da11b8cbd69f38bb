"""Writing checkpoints: plain data, finite weights, whole files only."""

import logging
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log

from ..checkpoints import write_file
from ..errors import TrainingError, WorkDirError
from ..utils.files import FULL, atomic_write, os_error_reason
from .checkpoints import PARTIAL

_NAMED = 5  # tensors that an error names at most
#: how a value is dropped that is no data
_DROPPED = object()


def write_checkpoint(content: dict, path: Path, hint: Callable[[], str] = str) -> None:
    """Write a checkpoint so that its name stands for a whole file, always.

    It is written under `path` + `.partial`, forced to the disk and renamed.

    Args:
        content: What `torch.save` shall store.
        path: Of the file, which may exist.
        hint: Called for the end of an error: what the user can do.

    Raises:
        WorkDirError: If the disk is full or refuses. Nothing half written
            stays, and an earlier file of this name is as it was.
    """
    try:
        with atomic_write(path, draft=Path(f'{path}{PARTIAL}')) as draft:
            write_file(content, draft)
    except OSError as error:
        raise WorkDirError(
            f'the checkpoint {path} cannot be written: {os_error_reason(error)}. '
            f'{_what_to_do(error)}{hint()}'
        ) from error


def _what_to_do(error: OSError) -> str:
    if error.errno in FULL:
        return 'Free some space, or choose a --work-dir on another disk'
    return 'Check the permissions and the disk'


def check_finite(checkpoint: dict, name: str) -> None:
    """Refuse to save weights or an optimizer state that is not finite.

    Args:
        checkpoint: Of MMEngine's layout.
        name: Of the file, for the message.

    Raises:
        TrainingError: With the first tensors that have NaN or infinity.
    """
    broken = [
        *not_finite(checkpoint['state_dict']),
        *not_finite(checkpoint.get('ema_state_dict') or {}, 'EMA of '),
        *not_finite(checkpoint.get('optimizer') or {}, 'optimizer '),
    ]
    if broken:
        raise TrainingError(
            f'{name} is not saved, for training has diverged: NaN or '
            f'infinity in {some(broken)}. Earlier checkpoints are kept; '
            'continue from one of them with a lower learning rate or with '
            'gradient clipping (optim_wrapper.clip_grad)'
        )


def some(names: list[str]) -> str:
    """The first names of a list, and how many follow."""
    more = len(names) - _NAMED
    shown = ', '.join(names[:_NAMED])
    return f'{shown} and {more} more tensors' if more > 0 else shown


def not_finite(value, prefix: str = '') -> list[str]:
    """The tensors with NaN or infinity in nested dicts.

    Args:
        value: Dicts, lists, tensors; anything else is left alone.
        prefix: Of the names.

    Returns:
        Their names, such as `optimizer state.3.exp_avg`.
    """
    return [
        name
        for name, tensor in tensors_of(value, prefix)
        if not torch.isfinite(tensor if tensor.itemsize > 1 else tensor.float()).all()
    ]


def tensors_of(value, prefix: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    """The floating-point and complex tensors in nested dicts and lists.

    Args:
        value: Dicts, lists, tensors; anything else is left alone.
        prefix: Of the names.

    Yields:
        Name and tensor.
    """
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() or value.is_complex():
            yield prefix.rstrip('.'), value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_of(item, f'{prefix}{key}.')
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from tensors_of(item, f'{prefix}{number}.')


def plain(value, place: str = '', dropped: Callable[[str], object] = len):
    """Turn a value into plain data, which any reader of checkpoints admits.

    Args:
        value: Anything.
        place: Where it stands, for `dropped`.
        dropped: Called with the place of each entry that is left out since
            it is no data, such as a function.

    Returns:
        None, numbers, strings, bytes, tensors, numeric arrays and history
        buffers as they are; dicts, lists, tuples and sets of them; paths as
        strings; numbers of NumPy as Python's; text arrays as lists.
    """
    result = _plain(value, place, dropped)
    return None if result is _DROPPED else result


def _plain(value, place: str, dropped: Callable[[str], object]):
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (torch.Tensor, HistoryBuffer)):
        return value
    for kind in (bool, int, float, complex, str, bytes):
        if isinstance(value, kind):  # of a subclass, the value alone
            return value if type(value) is kind else kind(value)
    if isinstance(value, np.generic) and value.dtype.kind in 'biufcUS':
        item = value.item()
        return item if not isinstance(item, np.generic) else float(item)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in 'biufc':
            return np.asarray(value)
        return _plain(value.tolist(), place, dropped)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return _plain_dict(value, place, dropped)
    if isinstance(value, (list, tuple, set, frozenset)) or hasattr(value, 'appendleft'):
        items = [_plain(item, f'{place}[{number}]', dropped) for number, item in enumerate(value)]
        items = [item for item in items if item is not _DROPPED]
        return tuple(items) if isinstance(value, tuple) else items
    dropped(place)
    return _DROPPED


def _plain_dict(value: Mapping, place: str, dropped: Callable[[str], object]) -> dict:
    result = {}
    for key, item in value.items():
        name = f'{place}.{key}' if place else str(key)
        key, item = (_plain(part, name, dropped) for part in (key, item))
        if key is not _DROPPED and item is not _DROPPED:
            result[key] = item
    return result


def make_plain(checkpoint: dict) -> None:
    """Leave nothing but plain data in a checkpoint, in place.

    Weights stay as they are. What is left out is logged, but for functions
    of schedules (MMEngine's `OneCycleLR`), which the config gives anew.

    Args:
        checkpoint: Of MMEngine's layout.
    """
    lost: list[str] = []
    for key in list(checkpoint):
        if key not in ('state_dict', 'ema_state_dict'):
            schedule = key == 'param_schedulers'
            checkpoint[key] = plain(checkpoint[key], key, len if schedule else lost.append)
    if lost:
        print_log(
            f'not saved, for these are no plain data: {", ".join(lost)}',
            logger='current',
            level=logging.WARNING,
        )
