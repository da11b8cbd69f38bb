"""An ensemble's own config, compared with its members."""

import math
import operator

from mmengine.config import Config
from mmpose.registry import MODELS
from torch import nn

from ..errors import CheckpointError, ConfigError

#: what stands for the checkpoint of a model that brings its own
NO_CHECKPOINT = 'none'


def is_ensemble(cfg: Config) -> bool:
    """Whether the model of a config is an ensemble.

    Args:
        cfg: A config whose `model` has a known type.

    Returns:
        Whether it is.
    """
    # Not above: it imports MMPose's models, which takes seconds.
    from ..models.pose_estimators import HeatmapEnsemble

    kind = cfg.model.type
    if isinstance(kind, str):
        kind = MODELS.get(kind)
    return isinstance(kind, type) and issubclass(kind, HeatmapEnsemble)


def check_trainable(cfg: Config) -> None:
    """Refuse to train an ensemble.

    Args:
        cfg: A config.

    Raises:
        ConfigError: If its model is one.
    """
    if is_ensemble(cfg):
        raise ConfigError(
            f'{cfg.filename}: model.type is {cfg.model.type}, and an '
            'ensemble is not trained: train its members, each by its own '
            'config'
        )


def check_checkpoint_argument(cfg: Config) -> None:
    """Refuse a checkpoint for an ensemble, and none for another model.

    Args:
        cfg: A config; its `load_from` is None if there is no checkpoint.

    Raises:
        CheckpointError: If it is there, or lacking, against that rule.
        ConfigError: If weights in part are asked for of an ensemble.
    """
    if not is_ensemble(cfg):
        if cfg.load_from is None:
            raise CheckpointError(
                f'CHECKPOINT {NO_CHECKPOINT} is for ensembles, whose config '
                f'names the checkpoints; of {cfg.model.type}, give one'
            )
        return
    if cfg.load_from is not None:
        raise CheckpointError(
            f'CHECKPOINT {cfg.load_from}: the config of an ensemble names '
            f'those of its members; give {NO_CHECKPOINT} instead'
        )
    if not cfg.get('strict_load', True):
        raise ConfigError('--non-strict: the members of an ensemble load strictly')


def check_ensemble(cfg: Config, model: nn.Module, dataset) -> None:
    """Refuse an ensemble whose own data and crops do not suit its members.

    Args:
        cfg: The config.
        model: Built from it; nothing is done if it is no ensemble.
        dataset: The test data.

    Raises:
        ConfigError: With what differs.
    """
    from ..models.ensembles import compare_metainfo, crop_grid, read_crop
    from ..models.pose_estimators import HeatmapEnsemble

    if not isinstance(model, HeatmapEnsemble):
        return
    first = model.backbone[0]
    difference = compare_metainfo(dataset.metainfo, model.backbone.metainfo)
    if difference:
        raise ConfigError(
            f'{cfg.filename} tests on {difference[0]}, but its members '
            f'(such as {first.name}) are of {difference[1]}'
        )
    crop = read_crop(cfg)
    if crop_grid(crop.size, crop.use_udp) != model.pixels:
        codec = model.head.decoder
        raise ConfigError(
            f'{cfg.filename}: TopdownAffine in test_dataloader.dataset.'
            f'pipeline has input_size={crop.size}, use_udp={crop.use_udp}; '
            f'model.head.decoder is {type(codec).__name__} with input_size='
            f'{tuple(codec.input_size)}: sizes have to be the same, and '
            'use_udp is True for UDPHeatmap alone'
        )
    _check_padding(cfg, crop, model.backbone)


def _check_padding(cfg: Config, crop, members: nn.ModuleList) -> None:
    """Refuse crops that do not hold those of the members."""

    def lacking(member: nn.Module) -> float:
        needed = member.crop.padding_of_larger(crop.aspect)
        return max(map(operator.truediv, needed, crop.padding))

    worst = max(members, key=lacking)
    if lacking(worst) > 1 + 1e-6:
        enough = math.ceil(crop.uniform * lacking(worst) * 1000 - 1e-6) / 1000
        raise ConfigError(
            f'{cfg.filename} cuts people out with {_by_axis(crop.padding)} '
            'times the box (padding of GetBBoxCenterScale, times x and y of '
            f'ExtendBBox), but {worst.name} has to see '
            f'{_by_axis(worst.crop.padding_of_larger(crop.aspect))} times: '
            f'set padding to at least {enough}'
        )


def _by_axis(factors: tuple[float, float]) -> str:
    return ' x '.join(f'{factor:.4f}' for factor in factors)
