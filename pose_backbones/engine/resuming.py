"""Check what a checkpoint says about a run, before any of it is used.

A checkpoint is data of unknown origin. The functions in this module run no code from it and open no
path that it contains. They raise `CheckpointError` with the invalid entry, before anything is
changed.
"""

from collections.abc import Mapping

import torch
from mmengine.logging import HistoryBuffer, MessageHub

from ..errors import CheckpointError, shown
from .saving import join_first_names, non_finite_names, to_plain
from .state_checks import (
    check_count,
    check_entry_type,
    is_number,
    load_from_hint,
    malformed_error,
    raise_not_plain,
    to_lists,
    values_equal,
)

#: entries of the message hub that describe the current run and are not restored
_RUN_INFO = ('cfg', 'experiment_name', 'mmengine_version')
_SEEDS = 2**32  # number of seeds that NumPy accepts


def check_training_state(checkpoint: dict, source: str) -> dict:
    """Check that a run can be resumed from a checkpoint.

    Args:
        checkpoint: Content of the checkpoint.
        source: Its path, for error messages.

    Returns:
        Its `meta`, where `iter` and `epoch` are integers and `seed` is an integer or None.

    Raises:
        CheckpointError: With the entry that is missing or malformed.
    """
    meta = checkpoint.get('meta', {})
    if isinstance(meta, dict) and not ('iter' in meta and 'epoch' in meta):
        raise CheckpointError(
            f'{source} contains weights but no training state, so it cannot be resumed. '
            f'{load_from_hint(source)}'
        )
    check_entry_type(meta, dict, source, 'meta')
    for key in ('iter', 'epoch'):
        check_count(meta[key], source, f'meta.{key}')
    seed = meta.get('seed')
    if seed is not None:
        check_count(seed, source, 'meta.seed', _SEEDS)
    optimizer = checkpoint.get('optimizer')
    no_optimizer = optimizer is None or (isinstance(optimizer, dict) and not optimizer)
    if no_optimizer and 'param_schedulers' not in checkpoint:
        raise CheckpointError(
            f'{source} contains no state of the optimizer and the schedule (best_*.pth and '
            'published checkpoints contain only weights), so it cannot be resumed. Resume '
            f'iter_*.pth or epoch_*.pth instead. {load_from_hint(source)}'
        )
    if no_optimizer:
        raise CheckpointError(
            f'{source} contains no optimizer state, so it cannot be resumed. '
            f'{load_from_hint(source)}'
        )
    check_entry_type(optimizer, dict, source, 'optimizer')
    check_entry_type(checkpoint.get('state_dict'), dict, source, 'state_dict')
    _check_hub(checkpoint.get('message_hub'), source)
    broken = non_finite_names(
        {
            key: checkpoint[key]
            for key in ('state_dict', 'ema_state_dict', 'optimizer')
            if key in checkpoint
        }
    )
    if broken:
        raise CheckpointError(
            f'{source} cannot be resumed: NaN or infinity in {join_first_names(broken)}. '
            'Resume an earlier checkpoint'
        )
    return meta


def check_limits(meta: dict, train_cfg: Mapping, source: str) -> None:
    """Check that a checkpoint is not from a longer run than the config's.

    Args:
        meta: From `check_training_state`.
        train_cfg: The `train_cfg` of the config.
        source: Path of the checkpoint, for error messages.

    Raises:
        CheckpointError: With both numbers.
    """
    for limit, key in (('max_iters', 'iter'), ('max_epochs', 'epoch')):
        end = train_cfg.get(limit)
        if isinstance(end, int) and meta[key] > end:
            raise CheckpointError(
                f'{source} is at {key} {meta[key]}, after the end of the training, '
                f'train_cfg.{limit}={end}: increase {limit}, or resume an earlier checkpoint'
            )


def _check_hub(hub, source: str) -> None:
    """Check the three parts of a message hub's state."""
    check_entry_type(hub, dict, source, 'message_hub')
    for part in ('log_scalars', 'runtime_info', 'resumed_keys'):
        place = f'message_hub.{part}'
        check_entry_type(hub.get(part), dict, source, place)
        for key in hub[part]:
            check_entry_type(key, str, source, f'a key of {place}')
    for key, value in hub['log_scalars'].items():
        if isinstance(value, HistoryBuffer):
            _check_history(value, source, f'message_hub.log_scalars.{key}')
    for key, value in hub['resumed_keys'].items():
        check_entry_type(value, bool, source, f'message_hub.resumed_keys.{key}')
    for key, value in hub['runtime_info'].items():
        place = f'message_hub.runtime_info.{key}'
        to_plain(value, place, lambda entry, value=value: raise_not_plain(source, entry, value))
        _check_record(key, value, source, place)


