"""Check that the config of an ensemble matches its members."""

import math
import operator

from mmengine.config import Config
from mmpose.registry import MODELS
from torch import nn

from ..configs import find_class
from ..errors import CheckpointError, ConfigError
from ..utils.option_values import NO_CHECKPOINT


def is_ensemble(cfg: Config) -> bool:
    """Return whether the model of a config is an ensemble.

    Args:
        cfg: A config whose `model.type` is registered.
    """
    # Imported here, since importing the models of MMPose takes seconds.
    from ..models.pose_estimators import HeatmapEnsemble

    kind = find_class(cfg.model, MODELS)
    return isinstance(kind, type) and issubclass(kind, HeatmapEnsemble)


def check_trainable(cfg: Config) -> None:
    """Check that a model is neither an ensemble nor ED-Pose, which cannot be trained.

    Args:
        cfg: Config of a training run.

    Raises:
        ConfigError: If the model is one of them.
    """
    if is_ensemble(cfg):
        raise ConfigError(
            f'{cfg.filename}: model.type is {cfg.model.type}, and an ensemble cannot be trained: '
            'train each member with its own config'
        )
    head = cfg.model.get('head')
    kind = head.get('type') if isinstance(head, dict) else None
    if getattr(kind, '__name__', kind) in ('EDPoseHead', 'mmpose.EDPoseHead'):
        raise ConfigError(
            f'{cfg.filename}: MMPose has no loss for EDPoseHead, so ED-Pose can only predict: '
            'train another bottom-up model, such as RTMO'
        )


def check_checkpoint_argument(cfg: Config) -> None:
    """Check that a test has a checkpoint, unless its model is an ensemble.

    Args:
        cfg: Config of the test; its `load_from` is None if there is no checkpoint.

    Raises:
        CheckpointError: If an ensemble has a checkpoint, or another model has none.
        ConfigError: If an ensemble is tested with `--non-strict`.
    """
    if not is_ensemble(cfg):
        if cfg.load_from is None:
            raise CheckpointError(
                f'CHECKPOINT is {NO_CHECKPOINT}, which is only for ensembles: expected a '
                f'checkpoint of {cfg.model.type}'
            )
        return
    if cfg.load_from is not None:
        raise CheckpointError(
            f'CHECKPOINT {cfg.load_from}: the config of an ensemble contains the checkpoints of '
            f'its members: expected {NO_CHECKPOINT}'
        )
    if not cfg.get('strict_load', True):
        raise ConfigError('--non-strict: the members of an ensemble always load strictly')


def check_ensemble(cfg: Config, model: nn.Module, dataset) -> None:
    """Check that the data and the crops of an ensemble match its members.

    Args:
        cfg: The config.
        model: The model, built from the config. The check is skipped if it is not an ensemble.
        dataset: The test data.

    Raises:
        ConfigError: If keypoints, sizes or paddings do not match. The message names both values.
    """
    from ..models.ensembles import compare_metainfo, crop_grid, read_crop
    from ..models.pose_estimators import HeatmapEnsemble

    if not isinstance(model, HeatmapEnsemble):
        return
    first = model.backbone[0]
    difference = compare_metainfo(dataset.metainfo, model.backbone.metainfo)
    if difference:
        raise ConfigError(
            f'the test data of {cfg.filename} has {difference[0]}, but its members (such as '
            f'{first.name}) have {difference[1]}'
        )
    crop = read_crop(cfg)
    if crop_grid(crop.size, crop.use_udp) != model.pixels:
        codec = model.head.decoder
        raise ConfigError(
            f'{cfg.filename}: TopdownAffine in test_dataloader.dataset.pipeline has '
            f'input_size={crop.size}, use_udp={crop.use_udp}, but model.head.decoder is '
            f'{type(codec).__name__} with input_size={tuple(codec.input_size)}: the sizes must be '
            'equal, and use_udp must be True only for UDPHeatmap'
        )
    _check_padding(cfg, crop, model.backbone)


def _check_padding(cfg: Config, crop, members: nn.ModuleList) -> None:
    """Check that the crops of the ensemble contain those of its members."""

    def missing_factor(member: nn.Module) -> float:
        required = member.crop.padding_to_contain(crop.aspect)
        return max(map(operator.truediv, required, crop.padding))

    worst = max(members, key=missing_factor)
    if missing_factor(worst) > 1 + 1e-6:
        padding = math.ceil(crop.bbox_padding * missing_factor(worst) * 1000 - 1e-6) / 1000
        raise ConfigError(
            f'{cfg.filename}: the crops are {_by_axis(crop.padding)} times the bounding box '
            f'(padding of GetBBoxCenterScale, times x and y of ExtendBBox), but {worst.name} needs '
            f'{_by_axis(worst.crop.padding_to_contain(crop.aspect))} times: '
            f'set padding to at least {padding}'
        )


def _by_axis(factors: tuple[float, float]) -> str:
    return ' x '.join(f'{factor:.4f}' for factor in factors)
