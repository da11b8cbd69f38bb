"""What a checkpoint says of a run, checked before any of it is used.

A checkpoint is data of unknown origin. Nothing here runs code from it or
opens a path that it names. Each function raises `CheckpointError` with the
entry that is wrong; nothing has been changed by then.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.utils import apply_to
from torch.optim import Optimizer

from ..errors import CheckpointError
from .saving import not_finite, plain, some

#: what a run has in its own message hub, and does not take from a file
_OWN_INFO = ('cfg', 'experiment_name', 'mmengine_version')
#: steps that a schedule has done, in place of how it is configured
_PROGRESS = (
    'last_step',
    '_global_step',
    '_last_value',
    'best',
    'num_bad_epochs',
    'cooldown_counter',
    'base_values',
    'verbose',
)
_SEEDS = 2**32  # NumPy's
#: settings of optimizers: none of a real one is larger, or negative
_LARGEST = 1e18
_NOT_NEGATIVE = ('lr', 'initial_lr', 'weight_decay', 'eps')


def check_training_state(checkpoint: dict, source: str) -> dict:
    """Refuse a checkpoint that no run can continue from.

    Args:
        checkpoint: As read.
        source: Its file, for messages.

    Returns:
        Its `meta`, with whole numbers for `iter` and `epoch` and a number or
        None for `seed`.

    Raises:
        CheckpointError: With what is missing or malformed.
    """
    meta = checkpoint.get('meta', {})
    if isinstance(meta, dict) and not ('iter' in meta and 'epoch' in meta):
        raise CheckpointError(
            f'{source} holds weights but no state of training, so it cannot '
            f'be resumed. {_from_weights(source)}'
        )
    _check_kind(meta, dict, source, 'meta')
    for key in ('iter', 'epoch'):
        _check_count(meta[key], source, f'meta.{key}')
    seed = meta.get('seed')
    if seed is not None:
        _check_count(seed, source, 'meta.seed', _SEEDS)
    if not checkpoint.get('optimizer') and 'param_schedulers' not in (checkpoint):
        raise CheckpointError(
            f'{source} holds no state of optimizer and schedule (best_*.pth '
            'and published checkpoints hold weights alone), so it cannot be '
            f'resumed. Resume iter_*.pth or epoch_*.pth instead. '
            f'{_from_weights(source)}'
        )
    if not checkpoint.get('optimizer'):
        raise CheckpointError(
            f'{source} holds no optimizer state, so it cannot be resumed. {_from_weights(source)}'
        )
    _check_kind(checkpoint['optimizer'], dict, source, 'optimizer')
    _check_kind(checkpoint.get('state_dict'), dict, source, 'state_dict')
    _check_hub(checkpoint.get('message_hub'), source)
    broken = not_finite(
        {
            key: checkpoint[key]
            for key in ('state_dict', 'ema_state_dict', 'optimizer')
            if key in checkpoint
        }
    )
    if broken:
        raise CheckpointError(
            f'{source} cannot be resumed: NaN or infinity in {some(broken)}. '
            'Resume an earlier checkpoint'
        )
    return meta


def check_limits(meta: dict, train_cfg: Mapping, source: str) -> None:
    """Refuse a checkpoint of a longer run than the config's.

    Args:
        meta: From `check_training_state`.
        train_cfg: Of the config.
        source: The checkpoint's file, for messages.

    Raises:
        CheckpointError: With both numbers.
    """
    for limit, key in (('max_iters', 'iter'), ('max_epochs', 'epoch')):
        end = train_cfg.get(limit)
        if isinstance(end, int) and meta[key] > end:
            raise CheckpointError(
                f'{source} is at {key} {meta[key]}, after the end of the '
                f'training, train_cfg.{limit}={end}: raise {limit}, or '
                'resume an earlier checkpoint'
            )


def _from_weights(source: str) -> str:
    return f'To start a new training from its weights: --load-from {source}'


def _unfit(source: str, text: str) -> CheckpointError:
    return CheckpointError(f'{source} does not fit the config: {text}. {_from_weights(source)}')


def _paired(
    saved, own: Sequence, source: str, name: str, what: str
) -> Iterator[tuple[str, dict, object]]:
    """Pair the dicts of a list in a checkpoint with what the run has.

    Args:
        saved: From a checkpoint.
        own: Of the run.
        source: The checkpoint's file, for messages.
        name: Of the list.
        what: Its items are, in the plural.

    Yields:
        Name of an item, the checkpoint's dict and the run's own.
    """
    _check_kind(saved, list, source, name)
    if len(saved) != len(own):
        raise _unfit(source, f'it was trained with {len(saved)} {what}, the config has {len(own)}')
    for number, (item, mine) in enumerate(zip(saved, own)):
        place = f'{name}[{number}]'
        _check_kind(item, dict, source, place)
        yield place, item, mine


def _malformed(source: str, name: str, value, expected: str):
    shown = f'a tensor {tuple(value.shape)}' if torch.is_tensor(value) else f'{value!r:.60}'
    return CheckpointError(
        f'{source} is damaged or not a checkpoint of MMEngine: {name} is '
        f'{shown}; expected {expected}'
    )


def _check_kind(value, kind: type | tuple, source: str, name: str) -> None:
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise _malformed(source, name, value, ' or '.join(one.__name__ for one in kinds))


def _check_count(value, source: str, name: str, end: int = 2**63) -> None:
    if type(value) is not int or not 0 <= value < end:
        raise _malformed(source, name, value, 'a whole number from 0 on')


def _check_hub(hub, source: str) -> None:
    """Check the three parts of a message hub."""
    _check_kind(hub, dict, source, 'message_hub')
    for part in ('log_scalars', 'runtime_info', 'resumed_keys'):
        place = f'message_hub.{part}'
        _check_kind(hub.get(part), dict, source, place)
        for key in hub[part]:
            _check_kind(key, str, source, f'a key of {place}')
    for key, value in hub['log_scalars'].items():
        if isinstance(value, HistoryBuffer):
            _check_history(value, source, f'message_hub.log_scalars.{key}')
    for key, value in hub['resumed_keys'].items():
        _check_kind(value, bool, source, f'message_hub.resumed_keys.{key}')
    for key, value in hub['runtime_info'].items():
        place = f'message_hub.runtime_info.{key}'
        plain(value, place, lambda entry, value=value: _refuse(source, entry, value))
        _check_record(key, value, source, place)


def _refuse(source: str, name: str, value) -> None:
    raise _malformed(source, name, value, 'plain data')


def _check_history(buffer: HistoryBuffer, source: str, name: str) -> None:
    try:
        logs, counts = buffer.data
        right = (
            logs.ndim == counts.ndim == 1
            and len(logs) == len(counts)
            and logs.dtype.kind in 'biuf'
            and counts.dtype.kind in 'biuf'
            and type(buffer.max_length) is int
            and buffer.max_length > 0
        )
    except (AttributeError, TypeError, ValueError):
        right = False
    if not right:
        raise _malformed(source, name, type(buffer).__name__, 'two rows of numbers of one length')


def _check_record(key: str, value, source: str, name: str) -> None:
    """Check what is recorded of other checkpoints (`SafeCheckpointHook`)."""
    if key.startswith('best_score'):
        value = value.item() if isinstance(value, torch.Tensor) and (value.numel() == 1) else value
        if not _is_number(value) or math.isnan(value):
            raise _malformed(source, name, value, 'a number')
    elif key.startswith(('best_ckpt', 'last_ckpt')):
        _check_kind(value, (str, type(None)), source, name)
    elif key == 'keep_ckpt_ids':
        _check_kind(value, list, source, name)
        for step in value:
            _check_count(step, source, name)
    elif key == 'stopped_ckpt':
        _check_count(value, source, name)


def _is_number(value) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def load_hub(hub: MessageHub, saved: dict) -> None:
    """Put a checked state into a message hub, as MMEngine does.

    Args:
        hub: Of the run. What says which run it is stays: MMEngine would take
            the config's text of the earlier run.
        saved: From a checkpoint.
    """
    own = {key: hub.get_info(key) for key in _OWN_INFO if key in hub.runtime_info}
    known = {
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
                key: value for key, value in saved['runtime_info'].items() if key not in _OWN_INFO
            },
            'resumed_keys': {
                key: value
                for key, value in saved['resumed_keys'].items()
                if key in known and key not in _OWN_INFO
            },
        }
    )
    hub.update_info_dict(own)


def check_optimizer(wrapper: OptimWrapper, state: dict, source: str, steps: int) -> list[str]:
    """Compare an optimizer's state with the optimizer of the config.

    Args:
        wrapper: The optimizer, its schedules built.
        state: From a checkpoint.
        source: Its file, for messages.
        steps: That the run has done.

    Returns:
        Settings that differ, each as text.

    Raises:
        CheckpointError: If the state is malformed, or of other parameters
            or another optimizer.
    """
    if isinstance(wrapper, OptimWrapperDict):
        _check_names(state, wrapper.keys(), source, 'optimizer')
        return [
            f'{name}: {line}'
            for name, one in wrapper.items()
            for line in check_optimizer(one, state[name], source, steps)
        ]
    _check_kind(state, dict, source, 'optimizer')
    optimizer = wrapper.optimizer
    _check_groups(optimizer, state.get('param_groups'), source)
    _check_states(optimizer, state, source, steps // getattr(wrapper, '_accumulative_counts', 1))
    _check_wrapper(wrapper, state, source)
    return _other_settings(optimizer, state['param_groups'])


def _check_names(found, expected, source: str, name: str) -> None:
    _check_kind(found, dict, source, name)
    expected = list(expected)
    if set(found) != set(expected):
        raise CheckpointError(
            f'{source} does not fit the config: {name} has '
            f'{", ".join(map(str, found)) or "nothing"}; the config has '
            f'{", ".join(map(str, expected))}'
        )


def _check_groups(optimizer: Optimizer, groups, source: str) -> None:
    """Check the groups of parameters: how many, their sizes and settings."""
    name = 'optimizer.param_groups'
    numbers = []
    for place, saved, group in _paired(
        groups, optimizer.param_groups, source, name, 'groups of parameters'
    ):
        params = saved.get('params')
        _check_kind(params, list, source, f'{place}.params')
        if len(params) != len(group['params']):
            raise _unfit(
                source,
                f'{place} has {len(params)} parameters, that of the config {len(group["params"])}',
            )
        for index in params:
            _check_count(index, source, f'{place}.params')
        numbers += params
        for key, value in group.items():
            if key == 'params':
                continue
            if key in optimizer.defaults:  # new in this release of PyTorch
                saved.setdefault(key, value)
            if key not in saved:
                raise _malformed(source, f'{place}.{key}', None, repr(value))
            _check_alike(saved[key], value, source, f'{place}.{key}')
            _check_range(key, saved[key], source, f'{place}.{key}')
        for key, value in saved.items():
            _check_kind(key, str, source, f'a key of {place}')
            plain(value, f'{place}.{key}', lambda entry, value=value: _refuse(source, entry, value))
    if len(set(numbers)) != len(numbers):
        raise _malformed(source, f'{name}.params', numbers[:5], 'each number once')


def _check_states(optimizer: Optimizer, state: dict, source: str, steps: int) -> None:
    """Check what the optimizer has stored for each parameter."""
    states = state.get('state')
    _check_kind(states, dict, source, 'optimizer.state')
    params = {}
    for saved, group in zip(state['param_groups'], optimizer.param_groups):
        params.update(
            (index, (param, saved)) for index, param in zip(saved['params'], group['params'])
        )
    for index in states:
        if index not in params or type(index) is not int:
            raise _malformed(
                source,
                'a key of optimizer.state',
                index,
                f'the number of a parameter, 0 to {len(params) - 1}',
            )
    if not states and steps > 0:
        expected = _probe(optimizer, state['param_groups'][0], 1)
        if expected and any(torch.is_tensor(value) for value in expected.values()):
            raise CheckpointError(
                f'{source} holds no optimizer state (optimizer.state is '
                f'empty), so it cannot be resumed. {_from_weights(source)}'
            )
    probes: dict = {}
    for index, entries in states.items():
        place = f'optimizer.state.{index}'
        _check_kind(entries, dict, source, place)
        param, group = params[index]
        key = (id(group), param.dim())
        if key not in probes:
            probes[key] = _probe(optimizer, group, param.dim())
        _check_state(entries, param, probes[key], source, place)


def _check_state(
    entries: dict, param: torch.Tensor, probe: dict | None, source: str, place: str
) -> None:
    for name, value in entries.items():
        _check_kind(name, str, source, f'a key of {place}')
        plain(value, f'{place}.{name}', lambda entry, value=value: _refuse(source, entry, value))
        if isinstance(value, float) and not math.isfinite(value):
            raise _malformed(source, f'{place}.{name}', value, 'a finite number')
        if name == 'step':
            _check_range(name, value, source, f'{place}.{name}')
    if probe is None:
        return
    if set(entries) != set(probe):
        raise _unfit(
            source,
            f'{place} has {", ".join(entries) or "nothing"}'
            '; the optimizer of the config stores '
            f'{", ".join(probe) or "nothing"}',
        )
    for name, value in entries.items():
        expected = probe[name]
        if value is None or expected is None:
            continue
        if torch.is_tensor(expected) != torch.is_tensor(value):
            if not (_is_scalar(expected) and _is_scalar(value)):
                raise _malformed(source, f'{place}.{name}', value, f'a {type(expected).__name__}')
        elif torch.is_tensor(value):
            _check_tensor(value, expected, param, source, f'{place}.{name}')
        else:
            _check_alike(value, expected, source, f'{place}.{name}')


def _is_scalar(value) -> bool:
    """Whether something is a number, or a tensor of one."""
    return _is_number(value) or (torch.is_tensor(value) and value.numel() == 1)


def _check_tensor(
    value: torch.Tensor, expected: torch.Tensor, param: torch.Tensor, source: str, name: str
) -> None:
    shape = None
    if expected.shape == _shape(expected.dim()) and expected.dim():
        shape = param.shape
    elif expected.numel() == 1 and not expected.dim():
        shape = expected.shape
    if (
        shape is not None
        and value.shape != shape
        and not (value.numel() == 1 and expected.numel() == 1)
    ):
        raise _malformed(source, name, value, f'a tensor {tuple(shape)}')
    if value.is_floating_point() != expected.is_floating_point() or (
        value.layout != expected.layout or (value.is_floating_point() and value.itemsize < 2)
    ):  # float8
        raise _malformed(source, name, value.dtype, f'a tensor of {expected.dtype}')


def own_tensors(state: dict) -> dict:
    """A state whose tensors have memory of their own, each of its own.

    Tensors of a file may be views of one another, which an optimizer would
    write into.

    Args:
        state: Dicts, lists and tensors.

    Returns:
        A copy.
    """
    return apply_to(
        state, torch.is_tensor, lambda value: value.clone(memory_format=torch.contiguous_format)
    )


def _check_range(key: str, value, source: str, name: str) -> None:
    """Check settings and counts whose values break an optimizer."""
    numbers = value if isinstance(value, (tuple, list)) else (value,)
    low, high = {'betas': (0, 1), 'step': (0, 2**53)}.get(
        key, (0, _LARGEST) if key in _NOT_NEGATIVE else (-_LARGEST, _LARGEST)
    )
    for number in numbers:
        if isinstance(number, bool) or not _is_scalar(number):
            continue
        if not low <= float(min(max(number, -2 * _LARGEST), 2 * _LARGEST)) <= high or (
            key == 'betas' and number == 1
        ):
            raise _malformed(source, name, value, f'{low} to {high:g}')


def _shape(dims: int) -> tuple[int, ...]:
    return (5, 3, 2, 4, 6, 7, 8)[:dims]


def _probe(optimizer: Optimizer, group: dict, dims: int) -> dict | None:
    """What an optimizer stores for a parameter after a step.

    Args:
        optimizer: Only its class and settings are used.
        group: Settings of the parameter.
        dims: Of the parameter.

    Returns:
        Name → value for a parameter of the shape `_shape(dims)`; None for
        an optimizer that cannot be tried this way.
    """
    param = torch.nn.Parameter(torch.zeros(_shape(dims)))
    param.grad = torch.zeros_like(param)
    settings = {key: deepcopy(value) for key, value in group.items() if key in optimizer.defaults}
    for key in ('fused', 'capturable', 'foreach'):
        if key in settings:
            settings[key] = False
    try:
        with torch.random.fork_rng(devices=[]):
            trial = type(optimizer)([{'params': [param], **settings}])
            trial.step()
    except Exception:  # any class of anybody: it only helps the checks
        return None
    return dict(trial.state.get(param, {}))


def _check_wrapper(wrapper: OptimWrapper, state: dict, source: str) -> None:
    """Check what stands beside the optimizer's state in a wrapper's."""
    own = plain(wrapper.state_dict())
    for key in ('loss_scaler', 'base_param_settings'):
        if key in state and key in own:
            _check_names(state[key], own[key], source, f'optimizer.{key}')
            _check_alike(state[key], own[key], source, f'optimizer.{key}')


def _check_alike(value, own, source: str, name: str, fixed: bool = False) -> None:
    """Check that a value is of the kind of the run's own.

    Any number stands for a number. Lists, other than tuples, may have
    another length; dicts have the same keys unless these are numbers.

    Args:
        value: From a checkpoint.
        own: Of the run.
        source, name: For the message.
        fixed: Whether text has to be the same.
    """
    if (
        isinstance(value, float)
        and not math.isfinite(value)
        and not (value == value and own in (math.inf, -math.inf))
    ):
        raise _malformed(source, name, value, 'a finite number')
    if value is None or own is None:
        other = own if value is None else value
        alike = other is None or isinstance(other, bool) or (own is None and _is_scalar(value))
    elif isinstance(own, bool) or isinstance(value, bool):
        alike = isinstance(own, bool) and isinstance(value, bool)
    elif _is_scalar(own):
        alike = _is_scalar(value)
    elif isinstance(own, str):
        alike = isinstance(value, str) and (value == own or not fixed)
    elif isinstance(own, (list, tuple)):
        alike = isinstance(value, (list, tuple)) and (
            isinstance(own, list) or len(value) == len(own)
        )
        for number, item in enumerate(value if alike and own else ()):
            _check_alike(item, own[min(number, len(own) - 1)], source, f'{name}[{number}]', True)
    elif isinstance(own, dict):
        alike = isinstance(value, dict)
        counted = alike and all(map(_is_number, [*own, *value]))
        if alike and not counted:
            _check_names(value, own, source, name)
        for key in value if alike else ():
            _check_alike(
                value[key],
                next(iter(own.values()), 0) if counted else own[key],
                source,
                f'{name}.{key}',
                True,
            )
    elif torch.is_tensor(own):
        alike = torch.is_tensor(value) and value.shape == own.shape
    else:
        alike = type(value) is type(own)
    if not alike:
        raise _malformed(
            source,
            name,
            value,
            repr(own)[:60] if isinstance(own, str) else f'a {type(own).__name__}',
        )


def _other_settings(optimizer: Optimizer, groups: list[dict]) -> list[str]:
    """Settings of the optimizer that differ in config and checkpoint."""
    lines = []
    for saved, own in zip(groups, optimizer.param_groups):
        scheduled = {key.removeprefix('initial_') for key in own if key.startswith('initial_')}
        if 'momentum' in scheduled:  # of Adam, it is the first of the two
            scheduled.add('betas')
        for key in own:
            if key == 'params' or key in scheduled or key not in saved:
                continue
            if not _same(saved[key], own[key]):
                lines.append(
                    f'optimizer {key.removeprefix("initial_")}: checkpoint '
                    f'{saved[key]!r:.60}, config {own[key]!r:.60}'
                )
    return list(dict.fromkeys(lines))


def check_schedules(own, saved, source: str) -> list[str]:
    """Compare schedules with those of the config.

    Args:
        own: Schedules that are built; a dict of them for several optimizers;
            None for no schedule.
        saved: From a checkpoint.
        source: Its file, for messages.

    Returns:
        Settings that differ, each as text.

    Raises:
        CheckpointError: If they are malformed, or other schedules.
    """
    if isinstance(own, dict):
        _check_names(saved, own, source, 'param_schedulers')
        return [
            f'{name}: {line}'
            for name in own
            for line in check_schedules(own[name], saved[name], source)
        ]
    if not own:
        return (
            [
                'param_scheduler: none in the config; the learning rate stays '
                "as in the checkpoint's last step"
            ]
            if saved
            else []
        )
    if saved is None:
        raise CheckpointError(
            f'{source} holds no state of the schedule (param_schedulers), so '
            f'it cannot be resumed with this config. {_from_weights(source)}'
        )
    lines = []
    for number, (place, state, schedule) in enumerate(
        _paired(saved, own, source, 'param_schedulers', 'schedules (param_scheduler)')
    ):
        expected = plain(schedule.state_dict())
        if set(state) != set(expected):
            raise _unfit(
                source,
                f'{place} has {", ".join(map(str, state)) or "nothing"}; a '
                f'{type(schedule).__name__}, as in the config, has '
                f'{", ".join(expected)}',
            )
        for key, value in state.items():
            _check_alike(value, expected[key], source, f'{place}.{key}', key == 'param_name')
            if key in ('last_step', '_global_step') and type(value) is not int:
                raise _malformed(source, f'{place}.{key}', value, 'a whole number')
            if key in ('_last_value', 'base_values') and len(value) != len(expected[key]):
                raise _malformed(source, f'{place}.{key}', value, f'{len(expected[key])} numbers')
            if key not in _PROGRESS and not _same(value, expected[key]):
                lines.append(
                    f'param_scheduler[{number}] {type(schedule).__name__} '
                    f'{key}: checkpoint {value!r:.60}, config '
                    f'{expected[key]!r:.60}'
                )
    return lines


def load_schedules(own, saved) -> None:
    """Put checked states into schedules.

    Args:
        own: Schedules that are built; a dict of them for several optimizers;
            None for no schedule.
        saved: Their states.
    """
    if isinstance(own, dict):
        for name in own:
            load_schedules(own[name], saved[name])
        return
    for schedule, state in zip(own or [], saved or []):
        for key, value in state.items():
            mine = getattr(schedule, key)
            # `MultiStepLR` counts its milestones in a Counter.
            state[key] = type(mine)(value) if isinstance(mine, dict) else value
        schedule.load_state_dict(state)


def _same(first, second) -> bool:
    """Whether two values are equal: arrays by value, lists as tuples."""
    first, second = _as_lists(first), _as_lists(second)
    if isinstance(first, dict) and isinstance(second, dict):
        return set(first) == set(second) and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(_same, first, second))
    return bool(first == second)


def _as_lists(value):
    """The values of an array."""
    return value.tolist() if isinstance(value, (np.ndarray, torch.Tensor)) else value


def other_data(saved, own) -> list[str]:
    """What differs in the descriptions of two data sets.

    Args:
        saved: `dataset_meta` of a checkpoint; None if it has none.
        own: `metainfo` of the training data; None if it has none.

    Returns:
        Each difference as text.
    """
    if not isinstance(saved, dict) or not own:
        return []
    own = plain(own)
    lines = []
    for key in dict.fromkeys([*own, *saved]):
        first, second = saved.get(key), own.get(key)
        if not _same(first, second):
            first, second = _first_difference(first, second)
            lines.append(f'{key}: checkpoint {first!r:.60}, config {second!r:.60}')
    return lines


def _first_difference(first, second) -> tuple:
    """The parts in which two values differ, as deep as possible."""
    while True:
        first, second = _as_lists(first), _as_lists(second)
        if isinstance(first, dict) and isinstance(second, dict):
            keys = [
                key
                for key in dict.fromkeys([*second, *first])
                if not _same(first.get(key), second.get(key))
            ]
            pair = first.get(keys[0]), second.get(keys[0])
        elif (
            isinstance(first, (list, tuple))
            and isinstance(second, (list, tuple))
            and len(first) == len(second)
        ):
            pair = next((a, b) for a, b in zip(first, second) if not _same(a, b))
        else:
            return first, second
        first, second = pair


def resume_report(source: str, settings: list[str], data: list[str]) -> str:
    """What a resumed run takes from its checkpoint, in place of the config.

    Args:
        source: The checkpoint's file.
        settings: That differ, each as text.
        data: Differences of the data sets, each as text.

    Returns:
        The text to log; empty if nothing differs.
    """
    parts = []
    if settings:
        parts.append(
            f'{source} is resumed with its own settings; those of the config '
            'are not used:\n  ' + _listed(settings) + '\nTo train with the '
            "config's, start a new run from the weights: --load-from "
            f'{source}, with another --work-dir'
        )
    if data:
        parts.append(
            f'{source} was trained on a data set of another description:\n  ' + _listed(data)
        )
    return '\n'.join(parts)


def _listed(lines: list[str], most: int = 12) -> str:
    more = len(lines) - most
    return '\n  '.join(lines[:most] + [f'and {more} more'] * (more > 0))