def _check_history(history: HistoryBuffer, source: str, name: str) -> None:
    """Check the values of a history buffer."""
    try:
        logs, counts = history.data
        valid = (
            logs.ndim == counts.ndim == 1
            and len(logs) == len(counts)
            and logs.dtype.kind in 'biuf'
            and counts.dtype.kind in 'biuf'
            and type(history.max_length) is int
            and history.max_length > 0
        )
    except (AttributeError, TypeError, ValueError):
        valid = False
    if not valid:
        raise malformed_error(
            source, name, type(history).__name__, 'two sequences of numbers of the same length'
        )


def _check_record(key: str, value, source: str, name: str) -> None:
    """Check the records about other checkpoints, see `SafeCheckpointHook`."""
    if key.startswith('best_score'):
        value = value.item() if isinstance(value, torch.Tensor) and (value.numel() == 1) else value
        if not is_number(value) or value != value:
            raise malformed_error(source, name, value, 'a number')
    elif key.startswith(('best_ckpt', 'last_ckpt')):
        check_entry_type(value, (str, type(None)), source, name)
    elif key == 'keep_ckpt_ids':
        check_entry_type(value, list, source, name)
        for step in value:
            check_count(step, source, name)
    elif key == 'stopped_ckpt':
        check_count(value, source, name)


def load_hub(hub: MessageHub, saved: dict) -> None:
    """Restore a checked state of a message hub, as MMEngine does.

    Args:
        hub: The message hub of the run. Entries that describe the run, such as the text of its
            config, are kept; MMEngine would replace them by those of the earlier run.
        saved: The state, from a checkpoint.
    """
    run_info = {key: hub.get_info(key) for key in _RUN_INFO if key in hub.runtime_info}
    restored_keys = {
        *saved['runtime_info'],
        *(key for key, value in saved['log_scalars'].items() if isinstance(value, HistoryBuffer)),
    }
    hub.load_state_dict(
        {
            'log_scalars': {
                key: HistoryBuffer(*value.data, value.max_length)
                for key, value in saved['log_scalars'].items()
                if isinstance(value, HistoryBuffer)
            },
            'runtime_info': {
                key: value for key, value in saved['runtime_info'].items() if key not in _RUN_INFO
            },
            'resumed_keys': {
                key: value
                for key, value in saved['resumed_keys'].items()
                if key in restored_keys and key not in _RUN_INFO
            },
        }
    )
    hub.update_info_dict(run_info)


def dataset_differences(saved, metainfo) -> list[str]:
    """Return how the descriptions of two datasets differ.

    Args:
        saved: `dataset_meta` of a checkpoint, or None.
        metainfo: `metainfo` of the training dataset, or None.

    Returns:
        A line for each difference.
    """
    if not isinstance(saved, dict) or not metainfo:
        return []
    metainfo = to_plain(metainfo)
    lines = []
    for key in dict.fromkeys([*metainfo, *saved]):
        first, second = saved.get(key), metainfo.get(key)
        if not values_equal(first, second):
            first, second = _first_difference(first, second)
            lines.append(f'{key}: checkpoint {shown(first, 60)}, config {shown(second, 60)}')
    return lines


def _first_difference(first, second) -> tuple:
    """Return the innermost parts in which two values differ."""
    while True:
        first, second = to_lists(first), to_lists(second)
        if isinstance(first, dict) and isinstance(second, dict):
            keys = [
                key
                for key in dict.fromkeys([*second, *first])
                if not values_equal(first.get(key), second.get(key))
            ]
            pair = first.get(keys[0]), second.get(keys[0])
        elif (
            isinstance(first, (list, tuple))
            and isinstance(second, (list, tuple))
            and len(first) == len(second)
        ):
            pair = next((a, b) for a, b in zip(first, second) if not values_equal(a, b))
        else:
            return first, second
        first, second = pair


def resume_report(source: str, settings: list[str], data: list[str]) -> str:
    """Return a report of the settings that a resumed run takes from its checkpoint.

    Args:
        source: Path of the checkpoint.
        settings: A line for each setting that differs from the config.
        data: A line for each difference of the dataset descriptions.

    Returns:
        The text to log; an empty string if nothing differs.
    """
    parts = []
    if settings:
        parts.append(
            f'{source} is resumed with its own settings; those of the config are not used:\n  '
            + _bullet_list(settings)
            + '\nTo train with the settings of the config, start a new run from the weights: '
            f'--load-from {source}, with another --work-dir'
        )
    if data:
        parts.append(
            f'{source} was trained on a dataset with another description:\n  ' + _bullet_list(data)
        )
    return '\n'.join(parts)


def _bullet_list(lines: list[str], most: int = 12) -> str:
    more = len(lines) - most
    return '\n  '.join(lines[:most] + [f'and {more} more'] * (more > 0))
