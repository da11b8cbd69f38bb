"""Check the types and ranges of config entries that MMEngine and MMPose do not check."""

import inspect
import logging
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from ..configs import as_list, find_datasets
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
_POSITIVES: _Rule = (
    'a positive number, or one for each axis or channel',
    lambda value: all(
        map(_POSITIVE[1], value if isinstance(value, (list, tuple)) and value else [value])
    ),
)
_ODD: _Rule = (
    'an odd integer of at least 1',
    lambda value: _integer(1)[1](value) and value % 2 == 1,
)
_NUMBER: _Rule = ('a finite number', _is_number)
_SHARE: _Rule = ('a number from 0 to 1', lambda value: _is_number(value) and 0 <= value <= 1)
_INDICES: _Rule = (
    'a number of samples of at least 1, or a list of indices with at least one',
    lambda value: (
        (isinstance(value, (list, tuple)) and len(value) > 0)
        or (isinstance(value, int) and not isinstance(value, bool) and value != 0)
    ),
)
_RATE: _Rule = ('a number of at least 0', lambda value: _is_number(value) and value >= 0)
#: dotted names → what is expected; entries that are missing or None are not checked
_RULES: dict[str, _Rule] = {
    'model': _DICT,
    'work_dir': _TEXT,
    'load_from': _TEXT,
    'log_level': _one_of('CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG', 'NOTSET'),
    'resume': _one_of(True, False, 'auto'),
    'strict_load': _FLAG,
    'auto_scale_lr.base_batch_size': _integer(1),
    'log_processor.window_size': _integer(1),
    'param_scheduler': _ITEMS,
    'custom_hooks': _ITEMS,
    'default_hooks': _DICT,
    'randomness.seed': (
        'an integer from 0 to 2**32 - 1',
        lambda value: _integer(0)[1](value) and value < 2**32,
    ),
    'codec.input_size': _SIZE,
    'codec.heatmap_size': _SIZE,
    'codec.sigma': _POSITIVES,
    'model.head.decoder.sigma': _POSITIVES,
    'codec.blur_kernel_size': _ODD,
    'model.head.decoder.blur_kernel_size': _ODD,
    'model.data_preprocessor.std': _POSITIVES,
    'model.head.out_channels': _integer(1),
    'model.train_cfg': _DICT,
    'model.test_cfg': _DICT,
    'model.head.loss.loss_weight': _POSITIVE,
    'model.test_cfg.flip_test': _FLAG,
    'model.test_cfg.flip_mode': _one_of('heatmap', 'udp_combined', 'offset'),
    'model.test_cfg.shift_heatmap': _FLAG,
    'optim_wrapper.optimizer.lr': _RATE,
    'optim_wrapper.clip_grad': _DICT,
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
#: the same in the datasets of the loaders, also in wrappers; None is valid
_DATASET_RULES: dict[str, _Rule] = {
    'max_refetch': _integer(0),
    'filter_cfg': _DICT,
    'filter_cfg.bbox_score_thr': _NUMBER,
    'indices': _INDICES,
    'sample_interval': _integer(1),
}
#: the same in metrics
_METRIC_RULES: dict[str, _Rule] = {
    'nms_thr': _SHARE,
    'keypoint_score_thr': _NUMBER,
    'use_area': _FLAG,
    'format_only': _FLAG,
    'iou_type': _one_of('keypoints', 'keypoints_crowd'),
    'collect_device': _one_of('cpu', 'gpu'),
    'prefix': _TEXT,
    'outfile_prefix': _TEXT,
}
#: entries that must be dicts if the config has them
_DICTS = ('env_cfg', 'randomness', 'model.data_preprocessor', 'model.backbone', 'model.head')
_MISSING = object()


def check_values(cfg: Config, trains: bool = True) -> None:
    """Check config entries whose wrong values would be ignored, or end in an unclear error.

    Args:
        cfg: The config.
        trains: Whether the run trains the model; otherwise, only the test data are checked.

    Raises:
        ConfigError: With the name of the entry, its value and what is expected.
    """
    _check_rules(cfg._cfg_dict, '', _RULES)
    for name in _DICTS:
        value = _find(cfg._cfg_dict, name)
        if value is not _MISSING:
            _check(name, value, _DICT)
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None:
            _check(f'default_hooks.{name}', hook, _DICT)
    for split in ('train', 'val', 'test') if trains else ('test',):
        loader = cfg.get(f'{split}_dataloader')
        for name, rule in _LOADER_RULES.items() if isinstance(loader, dict) else ():
            value = _find(loader, name)
            if value is not _MISSING:
                _check(f'{split}_dataloader.{name}', value, rule)
        for place, dataset in find_datasets(cfg, split):
            _check_rules(dataset, f'{place}.', _DATASET_RULES)
            _check_channels(cfg, place, dataset)
        metrics = cfg.get(f'{split}_evaluator')
        if isinstance(loader, dict) and metrics is not None and not metrics:
            raise ConfigError(f'{split}_evaluator={metrics!r}: expected at least one metric')
        for number, metric in enumerate(as_list(metrics)):
            index = f'.{number}' if isinstance(metrics, (list, tuple)) else ''
            _check(f'{split}_evaluator{index}', metric, _DICT)
            _check_rules(metric, f'{split}_evaluator{index}.', _METRIC_RULES)
        if split != 'train' and isinstance(loader, dict) and loader.get('drop_last'):
            raise ConfigError(
                f'{split}_dataloader.drop_last={loader["drop_last"]!r}: the last samples would not '
                'be evaluated: set it to False'
            )
    _check_sigma(cfg)
    if not trains:
        return
    _check_schedules(cfg)
    _check_clipping(cfg)
    if _find(cfg._cfg_dict, 'optim_wrapper.optimizer.lr') == 0:
        print_log(
            'optim_wrapper.optimizer.lr=0: the weights do not change', 'current', logging.WARNING
        )


def _check_channels(cfg: Config, place: str, dataset: Mapping) -> None:
    """Check that images have as many channels as are normalized."""
    mean = _find(cfg._cfg_dict, 'model.data_preprocessor.mean')
    for number, step in enumerate(dataset.get('pipeline') or ()):
        kind = isinstance(step, Mapping) and step.get('color_type')
        if kind == 'grayscale' and isinstance(mean, (list, tuple)) and len(mean) == 3:
            raise ConfigError(
                f"{place}.pipeline.{number}.color_type='grayscale', but "
                'model.data_preprocessor.mean has three values: expected '
                "'color', which also reads grey images"
            )


def _check_sigma(cfg: Config) -> None:
    """Check that the Gaussians of the targets are not larger than the heatmaps."""
    size, sigma = (_find(cfg._cfg_dict, f'codec.{name}') for name in ('heatmap_size', 'sigma'))
    if _is_number(sigma) and isinstance(size, (list, tuple)) and sigma > max(size):
        raise ConfigError(
            f'codec.sigma={sigma!r}: expected at most {max(size)}, the longer side of '
            f'codec.heatmap_size, {tuple(size)}'
        )


def _check_schedules(cfg: Config) -> None:
    """Check schedules whose error MMEngine raises late, or that never change anything."""
    train = cfg.get('train_cfg') or {}
    by_iterations = isinstance(train, dict) and (
        train.get('by_epoch') is False or 'max_iters' in train
    )
    for index, schedule in enumerate(as_list(cfg.get('param_scheduler'))):
        name = f'param_scheduler.{index}'
        if 'start_factor' in schedule:  # MMEngine divides by it
            _check(f'{name}.start_factor', schedule['start_factor'], _POSITIVE)
        if (
            by_iterations
            and schedule.get('by_epoch', True)
            and not schedule.get('convert_to_iter_based')
        ):
            raise ConfigError(
                f'{name}: the run trains by iterations, so by_epoch=True would never change the '
                'learning rate: set by_epoch=False'
            )


def _check_clipping(cfg: Config) -> None:
    """Check the names of the arguments with which gradients are clipped."""
    options = _find(cfg._cfg_dict, 'optim_wrapper.clip_grad')
    if not isinstance(options, dict):
        return
    functions = dict(norm=clip_grad_norm_, value=clip_grad_value_)
    kind = options.get('type', 'norm')
    _check('optim_wrapper.clip_grad.type', kind, _one_of(*functions))
    names = list(inspect.signature(functions[kind]).parameters)[1:]  # the first are the weights
    for name in options:
        if name not in ('type', *names):
            raise ConfigError(
                f'optim_wrapper.clip_grad.{name}={options[name]!r}: expected some of '
                f'{", ".join(names)}'
            )


def _check_rules(part: Mapping, prefix: str, rules: Mapping[str, _Rule]) -> None:
    """Check entries by their dotted names; those that are missing or None are valid."""
    for name, rule in rules.items():
        value = _find(part, name)
        if value is not _MISSING and value is not None:
            _check(f'{prefix}{name}', value, rule)


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
