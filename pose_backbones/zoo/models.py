"""Models by their names: `list_models`, `find_name`, `get_config`, `build`."""

import logging
from fnmatch import fnmatchcase

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule

from ..checkpoints.loading import get_weights, load_weights, read_checkpoint
from ..configs import building, config_folder, load_config
from ..errors import CheckpointError, ConfigError, closest
from ..registry import class_attribute
from .metafile import read_models

#: the layer that has a channel for each key point, now and in MMPose 0.x
_LAST = ('head.final_layer.', 'keypoint_head.final_layer.')


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the models that the package has configs for.

    Args:
        pattern: With the wildcards of a shell, as `'*uniformer*256x192'`;
            None for all.

    Returns:
        The names, sorted; those of the configs without `.py`.
    """
    names = sorted(_config_files())
    if pattern is None:
        return names
    return [name for name in names if fnmatchcase(name, pattern)]


def find_name(text: str) -> str:
    """The zoo's full name of a model.

    Args:
        text: The name, or its parts in their order, such as
            `moganet-s_coco-256x192` of
            `td-hm_moganet-s_8xb32-210e_coco-256x192`.

    Returns:
        The name.

    Raises:
        ConfigError: If there is none, or several; shows the closest.
    """
    names = list_models()
    if text in names:
        return text
    parts = text.split('_')
    found = [name for name in names if _has_parts(name.split('_'), parts)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f'model {text!r} may be {", ".join(found[:-1])} or {found[-1]}: give the whole name'
        )
    raise ConfigError(
        f'unknown model {text!r}: expected a config file, or one of the '
        f'{len(names)} of pose_backbones.list_models()'
        f'{closest(text, names)}'
    )


def _has_parts(name: list[str], parts: list[str]) -> bool:
    """Whether the parts are in the name, in this order."""
    rest = iter(name)
    return all(part in rest for part in parts)


def _config_files() -> dict:
    """Name → path of every config that is not a base."""
    return {
        path.stem: path for path in config_folder().glob('*/*.py') if path.parent.name != '_base_'
    }


def get_config(name: str) -> Config:
    """Read the config of a model.

    Args:
        name: One of `list_models()`.

    Returns:
        The config, yours to change.

    Raises:
        ConfigError: For an unknown name; shows the closest.
    """
    files = _config_files()
    if name not in files:
        raise ConfigError(
            f'unknown model {name!r}: expected one of the {len(files)} of '
            f'pose_backbones.list_models(){closest(str(name), sorted(files))}'
        )
    return load_config(str(files[name]))


def without_weights(cfg: Config) -> Config:
    """Let a config's model start from nothing, in place.

    Args:
        cfg: A config; of its backbone, what names ImageNet weights is
            switched off, for the whole or for parts of it.

    Returns:
        The config.
    """
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    changes = class_attribute(backbone, 'without_pretrained', {})
    backbone.update({name: value for name, value in changes.items() if name in backbone})
    return cfg


def build(
    name: str, num_keypoints: int | None = None, pretrained: bool | str = False
) -> torch.nn.Module:
    """Build a pose estimator that is ready to predict.

    The model is like one of `mmpose.apis.init_model`, for
    `mmpose.apis.inference_topdown` and all else that takes such: on the CPU,
    in evaluation mode, with `cfg` and `dataset_meta`.

    Args:
        name: One of `list_models()`.
        num_keypoints: Key points to predict; None: as the config has. With
            another number, and a checkpoint that does not describe its key
            points, they are nameless, and test-time flipping is off, since
            it is unknown which of them mirror each other.
        pretrained: False for start values; True for the released weights
            (downloaded once); or the path or URL of a checkpoint of any
            known naming. Weights load strictly. Those of another number of
            key points than `num_keypoints` load but for the head's last
            layer, which keeps its start values; the log names it.

    Returns:
        The estimator.

    Raises:
        ConfigError: For an unknown name; shows the closest.
        ValueError, TypeError: For a wrong number or `pretrained`.
        CheckpointError: If there are no released weights, they are out of
            reach, or do not fit.
    """
    cfg = without_weights(get_config(name))
    source = _source(name, pretrained)
    checkpoint = read_checkpoint(source) if source else {}
    meta = _dataset_meta(cfg, num_keypoints, checkpoint)

    from mmpose.apis import init_model

    with building(cfg):
        model = init_model(cfg, device='cpu')
    model.dataset_meta = meta
    weights = get_weights(checkpoint) if source else {}
    renewed = num_keypoints is not None and not _same_count(weights, num_keypoints)
    if renewed or not source:
        _init_quietly(model)
    if source:
        load_weights(
            model,
            weights,
            source,
            ignore=_LAST if renewed else (),
            optional=_LAST[:1] if renewed else (),
        )
    return model


def _init_quietly(model: BaseModule) -> None:
    """Set start values without MMEngine's report of every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def _source(name: str, pretrained: bool | str) -> str | None:
    """Path or URL of the weights to load, if any."""
    if isinstance(pretrained, str):
        return pretrained
    if not isinstance(pretrained, bool):
        raise TypeError(
            f'pretrained is {pretrained!r}: expected False, True, or the '
            'path or URL of a checkpoint'
        )
    if not pretrained:
        return None
    models = read_models()
    if name not in models or not models[name].weights:
        others = sorted(other for other in models if models[other].weights)
        raise CheckpointError(
            f'{name} has no released weights: expected a path in place of '
            f'pretrained=True, or a model that has'
            f'{closest(name, others) or ", such as " + others[0]}'
        )
    return models[name].weights


def _same_count(weights: dict, num_keypoints: int) -> bool:
    """Whether the last layer of a checkpoint has so many key points."""
    return any(
        len(value) == num_keypoints for key, value in weights.items() if key.startswith(_LAST)
    )


def _dataset_meta(cfg: Config, num_keypoints: int | None, checkpoint: dict) -> dict:
    """What describes the key points; sets their number in the config.

    A checkpoint's own description comes first, as in `init_model`.
    """
    from mmpose.apis.inference import dataset_meta_from_config
    from mmpose.utils import register_all_modules

    register_all_modules()
    head = cfg.model.head
    # A bottom-up head calls it by another name.
    key = 'num_keypoints' if 'num_keypoints' in head else 'out_channels'
    if num_keypoints is not None:
        if isinstance(num_keypoints, bool) or not isinstance(num_keypoints, int):
            raise TypeError(
                f'num_keypoints is {num_keypoints!r}: expected a whole '
                f'number, or None for the {head[key]} of the config'
            )
        if num_keypoints < 1:
            raise ValueError(f'num_keypoints is {num_keypoints}: expected at least 1')
        head[key] = num_keypoints
    for meta in ((checkpoint.get('meta') or {}).get('dataset_meta'), dataset_meta_from_config(cfg)):
        if meta and meta.get('num_keypoints') == head[key]:
            return meta
    cfg.model.test_cfg.flip_test = False
    return _nameless(head[key])


def _nameless(count: int) -> dict:
    """A description of key points of which only the number is known."""
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    return parse_pose_metainfo(
        dict(
            dataset_name=f'{count} key points',
            keypoint_info={
                k: dict(name=str(k), id=k, color=[0, 128, 255], type='', swap='')
                for k in range(count)
            },
            skeleton_info={},
            joint_weights=[1.0] * count,
            sigmas=[],
        )
    )
