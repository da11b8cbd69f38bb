"""Checks of mixed precision."""

import torch
from mmengine.config import Config

from ..configs import type_name
from ..errors import ConfigError


def require_gpu(setting: str, advice: str = '') -> None:
    """Check that a GPU is available for mixed precision.

    Args:
        setting: Name of the option or config entry that enables mixed precision, for the message.
        advice: What to do instead, appended to the message.

    Raises:
        ConfigError: If no GPU is available.
    """
    if not torch.cuda.is_available():
        raise ConfigError(
            f'{setting}: mixed precision needs a GPU, and PyTorch finds none here{advice}'
        )


def check_amp(cfg: Config) -> None:
    """Check that a GPU is available if a config trains in mixed precision.

    Args:
        cfg: A config.

    Raises:
        ConfigError: If no GPU is available. The message names the option that disables mixed
            precision.
    """
    kind = type_name(cfg.get('optim_wrapper') or {})
    if kind == 'AmpOptimWrapper':
        require_gpu(
            f'{cfg.filename}: optim_wrapper.type is {kind!r}',
            ': use --cfg-options optim_wrapper.type=OptimWrapper',
        )
