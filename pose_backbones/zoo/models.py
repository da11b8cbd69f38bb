"""Build models by name, or from a config."""

import logging
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule, revert_sync_batchnorm
from mmengine.registry import init_default_scope

from ..checkpoints.loading import get_metainfo, get_weights, load_weights, read_checkpoint
from ..configs import building, find_class, load_config, loads_checkpoint
from ..errors import CheckpointError, ConfigError, closest
from ..registry import class_attribute
from .metainfo import config_metainfo
from .model_kinds import check_estimator
from .names import MMPOSE, OWN, Entry, find_model, list_models
from .releases import list_releases

#: prefixes of the layer with one output channel per keypoint, in MMPose 1.x and 0.x
_FINAL_LAYERS = ('head.final_layer.', 'keypoint_head.final_layer.')

#: parameters of heads with the number of keypoints: of top-down ones, of those that predict
#: coordinates, and of HRCoMer
_NUM_KEYPOINTS = ('out_channels', 'num_joints', 'num_keypoints')


def without_weights(cfg: Config) -> Config:
    """Disable the pretrained weights in the config of a model, in place.

    Args:
        cfg: The config of a model.

    Returns:
        The same config.

    Raises:
        ConfigError: If it is not the config of a pose estimator.
    """
    check_estimator(cfg)
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    _remove_pretrained(cfg.model)  # MotionBERT and DEKR have some outside of the backbone
    changes = class_attribute(backbone, 'without_pretrained', {})
    backbone.update({name: value for name, value in changes.items() if name in backbone})
    return cfg


def _remove_pretrained(part: dict) -> None:
    """Remove the entries `init_cfg` with pretrained weights from a config and the configs in it."""
    if loads_checkpoint(part.get('init_cfg')):
        part['init_cfg'] = None
    for value in part.values():
        if isinstance(value, dict):
            _remove_pretrained(value)


def build(
    name: str, num_keypoints: int | None = None, pretrained: bool | str = False
) -> torch.nn.Module:
    """Build a pose estimator that is ready for inference.

    The model equals that of `mmpose.apis.init_model`: it is on the CPU, in evaluation mode, and has
    the attributes `cfg` and `dataset_meta`. Use it with `mmpose.apis.inference_topdown` and similar
    functions.

    Args:
        name: One of `list_models()`, or another name of a model, see `zoo.find_model`.
        num_keypoints: Number of keypoints to predict, for top-down models and HRCoMer. Default: as
            in the config. If it differs from the config and the checkpoint does not describe its
            keypoints, the keypoints have no names, and flip testing is disabled because the flip
            pairs are unknown.
        pretrained: False for initial weights; True for the released weights, which are downloaded
            once; or the path or URL of a checkpoint in any supported format. Weights are loaded
            strictly. If the checkpoint has another number of keypoints than `num_keypoints`, the
            final layer of the head keeps its initial weights, and the log names it.

    Returns:
        The pose estimator.

    Raises:
        ConfigError: If the name is unknown or ambiguous (the message lists similar names), or
            `num_keypoints` is not supported.
        ValueError: If `num_keypoints` is less than 1.
        TypeError: If `num_keypoints` or `pretrained` has another type.
        CheckpointError: If the model has no released weights, or the weights cannot be downloaded
            or do not match the model.
    """
    entry = find_model(name)
    cfg = load_config(str(entry.config))
    check_estimator(cfg)
    source = _source(entry, pretrained)
    if entry.source == MMPOSE and num_keypoints is None:
        return build_config(cfg, source)
    cfg = without_weights(cfg)
    checkpoint = read_checkpoint(source) if source else {}
    saved = get_metainfo(checkpoint, source) if source else None
    meta = _dataset_meta(cfg, num_keypoints, saved)

    model = _build(cfg)
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


