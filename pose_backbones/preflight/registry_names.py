"""Names in a config that are not registered."""

from collections.abc import Iterator

from mmengine.config import Config
from mmengine.registry import Registry
from mmpose import registry as host

from ..configs import as_list
from ..errors import ConfigError, closest
from ..registry import DATASETS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, SCOPE, TRANSFORMS


def check_types(cfg: Config) -> None:
    """Refuse names that are not registered: of the model and its codec, of
    data sets and metrics, of the optimizer, schedules and hooks.

    Args:
        cfg: A config.

    Raises:
        ConfigError: With the place, the name and the closest known names.
    """
    if cfg.get('model') is None:
        raise ConfigError(f"{cfg.filename} has no 'model': is it a config of a model?")
    for place, part in _model_parts(cfg.model, 'model'):
        check_type(part, place, host.MODELS, MODELS)
    head = cfg.model.get('head') or {}
    for key in ('decoder', 'encoder'):
        if head.get(key):
            check_type(head[key], f'model.head.{key}', host.KEYPOINT_CODECS)
    for split in ('train', 'val', 'test'):
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if dataset:
            place = f'{split}_dataloader.dataset'
            check_type(dataset, place, host.DATASETS, DATASETS)
            for number, step in enumerate(dataset.get('pipeline', [])):
                check_type(step, f'{place}.pipeline[{number}]', host.TRANSFORMS, TRANSFORMS)
        for metric in as_list(cfg.get(f'{split}_evaluator')):
            if host.EVALUATORS.get(str(metric.get('type'))) is None:
                check_type(metric, f'{split}_evaluator', host.METRICS, METRICS)
    _check_training_types(cfg)


def _check_training_types(cfg: Config) -> None:
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type'):
        check_type(wrapper, 'optim_wrapper', host.OPTIM_WRAPPERS)
    if wrapper.get('optimizer'):
        check_type(wrapper.optimizer, 'optim_wrapper.optimizer', host.OPTIMIZERS)
    if wrapper.get('constructor'):
        check_type(
            dict(type=wrapper.constructor),
            'optim_wrapper.constructor',
            host.OPTIM_WRAPPER_CONSTRUCTORS,
            OPTIM_WRAPPER_CONSTRUCTORS,
        )
    for scheduler in as_list(cfg.get('param_scheduler')):
        check_type(scheduler, 'param_scheduler', host.PARAM_SCHEDULERS)
    hooks = cfg.get('default_hooks') or {}
    for name, hook in hooks.items():
        if hook:
            check_type(hook, f'default_hooks.{name}', host.HOOKS)
    for number, hook in enumerate(cfg.get('custom_hooks') or []):
        check_type(hook, f'custom_hooks[{number}]', host.HOOKS)


def _model_parts(model: dict, place: str) -> Iterator[tuple[str, dict]]:
    yield place, model
    for key in ('data_preprocessor', 'backbone', 'neck', 'head'):
        if model.get(key):
            yield f'{place}.{key}', model[key]


def check_type(part: dict, place: str, registry: Registry, ours: Registry | None = None) -> None:
    """Refuse a `type` that a registry does not have.

    Args:
        part: A dict of a config.
        place: Where it stands, for the message.
        registry: MMPose's registry of that kind.
        ours: This package's, whose names are suggested too.

    Raises:
        ConfigError: If the type is missing or unknown.
    """
    kind = part.get('type')
    if kind is None:
        raise ConfigError(f"{place} has no 'type'")
    if not isinstance(kind, str) or registry.get(kind) is not None:
        return
    shown = {}
    parent = registry
    while parent is not None:
        shown.update({name: name for name in parent.module_dict})
        parent = parent.parent
    if ours is not None:
        ours.import_from_location()
        shown.update({name: f'{SCOPE}.{name}' for name in ours.module_dict})
    what = registry.name.lower().replace('_', ' ').removesuffix('s')
    raise ConfigError(f'{place}: unknown {what} {kind!r}' + closest(kind.rsplit('.', 1)[-1], shown))
