"""Check and restore the states of optimizers and schedules from a checkpoint.

The checks raise `CheckpointError` with the invalid entry, before anything is changed.
"""

import math
from copy import deepcopy

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.utils import apply_to
from torch.optim import Optimizer

from ..errors import CheckpointError, shown
from .saving import to_plain
from .state_checks import (
    check_count,
    check_entry_type,
    check_keys,
    is_number,
    is_scalar,
    list_keys,
    load_from_hint,
    malformed_error,
    mismatch_error,
    pair_entries,
    raise_not_plain,
    values_equal,
)

#: entries of a schedule's state that describe its progress, not its configuration
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
#: upper bound of the settings of an optimizer
_MAX_SETTING = 1e18
#: settings of an optimizer that cannot be negative
_NOT_NEGATIVE = ('lr', 'initial_lr', 'weight_decay', 'eps')


def check_optimizer(wrapper: OptimWrapper, state: dict, source: str, steps: int) -> list[str]:
    """Compare the state of an optimizer with the optimizer of the config.

    Args:
        wrapper: The optimizer, whose schedules have been built.
        state: The state, from a checkpoint.
        source: Path of the checkpoint, for error messages.
        steps: Number of completed iterations.

    Returns:
        A line for each setting that differs.

    Raises:
        CheckpointError: If the state is malformed, or belongs to other parameters or another
            optimizer.
    """
    if isinstance(wrapper, OptimWrapperDict):
        check_keys(state, wrapper.keys(), source, 'optimizer')
        return [
            f'{name}: {line}'
            for name, part in wrapper.items()
            for line in check_optimizer(part, state[name], source, steps)
        ]
    check_entry_type(state, dict, source, 'optimizer')
    optimizer = wrapper.optimizer
    _check_groups(optimizer, state.get('param_groups'), source)
    _check_states(optimizer, state, source, steps // getattr(wrapper, '_accumulative_counts', 1))
    _check_wrapper(wrapper, state, source)
    return _differing_settings(optimizer, state['param_groups'])


def _check_groups(optimizer: Optimizer, groups, source: str) -> None:
    """Check the parameter groups: their number, sizes and settings."""
    name = 'optimizer.param_groups'
    indices = []
    for place, saved, group in pair_entries(
        groups, optimizer.param_groups, source, name, 'parameter groups'
    ):
        params = saved.get('params')
        check_entry_type(params, list, source, f'{place}.params')
        if len(params) != len(group['params']):
            raise mismatch_error(
                source,
                f'{place} has {len(params)} parameters, but that of the config has '
                f'{len(group["params"])}',
            )
        for index in params:
            check_count(index, source, f'{place}.params')
        indices += params
        for key, value in group.items():
            if key == 'params':
                continue
            if key in optimizer.defaults:  # The setting may be new in this release of PyTorch.
                saved.setdefault(key, value)
            if key not in saved:
                raise malformed_error(source, f'{place}.{key}', None, repr(value))
            _check_compatible(saved[key], value, source, f'{place}.{key}')
            _check_range(key, saved[key], source, f'{place}.{key}')
        for key, value in saved.items():
            check_entry_type(key, str, source, f'a key of {place}')
            to_plain(
                value,
                f'{place}.{key}',
                lambda entry, value=value: raise_not_plain(source, entry, value),
            )
    if len(set(indices)) != len(indices):
        raise malformed_error(source, f'{name}.params', indices[:5], 'distinct indices')


def _check_states(optimizer: Optimizer, state: dict, source: str, steps: int) -> None:
    """Check the state that the optimizer has stored for each parameter."""
    states = state.get('state')
    check_entry_type(states, dict, source, 'optimizer.state')
    params = {}
    for saved, group in zip(state['param_groups'], optimizer.param_groups):
        params.update(
            (index, (param, saved)) for index, param in zip(saved['params'], group['params'])
        )
    for index in states:
        if index not in params or type(index) is not int:
            raise malformed_error(
                source,
                'a key of optimizer.state',
                index,
                f'the index of a parameter, 0 to {len(params) - 1}',
            )
    if not states and steps > 0:
        expected = _probe(optimizer, state['param_groups'][0], 1)
        if expected and any(torch.is_tensor(value) for value in expected.values()):
            raise CheckpointError(
                f'{source} contains no optimizer state (optimizer.state is empty), so it cannot '
                f'be resumed. {load_from_hint(source)}'
            )
    probes: dict = {}
    for index, entries in states.items():
        place = f'optimizer.state.{index}'
        check_entry_type(entries, dict, source, place)
        param, group = params[index]
        key = (id(group), param.dim())
        if key not in probes:
            probes[key] = _probe(optimizer, group, param.dim())
        _check_state(entries, param, probes[key], source, place)


def _check_state(
    entries: dict, param: torch.Tensor, probe: dict | None, source: str, place: str
) -> None:
    """Check the state of one parameter."""
    for name, value in entries.items():
        check_entry_type(name, str, source, f'a key of {place}')
        to_plain(
            value,
            f'{place}.{name}',
            lambda entry, value=value: raise_not_plain(source, entry, value),
        )
        if isinstance(value, float) and not math.isfinite(value):
            raise malformed_error(source, f'{place}.{name}', value, 'a finite number')
        if name == 'step':
            _check_range(name, value, source, f'{place}.{name}')
    if probe is None:
        return
    if set(entries) != set(probe):
        raise mismatch_error(
            source,
            f'{place} has {list_keys(entries)}; the optimizer of the config stores '
            f'{list_keys(probe)}',
        )
    for name, value in entries.items():
        expected = probe[name]
        # SGD without momentum stores None, and SGD with momentum starts from it.
        if expected is None or (value is None and name == 'momentum_buffer'):
            continue
        if torch.is_tensor(expected) != torch.is_tensor(value):
            if not (is_scalar(expected) and is_scalar(value)):
                raise malformed_error(
                    source, f'{place}.{name}', value, f'a {type(expected).__name__}'
                )
        elif torch.is_tensor(value):
            _check_tensor(value, expected, param, source, f'{place}.{name}')
        else:
            _check_compatible(value, expected, source, f'{place}.{name}')


def _check_tensor(
    value: torch.Tensor, expected: torch.Tensor, param: torch.Tensor, source: str, name: str
) -> None:
    """Check the shape, layout and data type of a tensor of the optimizer."""
    shape = None
    if expected.shape == _probe_shape(expected.dim()) and expected.dim():
        shape = param.shape
    elif expected.numel() == 1 and not expected.dim():
        shape = expected.shape
    if (
        shape is not None
        and value.shape != shape
        and not (value.numel() == 1 and expected.numel() == 1)
    ):
        raise malformed_error(source, name, value, f'a tensor {tuple(shape)}')
    if value.is_floating_point() != expected.is_floating_point() or (
        value.layout != expected.layout or (value.is_floating_point() and value.itemsize < 2)
    ):  # float8
        raise malformed_error(source, name, value.dtype, f'a tensor of {expected.dtype}')


def copy_tensors(state: dict) -> dict:
    """Copy a state such that each tensor has its own memory.

    Tensors in a file may be views of the same storage, which an optimizer would modify in place.

    Args:
        state: Dicts, lists and tensors.

    Returns:
        The copy.
    """
    return apply_to(
        state, torch.is_tensor, lambda value: value.clone(memory_format=torch.contiguous_format)
    )


def _check_range(key: str, value, source: str, name: str) -> None:
    """Check settings and counts that make an optimizer fail if they are out of range."""
    values = value if isinstance(value, (tuple, list)) else (value,)
    low, high = {'betas': (0, 1), 'step': (0, 2**53)}.get(
        key, (0, _MAX_SETTING) if key in _NOT_NEGATIVE else (-_MAX_SETTING, _MAX_SETTING)
    )
    for item in values:
        if isinstance(item, bool) or not is_scalar(item):
            continue
        if not low <= float(min(max(item, -2 * _MAX_SETTING), 2 * _MAX_SETTING)) <= high or (
            key == 'betas' and item == 1
        ):
            raise malformed_error(source, name, value, f'{low} to {high:g}')


def _probe_shape(dims: int) -> tuple[int, ...]:
    """Return a shape with distinct sizes, to recognize the shape of a parameter."""
    return (5, 3, 2, 4, 6, 7, 8)[:dims]


def _probe(optimizer: Optimizer, group: dict, dims: int) -> dict | None:
    """Return the state that an optimizer stores for a parameter after a step.

    Args:
        optimizer: Only its class and settings are used.
        group: Settings of the parameter.
        dims: Number of dimensions of the parameter.

    Returns:
        Name → value for a parameter of shape `_shape(dims)`; None if the optimizer cannot be tested
        in this way.
    """
    param = torch.nn.Parameter(torch.zeros(_probe_shape(dims)))
    param.grad = torch.zeros_like(param)
    settings = {key: deepcopy(value) for key, value in group.items() if key in optimizer.defaults}
    for key in ('fused', 'capturable', 'foreach'):
        if key in settings:
            settings[key] = False
    try:
        with torch.random.fork_rng(devices=[]):
            trial = type(optimizer)([{'params': [param], **settings}])
            trial.step()
    except Exception:  # The class may be user-defined, and the result is only used for checks.
        return None
    return dict(trial.state.get(param, {}))


def _check_wrapper(wrapper: OptimWrapper, state: dict, source: str) -> None:
    """Check the entries of an optimizer wrapper's state besides that of the optimizer."""
    current = to_plain(wrapper.state_dict())
    for key in ('loss_scaler', 'base_param_settings'):
        if key in state and key in current:
            check_keys(state[key], current[key], source, f'optimizer.{key}')
            _check_compatible(state[key], current[key], source, f'optimizer.{key}')


def _check_compatible(value, current, source: str, name: str, fixed: bool = False) -> None:
    """Check that a value has the same type and structure as the current value.

    Any number matches a number. Lists may differ in length, but tuples may not. Dicts need the same
    keys, unless the keys are numbers.

    Args:
        value: Value from a checkpoint.
        current: Current value.
        source, name: Path of the checkpoint and name of the entry, for error messages.
        fixed: Whether strings have to be equal.
    """
    if (
        isinstance(value, float)
        and not math.isfinite(value)
        and not (value == value and current in (math.inf, -math.inf))
    ):
        raise malformed_error(source, name, value, 'a finite number')
    if value is None or current is None:
        present = current if value is None else value
        matches = (
            present is None or isinstance(present, bool) or (current is None and is_scalar(value))
        )
    elif isinstance(current, bool) or isinstance(value, bool):
        matches = isinstance(current, bool) and isinstance(value, bool)
    elif is_scalar(current):
        matches = is_scalar(value)
    elif isinstance(current, str):
        matches = isinstance(value, str) and (value == current or not fixed)
    elif isinstance(current, (list, tuple)):
        matches = isinstance(value, (list, tuple)) and (
            isinstance(current, list) or len(value) == len(current)
        )
        for number, item in enumerate(value if matches and current else ()):
            _check_compatible(
                item, current[min(number, len(current) - 1)], source, f'{name}[{number}]', True
            )
    elif isinstance(current, dict):
        matches = isinstance(value, dict)
        has_number_keys = matches and all(map(is_number, [*current, *value]))
        if matches and not has_number_keys:
            check_keys(value, current, source, name)
        for key in value if matches else ():
            _check_compatible(
                value[key],
                next(iter(current.values()), 0) if has_number_keys else current[key],
                source,
                f'{name}.{key}',
                True,
            )
    elif torch.is_tensor(current):
        matches = torch.is_tensor(value) and value.shape == current.shape
    else:
        matches = type(value) is type(current)
    if not matches:
        raise malformed_error(
            source,
            name,
            value,
            repr(current)[:60] if isinstance(current, str) else f'a {type(current).__name__}',
        )


def _differing_settings(optimizer: Optimizer, groups: list[dict]) -> list[str]:
    """Return a line for each optimizer setting that differs between config and checkpoint."""
    lines = []
    for saved, group in zip(groups, optimizer.param_groups):
        scheduled = {key.removeprefix('initial_') for key in group if key.startswith('initial_')}
        if 'momentum' in scheduled:  # For Adam, momentum is the first of the betas.
            scheduled.add('betas')
        for key in group:
            if key == 'params' or key in scheduled or key not in saved:
                continue
            if not values_equal(saved[key], group[key]):
                lines.append(
                    f'optimizer {key.removeprefix("initial_")}: checkpoint '
                    f'{shown(saved[key], 60)}, config {shown(group[key], 60)}'
                )
    return list(dict.fromkeys(lines))


def check_schedules(schedules, saved, source: str) -> list[str]:
    """Compare the states of schedules with the schedules of the config.

    Args:
        schedules: The schedules of the run; for several optimizers, a dict of them; None if there
            are none.
        saved: The states, from a checkpoint.
        source: Path of the checkpoint, for error messages.

    Returns:
        A line for each setting that differs.

    Raises:
        CheckpointError: If the states are malformed, or belong to other schedules.
    """
    if isinstance(schedules, dict):
        check_keys(saved, schedules, source, 'param_schedulers')
        return [
            f'{name}: {line}'
            for name in schedules
            for line in check_schedules(schedules[name], saved[name], source)
        ]
    if not schedules:
        return (
            [
                'param_scheduler: none in the config; the learning rate remains that of the '
                "checkpoint's last step"
            ]
            if isinstance(saved, list | dict) and saved
            else []
        )
    if saved is None:
        raise CheckpointError(
            f'{source} contains no state of the schedule (param_schedulers), so it cannot be '
            f'resumed with this config. {load_from_hint(source)}'
        )
    lines = []
    for number, (place, state, schedule) in enumerate(
        pair_entries(saved, schedules, source, 'param_schedulers', 'schedules (param_scheduler)')
    ):
        expected = to_plain(schedule.state_dict())
        if set(state) != set(expected):
            raise mismatch_error(
                source,
                f'{place} has {list_keys(state)}; the '
                f'{type(schedule).__name__} in the config has {", ".join(expected)}',
            )
        for key, value in state.items():
            _check_compatible(value, expected[key], source, f'{place}.{key}', key == 'param_name')
            if key in ('last_step', '_global_step') and type(value) is not int:
                raise malformed_error(source, f'{place}.{key}', value, 'an integer')
            if key in ('_last_value', 'base_values') and len(value) != len(expected[key]):
                raise malformed_error(
                    source, f'{place}.{key}', value, f'{len(expected[key])} numbers'
                )
            if key not in _PROGRESS and not values_equal(value, expected[key]):
                lines.append(
                    f'param_scheduler[{number}] {type(schedule).__name__} {key}: checkpoint '
                    f'{shown(value, 60)}, config {shown(expected[key], 60)}'
                )
    return lines


def load_schedules(schedules, saved) -> None:
    """Restore checked states of schedules.

    Args:
        schedules: The schedules of the run; for several optimizers, a dict of them; None if there
            are none.
        saved: Their states.
    """
    if isinstance(schedules, dict):
        for name in schedules:
            load_schedules(schedules[name], saved[name])
        return
    for schedule, state in zip(schedules or [], saved or []):
        for key, value in state.items():
            current = getattr(schedule, key)
            # `MultiStepLR` stores its milestones in a `Counter`.
            state[key] = type(current)(value) if isinstance(current, dict) else value
        schedule.load_state_dict(state)