def build_config(cfg: Config, weights: str | None = None) -> torch.nn.Module:
    """Build the pose estimator of a config.

    Args:
        cfg: The config. It is not changed.
        weights: Path or URL of a checkpoint, which is loaded strictly. Default: initial weights.

    Returns:
        The estimator on the CPU, in evaluation mode, with `cfg` and `dataset_meta`, which is that
        of the checkpoint or else of the config.

    Raises:
        ConfigError: If the config cannot be built, or does not describe the keypoints.
        CheckpointError: If the weights cannot be read, or do not fit the model.
    """
    from mmpose.utils import register_all_modules

    register_all_modules()
    checkpoint = read_checkpoint(weights) if weights else {}
    cfg = without_weights(cfg.copy())
    model = _build(cfg)
    metainfo = get_metainfo(checkpoint, weights) if weights else None
    model.dataset_meta = metainfo or config_metainfo(cfg)
    if not model.dataset_meta:
        raise ConfigError(
            f'{cfg.filename or "the config"} does not describe the '
            'keypoints: expected train_dataloader.dataset.metainfo, or a dataset '
            'type with metainfo'
        )
    if weights:
        load_weights(model, get_weights(checkpoint), weights)
    else:
        _init_quietly(model)
    return model


def _build(cfg: Config) -> Any:
    """Build the estimator of a config as `mmpose.apis.init_model` does, without a metainfo."""
    from mmpose.registry import MODELS

    cfg.model.train_cfg = None
    init_default_scope(cfg.get('default_scope') or 'mmpose')
    with building(cfg):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.cfg = cfg
    return model.eval()


def _init_quietly(model: BaseModule) -> None:
    """Initialize the weights without MMEngine's log line for every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def _source(entry: Entry, pretrained: bool | str) -> str | None:
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
    if not entry.weights:
        released = list_releases()
        others = [name for name in list_models(source=entry.source) if released.get(name)]
        raise CheckpointError(
            f'{entry.name} has no released weights: expected a path instead of pretrained=True, or '
            f'a model with released weights'
            f'{closest(entry.name, others) or ", such as " + others[0]}'
        )
    return entry.weights


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
    from mmpose.models.pose_estimators import TopdownPoseEstimator
    from mmpose.registry import MODELS
    from mmpose.utils import register_all_modules

    register_all_modules()
    kind = find_class(cfg.model, MODELS)
    key = None
    if issubclass(kind, TopdownPoseEstimator) or kind.__module__.startswith(OWN):
        kind = find_class(cfg.model.head, MODELS)
        parameters = signature(kind).parameters
        key = next((name for name in _NUM_KEYPOINTS if name in parameters), None)
    fixed = ConfigError(
        f'num_keypoints is {num_keypoints!r}, but the number of keypoints of '
        f'{Path(cfg.filename).stem} ({kind.__name__}) cannot be changed: expected None'
    )
    if key is None:
        raise fixed
    head, described = cfg.model.head, config_metainfo(cfg)
    head.setdefault(key, parameters[key].default)
    if num_keypoints is not None:
        if isinstance(num_keypoints, bool) or not isinstance(num_keypoints, int):
            raise TypeError(
                f'num_keypoints is {num_keypoints!r}: expected an int, or None for the '
                f'{head[key]} of the config'
            )
        if num_keypoints < 1:
            raise ValueError(f'num_keypoints is {num_keypoints}: expected at least 1')
        if num_keypoints != head[key]:
            # CPM's heatmaps are those of the backbone, and UDP's offsets have three channels each.
            has_layer = head.get('final_layer', {}) is not None
            if not has_layer or (described and described['num_keypoints'] != head[key]):
                raise fixed
            if cfg.model.get('test_cfg'):  # the indices are those of the keypoints of the config
                cfg.model.test_cfg.pop('output_keypoint_indices', None)
        head[key] = num_keypoints
    for meta in (saved, described):
        if meta and meta.get('num_keypoints') == head[key]:
            return meta
    cfg.model.setdefault('test_cfg', {})['flip_test'] = False
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
