"""Load a pose estimator and its test pipeline by name, config or checkpoint."""

from os import PathLike, fspath
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

from ..checkpoints.loading import check_checkpoint_path
from ..configs import load_config, test_dataset
from ..deploy.estimator import ExportedEstimator
from ..deploy.exported import is_exported
from ..errors import CheckpointError, ConfigError
from ..zoo.model_kinds import check_estimator, check_two_dimensional
from ..zoo.models import build, build_config
from ..zoo.names import config_path, is_config_path, is_model_name


def load_model(
    model: str | PathLike | Config | nn.Module, weights: str | PathLike | None = None
) -> nn.Module:
    """Load a pose estimator with trained weights.

    Args:
        model: A model name, see `zoo.find_model`; the path of a config; a config; or an estimator
            with `cfg` and `dataset_meta`, for example from `mmpose.apis.init_model`, which is
            returned itself; or the directory of an exported model.
        weights: Path or URL of a checkpoint. Default: the released weights of the named model.

    Returns:
        The estimator in evaluation mode, with `cfg` and `dataset_meta`. It is on the CPU, unless
        it was passed as `model`.

    Raises:
        ConfigError: If there is no such model (the message lists the closest names), or it is not a
            2D pose estimator, see `check_model`.
        CheckpointError: If there are no weights, or they do not fit the model.
        TypeError: If `model` has an unsupported type.
    """
    check_model(model)
    if weights is not None:
        weights = fspath(weights)
        check_checkpoint_path(weights)
    if isinstance(model, nn.Module):
        return _check_built(model, weights)
    if isinstance(model, Config):
        return _build(model, weights)
    if not isinstance(model, (str, PathLike)):
        raise TypeError(
            f'model is a {type(model).__name__}: expected a name from '
            'pose_backbones.list_models(), a config, or an estimator'
        )
    text = fspath(model)
    if _is_folder(text):
        return _load_exported(text, weights)
    if is_config_path(text):
        return _build(load_config(text), weights)
    return build(text, pretrained=weights or True)


def check_model(model: str | PathLike | Config | nn.Module) -> None:
    """Check by its config that a model is a 2D pose estimator, before weights are looked for.

    Args:
        model: See `load_model`. The directory of an exported model is not checked.

    Raises:
        ConfigError: If there is no such model, its config is that of a distillation, or it predicts
            keypoints in 3D.
    """
    cfg = model if isinstance(model, Config) else getattr(model, 'cfg', None)
    if isinstance(model, (str, PathLike)) and not _is_folder(fspath(model)):
        cfg = load_config(config_path(model))
    if not isinstance(cfg, Config):
        return
    if not isinstance(model, nn.Module):
        check_estimator(cfg)
    check_two_dimensional(cfg)


def _is_folder(text: str) -> bool:
    """Return whether a text is a directory, and not the name of a model."""
    return text != '' and Path(text).is_dir() and (is_exported(text) or not is_model_name(text))


def _load_exported(folder: str, weights: str | None) -> nn.Module:
    """Load an exported model."""
    if not is_exported(folder):
        raise ConfigError(
            f'model {folder} is a directory: expected a config file, a name from '
            'pose_backbones.list_models(), or a directory from pose-backbones export'
        )
    if weights is not None:
        raise ConfigError(
            f'weights is {weights!r}, but {folder} is an exported model, which contains its '
            'weights: expected no weights'
        )
    return ExportedEstimator(folder)


def _check_built(model: nn.Module, weights: str | None) -> nn.Module:
    if weights is not None:
        raise TypeError(
            f'weights is {weights!r}, but the model is already built: '
            'expected a name or a config, or no weights'
        )
    for name in ('cfg', 'dataset_meta'):
        if getattr(model, name, None) is None:
            raise TypeError(
                f'the model has no {name}: expected an estimator from '
                'pose_backbones.build or mmpose.apis.init_model'
            )
    return model.eval()


def _build(cfg: Config, weights: str | None) -> nn.Module:
    """Build the estimator of a config and load its weights strictly."""
    if weights is None:
        raise CheckpointError(
            'there are no weights (--weights, or the argument weights): expected the path or URL '
            'of a checkpoint of '
            f'{cfg.filename or "the config"}'
        )
    return build_config(cfg, weights)


def build_pipeline(cfg: Config) -> Compose:
    """Build the test pipeline of a config.

    Args:
        cfg: Config of a model.

    Returns:
        The transforms, whose input has `img`, (H, W, 3) BGR, and for a top-down model `bbox`.
    """

    scope = cfg.get('default_scope') or 'mmpose'
    if DefaultScope.get_current_instance() is None:
        init_default_scope(scope)
    with DefaultScope.overwrite_default_scope(scope):
        return Compose(test_dataset(cfg)['pipeline'])


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return an available device.

    Args:
        device: Device. None: a GPU if available, otherwise the CPU.

    Returns:
        The device.

    Raises:
        ValueError: If the device is unknown or not available.
    """
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        result = torch.device(device)
        torch.zeros(1, device=result)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split('\n')[0]
        raise ValueError(
            f'device is {str(device)!r}: expected cpu, or an available '
            f'device, such as cuda:0 ({reason})'
        ) from error
    return result
