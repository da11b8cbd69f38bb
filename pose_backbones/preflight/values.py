"""Check the types and ranges of config entries that MMEngine and MMPose do not check."""

from collections.abc import Callable
from math import isfinite
from typing import Any

from mmengine.config import Config

from ..configs import as_list
from ..errors import ConfigError

#: description of a value, and whether it is valid
_Rule = tuple[str, Callable[[Any], bool]]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _integer(minimum: int) -> _Rule:
    return (
        f'an integer of at least {minimum}',
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= minimum,
    )


def _one_of(*values: Any) -> _Rule:
    return f'one of {", ".join(map(repr, values))}', lambda value: value in values


_FLAG: _Rule = ('True or False', lambda value: isinstance(value, bool))
_TEXT: _Rule = ('a string', lambda value: isinstance(value, str))
_DICT: _Rule = ('a dict', lambda value: isinstance(value, dict))
_ITEMS: _Rule = (
    'a dict or a list of dicts',
    lambda value: all(
        isinstance(item, dict) for item in (value if isinstance(value, (list, tuple)) else [value])
    ),
)
_SIZE: _Rule = (
    'integers of at least 1, width and height',
    lambda value: (
        isinstance(value, (list, tuple))
        and len(value) >= 2  # of three dimensions in codecs for 3D poses
        and all(_integer(1)[1](side) for side in value)
    ),
)
_POSITIVE: _Rule = ('a positive number', lambda value: _is_number(value) and value > 0)
_SIGMA: _Rule = (
    'a positive number, or one for each axis',
    lambda value: all(
        map(_POSITIVE[1], value if isinstance(value, (list, tuple)) and value else [value])
    ),
)
_RATE: _Rule = ('a number of at least 0', lambda value: _is_number(value) and value >= 0)
#: dotted names → what is expected; entries that are missing or None are not checked
_RULES: dict[str, _Rule] = {
    'model': _DICT,
    'work_dir': _TEXT,
    'load_from': _TEXT,
    'resume': _one_of(True, False, 'auto'),
    'strict_load': _FLAG,
    'auto_scale_lr.base_batch_size': _integer(1),
    'log_processor.window_size': _integer(1),
    'param_scheduler': _ITEMS,
    'custom_hooks': _ITEMS,
    'codec.input_size': _SIZE,
    'codec.heatmap_size': _SIZE,
    'codec.sigma': _SIGMA,
    'model.head.decoder.sigma': _SIGMA,
    'model.head.out_channels': _integer(1),
    'model.test_cfg.flip_test': _FLAG,
    'model.test_cfg.flip_mode': _one_of('heatmap', 'udp_combined', 'offset'),
    'model.test_cfg.shift_heatmap': _FLAG,
    'optim_wrapper.optimizer.lr': _RATE,
    'optim_wrapper.clip_grad.max_norm': _POSITIVE,
    'optim_wrapper.accumulative_counts': _integer(1),
}
#: the same in the data loaders; these must not be None
_LOADER_RULES: dict[str, _Rule] = {
    'batch_size': _integer(1),
    'num_workers': _integer(0),
    'dataset': _DICT,
    'dataset.ann_file': _TEXT,
    'dataset.data_prefix': _DICT,
    'dataset.pipeline': (
        'a list of transforms with at least one',
        lambda value: isinstance(value, (list, tuple)) and len(value) > 0,
    ),
}
_MISSING = object()


def check_values(cfg: Config) -> None:
    """Check config entries whose wrong values would be ignored, or end in an unclear error.

    Args:
        cfg: The config.

    Raises:
        ConfigError: With the name of the entry, its value and what is expected.
    """
    for name, rule in _RULES.items():
        value = _find(cfg._cfg_dict, name)
        if value is not _MISSING and value is not None:
            _check(name, value, rule)
    for index, schedule in enumerate(as_list(cfg.get('param_scheduler'))):
        if 'start_factor' in schedule:  # MMEngine divides by it
            name = f'param_scheduler.{index}.start_factor'
            _check(name, schedule['start_factor'], _POSITIVE)
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        for name, rule in _LOADER_RULES.items() if isinstance(loader, dict) else ():
            value = _find(loader, name)
            if value is not _MISSING:
                _check(f'{split}_dataloader.{name}', value, rule)


def _check(name: str, value: Any, rule: _Rule) -> None:
    expected, is_valid = rule
    if not is_valid(value):
        raise ConfigError(f'{name}={value!r}: expected {expected}')


def _find(part: Any, name: str) -> Any:
    """Return the value with a dotted name, or `_MISSING`."""
    for key in name.split('.'):
        if not isinstance(part, dict) or key not in part:
            return _MISSING
        part = part[key]
    return part
