"""Check by its config, without weights, whether a model can be used for inference."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from ..configs import find_class
from ..errors import ConfigError, shown
from .mmpose import find_config, mmpose_folder
from .names import MMPOSE, PREFIX


def check_estimator(cfg: Config) -> None:
    """Check that a config is that of a pose estimator, and not that of a distillation.

    Args:
        cfg: The config of a model.

    Raises:
        ConfigError: If it has no backbone, or a part of the model is no dict. For a distillation,
            the message names the config of the student.
    """
    model = _part(cfg, 'model')
    if model.get('backbone') is not None:
        _part(cfg, 'model', 'backbone')
        return
    student = model.get('student_cfg')
    if student is None:
        raise ConfigError(
            f'{cfg.filename or "the config"} has no model.backbone: expected the config of a pose '
            'estimator'
        )
    raise ConfigError(
        f'{_name(cfg)} is the config of a distillation, which can only be trained and tested: '
        f'expected the config of a pose estimator, such as that of the student, '
        f'{_config_name(student)}'
    )


def check_two_dimensional(cfg: Config) -> None:
    """Check that a model does not predict keypoints in 3D, which a `PoseResult` cannot contain.

    Args:
        cfg: The config of a model.

    Raises:
        ConfigError: If it predicts keypoints in 3D, or a part of the model is no dict.
    """
    from mmpose import codecs
    from mmpose.registry import KEYPOINT_CODECS

    kind = find_class(_part(cfg, 'model', 'head', 'decoder'), KEYPOINT_CODECS)
    kinds = (
        codecs.Hand3DHeatmap,
        codecs.ImagePoseLifting,
        codecs.MotionBERTLabel,
        codecs.VideoPoseLifting,
    )
    if kind is not None and issubclass(kind, kinds):
        raise ConfigError(
            f'{_name(cfg)} predicts keypoints in 3D ({kind.__name__}), and results have two '
            "coordinates: expected a 2D model; MMPose's MMPoseInferencer(pose3d=...) predicts in 3D"
        )


def _part(cfg: Config, *keys: str) -> Mapping:
    """Return a part of a config; an empty dict if there is none.

    Raises:
        ConfigError: If it, or a part that contains it, is no dict.
    """
    part: Mapping = cfg
    for number, key in enumerate(keys, 1):
        value = part.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise ConfigError(
                f'{cfg.filename or "the config"}: {".".join(keys[:number])} is {shown(value)}: '
                'expected a dict'
            )
        part = value or {}
    return part


def _name(cfg: Config) -> str:
    return Path(cfg.filename).stem if cfg.filename else 'the config'


def _config_name(path: str) -> str:
    """Return the name of a config of MMPose that is given by its path in MMPose's repository."""
    file = find_config(path)
    is_shipped = file is not None and file.is_relative_to(mmpose_folder())
    return f'{MMPOSE}{PREFIX}{Path(path).stem}' if is_shipped else path
