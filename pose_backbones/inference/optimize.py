"""Prepare a pose estimator for fast inference: fused backbones and half precision."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ..models.layers import fuse


def optimize_for_inference(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a pose estimator to a device and fuse it, see `pose_backbones.models.layers.fuse`.

    Args:
        model: In evaluation mode; only its device is changed.
        device: To compute on.

    Returns:
        An estimator that shares the weights with it where they are not changed.
    """
    return fuse(model.to(device))


@contextmanager
def half_precision(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Let a pose estimator compute in half precision.

    What its heads put out is float32, since MMPose decodes it with NumPy and
    OpenCV, which do not know bfloat16 and float16.

    Args:
        model: An estimator of MMPose; changed in the block only.
        device: That it is on: of a CPU, bfloat16 is computed with; of
            others, float16.
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
    head.forward = lambda *args, **kwargs: _to_single(forward(*args, **kwargs))
    try:
        yield
    finally:
        del head.forward


def _to_single(value: Any) -> Any:
    """Tensors of half precision, in any nest, as float32."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, (list, tuple)):
        return type(value)(map(_to_single, value))
    if isinstance(value, Mapping):
        return {key: _to_single(one) for key, one in value.items()}
    return value
