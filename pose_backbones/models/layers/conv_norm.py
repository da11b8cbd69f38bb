"""Convolutions and their norms: start values, and computed as one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .shortcuts import may_shorten

#: ways to start convolutions, see `init_convolution`
CONV_INITS = ('small', 'kaiming')


def check_conv_init(value: str) -> None:
    """Refuse what `init_convolution` does not know."""
    if value not in CONV_INITS:
        raise ValueError(f'conv_init is {value!r}: expected {" or ".join(map(repr, CONV_INITS))}')


def init_convolution(conv: nn.Conv2d, how: str) -> None:
    """Set start values, in place.

    Args:
        conv: Its bias, if it has one, becomes 0.
        how: `'small'`: normal, with a standard deviation of .001; or
            `'kaiming'`: normal, by the fan-out, before a ReLU. Behind a norm
            the scale changes no output, but how far a step of Adam goes.
    """
    if how == 'kaiming':
        nn.init.kaiming_normal_(conv.weight, mode='fan_out', nonlinearity='relu')
    else:
        nn.init.normal_(conv.weight, std=0.001)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


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
    if (
        torch.is_grad_enabled()
        or not may_shorten(x)
        or not isinstance(norm, _BatchNorm)
        or norm.training
        or norm.running_mean is None
    ):
        return norm(conv(x))
    scale, shift = scale_and_shift(norm)
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return F.conv2d(
        x,
        conv.weight * scale.view(-1, 1, 1, 1),
        shift,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
    )
