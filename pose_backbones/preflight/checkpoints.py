"""Checks of the settings that save checkpoints and choose the best one."""

from collections.abc import Iterator, Sequence

from mmengine.config import Config
from mmpose.registry import METRICS

from ..configs import as_list, find_class, type_name
from ..engine.checkpoint_hook import is_checkpoint_hook, unknown_key
from ..errors import ConfigError

_COCO = ('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)', 'AR (L)')
_CROWD = ('AP', 'AP .5', 'AP .75', 'AR', 'AR .5', 'AR .75', 'AP(E)', 'AP(M)', 'AP(H)')
_LIMBS = ('Shoulder', 'Elbow', 'Wrist', 'Hip', 'Knee', 'Ankle')
_SHORT = ('Head', 'Sho', 'Elb', 'Wri', 'Hip', 'Knee', 'Ank')
#: metric → `norm_item` → names of its values
_BY_NORM = {
    'PCKAccuracy': dict(bbox=('PCK',), head=('PCKh',), torso=('tPCK',)),
    'MpiiPCKAccuracy': dict(
        bbox=('PCK',),
        torso=('tPCK',),
        head=(*(f'{name} PCK' for name in ('Head', *_LIMBS)), 'PCK', 'PCK@0.1'),
    ),
    'JhmdbPCKAccuracy': dict(
        head=('PCKh',),
        bbox=(*(f'{name} PCK' for name in _SHORT), 'PCK'),
        torso=(*(f'{name} tPCK' for name in _SHORT), 'tPCK'),
    ),
}
#: metric whose values do not depend on its arguments → names of its values
_ALWAYS = {
    'CocoWholeBodyMetric': _COCO,
    'AUC': ('AUC',),
    'EPE': ('EPE',),
    'NME': ('NME',),
    'MpiiPCKh': ('Head', *_LIMBS, 'Mean', 'Mean@0.1'),
    'PoseTrack18Metric': (
        'Head AP',
        'Shou AP',
        'Elb AP',
        'Wri AP',
        'Hip AP',
        'Knee AP',
        'Ankl AP',
        'AP',
    ),
}
#: metric → default of its `norm_item`
_NORM = dict(PCKAccuracy='bbox', MpiiPCKAccuracy='head', JhmdbPCKAccuracy='bbox')


def metric_names(evaluator) -> list[str] | None:
    """Return the names of the values that an evaluation will return.

    Args:
        evaluator: `val_evaluator` of a config.

    Returns:
        The names, as in `save_best`. None if they are unknown before the evaluation.
    """
    names = []
    for metric in as_list(evaluator):
        kind = find_class(metric, METRICS)
        keys = None if kind is None else _keys_of(kind.__name__, metric)
        if keys is None:
            return None
        prefix = metric.get('prefix') or kind.default_prefix
        names += [f'{prefix}/{key}' if prefix else key for key in keys]
    return names


def _keys_of(kind: str, metric: dict) -> Sequence[str] | None:
    if metric.get('format_only'):
        return None
    if kind == 'CocoMetric':
        crowd = metric.get('iou_type') == 'keypoints_crowd'
        return _CROWD if crowd else _COCO
    if kind in _BY_NORM:
        norms = metric.get('norm_item', _NORM[kind])
        norms = norms if isinstance(norms, (list, tuple)) else [norms]
        groups = [_BY_NORM[kind].get(norm) for norm in norms]
        return None if None in groups else [key for group in groups for key in group]
    return _ALWAYS.get(kind)


def _checkpoint_hooks(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Yield the place and the config of each hook that saves checkpoints."""
    hooks = cfg.get('default_hooks') or {}
    # MMEngine adds this hook if the config does not have it.
    default = hooks.get('checkpoint', dict(type='CheckpointHook', interval=1))
    if default:
        yield 'default_hooks.checkpoint', default
    for number, hook in enumerate(cfg.get('custom_hooks') or []):
        if is_checkpoint_hook(hook):
            yield f'custom_hooks[{number}]', hook


def check_save_best(cfg: Config) -> None:
    """Check that `save_best` is the name of a value that the validation returns.

    The check is skipped if these names are unknown before the validation.

    Args:
        cfg: The config.

    Raises:
        ConfigError: If it is not. The message lists the available names.
    """
    names = metric_names(cfg.get('val_evaluator'))
    if not names:
        return
    for _, hook in _checkpoint_hooks(cfg):
        for key in as_list(hook.get('save_best')):
            if key != 'auto' and key not in names:
                raise ConfigError(unknown_key(key, names))


def check_saving(cfg: Config) -> None:
    """Check the intervals and limits of training and of saving checkpoints.

    Args:
        cfg: The config.

    Raises:
        ConfigError: If a setting is invalid, or no checkpoint would be saved.
    """
    train = cfg.get('train_cfg') or {}
    for key in ('max_iters', 'max_epochs', 'val_interval'):
        if key in train:
            _check_count(train[key], f'train_cfg.{key}')
    if 'val_begin' in train:
        _check_count(train['val_begin'], 'train_cfg.val_begin', 0)
    sampler = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    if 'max_epochs' in train and type_name(sampler).endswith('InfiniteSampler'):
        raise ConfigError(
            f'train_dataloader.sampler.type={sampler["type"]!r} is infinite, so the first epoch '
            'would never end and no checkpoint would be saved: use DefaultSampler, or train by '
            'iterations (train_cfg.max_iters)'
        )
    hooks = list(_checkpoint_hooks(cfg))
    for place, hook in hooks:
        _check_hook(place, hook, train)
    if not hooks:
        raise ConfigError(
            'default_hooks.checkpoint=None: no checkpoint would be saved. To save only the last '
            "checkpoint, set default_hooks.checkpoint=dict(type='CheckpointHook', interval=-1)"
        )


def _check_hook(place: str, hook: dict, train: dict) -> None:
    interval = hook.get('interval', -1)
    if interval != -1:
        _check_count(interval, f'{place}.interval', 1, ', or -1 for only the last checkpoint')
    if hook.get('max_keep_ckpts', -1) != -1:
        _check_count(
            hook['max_keep_ckpts'], f'{place}.max_keep_ckpts', 1, ', or -1 to keep all checkpoints'
        )
    _check_count(hook.get('save_begin', 0), f'{place}.save_begin', 0)
    if interval == -1 and not hook.get('save_last', True):
        raise ConfigError(
            f'{place}: with interval=-1 and save_last=False, no checkpoint would be saved: change '
            'one of the two'
        )
    template = hook.get('filename_tmpl')
    if template is not None and (
        not isinstance(template, str)
        or template.count('{}') != 1
        or '/' in template
        or not template.endswith('.pth')
    ):
        raise ConfigError(
            f'{place}.filename_tmpl={template!r}: expected a file name that contains {{}} once, '
            "such as 'iter_{}.pth'"
        )
    by_iterations = train.get('by_epoch') is False or 'max_iters' in train
    if by_iterations and hook.get('by_epoch', True) and interval != -1:
        raise ConfigError(
            f'{place}: the run trains by iterations, so by_epoch=True would save no checkpoint '
            'before its end: set by_epoch=False'
        )


def _check_count(value, name: str, minimum: int = 1, alternative: str = '') -> None:
    if type(value) is not int or value < minimum:
        raise ConfigError(
            f'{name}={value!r}: expected an integer of at least {minimum}{alternative}'
        )
