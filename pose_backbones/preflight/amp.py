"""Checks of mixed precision."""

import torch
from mmengine.config import Config

from ..errors import ConfigError


def require_gpu(setting: str, remedy: str = '') -> None:
    """Check that there is a GPU for mixed precision.

    Args:
        setting: What enables mixed precision, for the message.
        remedy: What to do instead, for the message.

    Raises:
        ConfigError: If PyTorch finds no GPU.
    """
    if not torch.cuda.is_available():
        raise ConfigError(
            f'{setting}: mixed precision needs a GPU, and this machine has none that PyTorch can '
            f'use{remedy}'
        )


def check_amp(cfg: Config) -> None:
    """Check that a config that trains in mixed precision finds a GPU.

    Args:
        cfg: A config.

    Raises:
        ConfigError: With the option that disables it.
    """
    kind = (cfg.get('optim_wrapper') or {}).get('type')
    if kind == 'AmpOptimWrapper':
        require_gpu(
            f'{cfg.filename}: optim_wrapper.type is {kind!r}',
            ': use --cfg-options optim_wrapper.type=OptimWrapper',
        )
