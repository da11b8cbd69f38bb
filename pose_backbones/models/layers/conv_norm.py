"""Convolution and batch norm computed as one where nothing is learned."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .shortcuts import may_shorten


def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """A batch norm with fixed statistics as `x * scale + shift`.

    Args:
        norm: With running statistics.

    Returns:
        Scale and shift, each (C, ).
    """
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        scale = norm.weight * scale
        return scale, norm.bias - norm.running_mean * scale
    return scale, -norm.running_mean * scale


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Compute `norm(conv(x))`.

    On a CPU, without gradient and with fixed statistics, the norm goes into
    the convolution's weights first: one pass over the map instead of two.
    Weights are few beside pixels, so this is done anew each time and nothing
    can become outdated. (On a GPU, the launches would cost more.)

    Args:
        x: (N, C, H, W).
        conv: A convolution, padded with zeros if at all.
        norm: Any norm layer.

    Returns:
        (N, channels of conv, H', W').
    """
    if (torch.is_grad_enabled() or not may_shorten(x)
            or not isinstance(norm, _BatchNorm) or norm.training
            or norm.running_mean is None):
        return norm(conv(x))
    scale, shift = scale_and_shift(norm)
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return F.conv2d(x, conv.weight * scale.view(-1, 1, 1, 1), shift,
                    conv.stride, conv.padding, conv.dilation, conv.groups)
