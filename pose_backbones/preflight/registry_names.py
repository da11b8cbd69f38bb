"""Check that the types in a config are registered."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.registry import Registry
from mmpose import registry as mmpose_registry

from ..configs import as_list, find_datasets
from ..errors import ConfigError, closest
from ..registry import (
    DATA_SAMPLERS,
    DATASETS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    SCOPE,
    TRANSFORMS,
)


def check_types(cfg: Config, trains: bool = True) -> None:
    """Check that all types in a config are registered.

    These are the types of the model and its codec, of datasets, samplers and metrics, and of the
    optimizer, schedules and hooks.

    Args:
        cfg: The config.
        trains: Whether the run trains the model; otherwise, only the test data are checked.

    Raises:
        ConfigError: If a type is unknown. The message names the config entry and similar types.
    """
    if cfg.get('model') is None:
        raise ConfigError(f"{cfg.filename} has no 'model': expected the config of a model")
    for place, part in _model_parts(cfg.model, 'model'):
        check_registered(part, place, mmpose_registry.MODELS, MODELS)
        initial = part.get('init_cfg')
        for number, entry in enumerate(as_list(initial)):
            if isinstance(entry, Mapping):
                index = f'.{number}' if isinstance(initial, (list, tuple)) else ''
                check_registered(
                    entry, f'{place}.init_cfg{index}', mmpose_registry.WEIGHT_INITIALIZERS
                )
    head = cfg.model.get('head') or {}
    # The `decoder` and `encoder` of ED-Pose are parts of its transformer.
    for key in ('data_decoder',) if 'data_decoder' in head else ('decoder', 'encoder'):
        if head.get(key):
            check_registered(head[key], f'model.head.{key}', mmpose_registry.KEYPOINT_CODECS)
    for split in ('train', 'val', 'test') if trains else ('test',):
        sampler = (cfg.get(f'{split}_dataloader') or {}).get('sampler')
        if sampler:
            check_registered(
                sampler, f'{split}_dataloader.sampler', mmpose_registry.DATA_SAMPLERS, DATA_SAMPLERS
            )
        loop = cfg.get(f'{split}_cfg')
        if isinstance(loop, Mapping) and loop.get('type') is not None:
            check_registered(loop, f'{split}_cfg', mmpose_registry.LOOPS)
        for place, dataset in find_datasets(cfg, split):
            check_registered(dataset, place, mmpose_registry.DATASETS, DATASETS)
            for number, step in enumerate(dataset.get('pipeline', [])):
                check_registered(
                    step, f'{place}.pipeline[{number}]', mmpose_registry.TRANSFORMS, TRANSFORMS
                )
        for metric in as_list(cfg.get(f'{split}_evaluator')):
            if mmpose_registry.EVALUATORS.get(str(metric.get('type'))) is None:
                check_registered(metric, f'{split}_evaluator', mmpose_registry.METRICS, METRICS)
    _check_training_types(cfg)


def _check_training_types(cfg: Config) -> None:
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type'):
        check_registered(wrapper, 'optim_wrapper', mmpose_registry.OPTIM_WRAPPERS)
    if wrapper.get('optimizer'):
        check_registered(wrapper.optimizer, 'optim_wrapper.optimizer', mmpose_registry.OPTIMIZERS)
    if wrapper.get('constructor'):
        check_registered(
            dict(type=wrapper.constructor),
            'optim_wrapper.constructor',
            mmpose_registry.OPTIM_WRAPPER_CONSTRUCTORS,
            OPTIM_WRAPPER_CONSTRUCTORS,
        )
    for scheduler in as_list(cfg.get('param_scheduler')):
        check_registered(scheduler, 'param_scheduler', mmpose_registry.PARAM_SCHEDULERS)
    hooks = cfg.get('default_hooks') or {}
    for name, hook in hooks.items():
        if hook:
            check_registered(hook, f'default_hooks.{name}', mmpose_registry.HOOKS)
    for number, hook in enumerate(cfg.get('custom_hooks') or []):
        check_registered(hook, f'custom_hooks[{number}]', mmpose_registry.HOOKS)


def _model_parts(model: dict, place: str) -> Iterator[tuple[str, dict]]:
    yield place, model
    for key in ('data_preprocessor', 'backbone', 'neck', 'head'):
        if model.get(key):
            yield f'{place}.{key}', model[key]


def check_registered(
    part: Mapping, place: str, registry: Registry, extra: Registry | None = None
) -> None:
    """Check that the `type` of a config entry is registered.

    Args:
        part: The config entry, a dict.
        place: Dotted name of the entry, for the message.
        registry: Registry of MMPose.
        extra: Registry of this package, whose names are suggested as well.

    Raises:
        ConfigError: If the type is missing or unknown.
    """
    kind = part.get('type')
    if kind is None:
        raise ConfigError(f"{place} has no 'type'")
    if not isinstance(kind, str) or registry.get(kind) is not None:
        return
    suggestions = {}
    parent = registry
    while parent is not None:
        suggestions.update({name: name for name in parent.module_dict})
        parent = parent.parent
    if extra is not None:
        extra.import_from_location()
        suggestions.update({name: f'{SCOPE}.{name}' for name in extra.module_dict})
    category = registry.name.lower().replace('_', ' ').removesuffix('s')
    raise ConfigError(
        f'{place}: unknown {category} {kind!r}' + closest(kind.rsplit('.', 1)[-1], suggestions)
    )
