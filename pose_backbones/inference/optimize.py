"""A model made ready to predict fast, with the same results."""

import ctypes
import os
import sys

import torch
from torch import nn

from ..models.layers import fuse

_KEPT = 256 << 20  # bytes of freed memory
#: by these, a user has said what the allocator is to do
_SETTINGS = (
    'GLIBC_TUNABLES',
    'MALLOC_MMAP_MAX_',
    'MALLOC_MMAP_THRESHOLD_',
    'MALLOC_TRIM_THRESHOLD_',
)


def prepare(model: nn.Module, device: torch.device) -> nn.Module:
    """Bring a pose estimator to a device, for prediction alone.

    Backbones and heads of the package are fused, see `pose_backbones.models.layers.fuse`.

    Args:
        model: In evaluation mode; it stays as it is, but for its device.
        device: To compute on.

    Returns:
        An estimator that has the weights in common with it, where these are
        not changed.
    """
    if device.type == 'cpu':
        _keep_freed_memory()
    return fuse(model.to(device))


def _keep_freed_memory() -> None:
    """Let glibc keep what a batch has freed for the next one.

    It gives large blocks back to the system at once by itself; to get them
    again takes about as long as a small net computes. Settings of the user's
    in the environment are left alone.
    """
    if not sys.platform.startswith('linux') or any(name in os.environ for name in _SETTINGS):
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:  # glibc
        mallopt(-1, _KEPT)  # M_TRIM_THRESHOLD
        mallopt(-4, 0)  # M_MMAP_MAX
