"""Prepare a pose estimator for fast inference: fused backbones and half precision."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.utils import apply_to
from torch import nn

from ..models.layers import fuse


def optimize_for_inference(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a pose estimator to a device and fuse it, see `pose_backbones.models.layers.fuse`.

    Args:
        model: Estimator in evaluation mode. Only its device is changed.
        device: Device to compute on.

    Returns:
        The fused estimator, which shares all unchanged weights with `model`.
    """
    return fuse(model.to(device))


@contextmanager
def half_precision(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run a pose estimator in half precision within a `with` statement.

    The outputs of its heads are converted to float32, since MMPose decodes them with NumPy and
    OpenCV, which support neither bfloat16 nor all operations on float16.

    Args:
        model: MMPose estimator. It is changed only within the `with` statement.
        device: Device of the model: bfloat16 is used on a CPU, float16 on other devices.
    """
    from mmpose.models.heads.base_head import BaseHead

    kind = torch.bfloat16 if device.type == 'cpu' else torch.float16
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, BaseHead):
                stack.enter_context(_single_outputs(module))
        stack.enter_context(torch.autocast(device.type, kind))
        yield


@contextmanager
def _single_outputs(head: nn.Module) -> Iterator[None]:
    forward = head.forward
    head.forward = lambda *args, **kwargs: to_single(forward(*args, **kwargs))
    try:
        yield
    finally:
        del head.forward


def to_single(value: Any) -> Any:
    """Convert half-precision tensors in nested containers to float32."""
    return apply_to(value, _is_half, torch.Tensor.float)


def _is_half(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
