"""List the models of the zoo, load their configs, and build them by name."""

import logging
from fnmatch import fnmatchcase
from inspect import signature

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule

from ..checkpoints.loading import get_metainfo, get_weights, load_weights, read_checkpoint
from ..configs import building, config_folder, load_config
from ..errors import CheckpointError, ConfigError, closest, shown
from ..registry import class_attribute
from .metafile import read_models

#: prefixes of the layer with one output channel per keypoint, in MMPose 1.x and 0.x
_FINAL_LAYERS = ('head.final_layer.', 'keypoint_head.final_layer.')


def list_models(pattern: str | None = None) -> list[str]:
    """Return the names of the models that the package has configs for.

    Args:
        pattern: Shell-style pattern such as `'*uniformer*256x192'`. Default: all models.

    Returns:
        The sorted names. The name of a model is that of its config without `.py`.
    """
    names = sorted(_config_files())
    if pattern is None:
        return names
    return [name for name in names if fnmatchcase(name, pattern)]


def find_name(text: str) -> str:
    """Return the full name of a model.

    Args:
        text: The name, or some of its parts in the same order, such as `moganet-s_coco-256x192`
            for `td-hm_moganet-s_8xb32-210e_coco-256x192`.

    Returns:
        The full name.

    Raises:
        ConfigError: If no model or several models match. The message lists similar names.
    """
    names = list_models()
    if text in names:
        return text
    parts = text.split('_')
    matches = [name for name in names if _has_parts(name.split('_'), parts)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ConfigError(
            f'model {text!r} is ambiguous: expected the full name, '
            f'{", ".join(matches[:-1])} or {matches[-1]}'
        )
    raise ConfigError(
        f'unknown model {shown(text)}: expected the path of a config, or one of the {len(names)} '
        f'names of pose_backbones.list_models(){closest(text, names)}'
    )


def _has_parts(name: list[str], parts: list[str]) -> bool:
    """Return whether the name contains the parts in this order."""
    rest = iter(name)
    return all(part in rest for part in parts)


def _config_files() -> dict:
    """Return name → path of all configs except base configs."""
    return {
        path.stem: path for path in config_folder().glob('*/*.py') if path.parent.name != '_base_'
    }


def get_config(name: str) -> Config:
    """Load the config of a model.

    Args:
        name: One of `list_models()`.

    Returns:
        A new config, which the caller may change.

    Raises:
        ConfigError: If the name is unknown. The message lists similar names.
    """
    files = _config_files()
    if name not in files:
        raise ConfigError(
            f'unknown model {shown(name)}: expected one of the {len(files)} names of '
            f'pose_backbones.list_models(){closest(str(name), sorted(files))}'
        )
    return load_config(str(files[name]))


def without_weights(cfg: Config) -> Config:
    """Disable the pretrained weights of the backbone in a config, in place.

    Args:
        cfg: The config of a model.

    Returns:
        The same config.
    """
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    changes = class_attribute(backbone, 'without_pretrained', {})
    backbone.update({name: value for name, value in changes.items() if name in backbone})
    return cfg


def build(
    name: str, num_keypoints: int | None = None, pretrained: bool | str = False
) -> torch.nn.Module:
    """Build a pose estimator that is ready for inference.

    The model equals that of `mmpose.apis.init_model`: it is on the CPU, in evaluation mode, and has
    the attributes `cfg` and `dataset_meta`. Use it with `mmpose.apis.inference_topdown` and similar
    functions.

    Args:
        name: One of `list_models()`.
        num_keypoints: Number of keypoints to predict. Default: as in the config. If it differs from
            the config and the checkpoint does not describe its keypoints, the keypoints have no
            names, and flip testing is disabled because the flip pairs are unknown.
        pretrained: False for initial weights; True for the released weights, which are downloaded
            once; or the path or URL of a checkpoint in any supported format. Weights are loaded
            strictly. If the checkpoint has another number of keypoints than `num_keypoints`, the
            final layer of the head keeps its initial weights, and the log names it.

    Returns:
        The pose estimator.

    Raises:
        ConfigError: If the name is unknown. The message lists similar names.
        ValueError: If `num_keypoints` is less than 1.
        TypeError: If `num_keypoints` or `pretrained` has another type.
        CheckpointError: If the model has no released weights, or the weights cannot be downloaded
            or do not match the model.
    """
    cfg = without_weights(get_config(name))
    source = _source(name, pretrained)
    checkpoint = read_checkpoint(source) if source else {}
    saved = get_metainfo(checkpoint, source) if source else None
    meta = _dataset_meta(cfg, num_keypoints, saved)

    from mmpose.apis import init_model

    with building(cfg):
        model = init_model(cfg, device='cpu')
    model.dataset_meta = meta
    weights = get_weights(checkpoint) if source else {}
    new_final_layer = num_keypoints is not None and not _has_num_keypoints(weights, num_keypoints)
    if new_final_layer or not source:
        _init_quietly(model)
    if source:
        load_weights(
            model,
            weights,
            source,
            ignore=_FINAL_LAYERS if new_final_layer else (),
            optional=_FINAL_LAYERS[:1] if new_final_layer else (),
        )
    return model


def _init_quietly(model: BaseModule) -> None:
    """Initialize the weights without MMEngine's log line for every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def _source(name: str, pretrained: bool | str) -> str | None:
    """Return the path or URL of the weights to load, or None."""
    if isinstance(pretrained, str):
        return pretrained
    if not isinstance(pretrained, bool):
        raise TypeError(
            f'pretrained is {pretrained!r}: expected False, True, or the path or URL of a '
            'checkpoint'
        )
    if not pretrained:
        return None
    models = read_models()
    if name not in models or not models[name].weights:
        others = sorted(key for key in models if models[key].weights)
        raise CheckpointError(
            f'{name} has no released weights: expected a path instead of pretrained=True, or a '
            f'model with released weights'
            f'{closest(name, others) or ", such as " + others[0]}'
        )
    return models[name].weights


def _has_num_keypoints(weights: dict, num_keypoints: int) -> bool:
    """Return whether the final layer of a checkpoint has `num_keypoints` output channels."""
    return any(
        len(value) == num_keypoints
        for key, value in weights.items()
        if key.startswith(_FINAL_LAYERS)
    )


def _dataset_meta(cfg: Config, num_keypoints: int | None, saved: dict | None) -> dict:
    """Return the description of the keypoints, and set their number in the config.

    The description in a checkpoint takes precedence over that of the config, as in `init_model`.
    """
    from mmpose.apis.inference import dataset_meta_from_config
    from mmpose.registry import MODELS
    from mmpose.utils import register_all_modules

    register_all_modules()
    head = cfg.model.head
    # Bottom-up heads have `num_keypoints`, top-down heads `out_channels`.
    parameters = signature(MODELS.get(head.type)).parameters
    key = 'num_keypoints' if 'num_keypoints' in parameters else 'out_channels'
    head.setdefault(key, parameters[key].default)
    if num_keypoints is not None:
        if isinstance(num_keypoints, bool) or not isinstance(num_keypoints, int):
            raise TypeError(
                f'num_keypoints is {num_keypoints!r}: expected an int, or None for the '
                f'{head[key]} of the config'
            )
        if num_keypoints < 1:
            raise ValueError(f'num_keypoints is {num_keypoints}: expected at least 1')
        head[key] = num_keypoints
    for meta in (saved, dataset_meta_from_config(cfg)):
        if meta and meta.get('num_keypoints') == head[key]:
            return meta
    cfg.model.test_cfg.flip_test = False
    return _unnamed_keypoints(head[key])


def _unnamed_keypoints(count: int) -> dict:
    """Return a description of `count` keypoints without names and flip pairs."""
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    return parse_pose_metainfo(
        dict(
            dataset_name=f'{count} keypoints',
            keypoint_info={
                k: dict(name=str(k), id=k, color=[0, 128, 255], type='', swap='')
                for k in range(count)
            },
            skeleton_info={},
            joint_weights=[1.0] * count,
            sigmas=[],
        )
    )
