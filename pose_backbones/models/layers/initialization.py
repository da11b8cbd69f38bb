"""Weight initialization shared by backbones and heads."""

import math

from torch import nn

#: names of initializations, see `init_convolution`
CONV_INITS = ('small', 'kaiming')


def check_conv_init(value: str) -> None:
    """Raise `ValueError` if `init_convolution` does not know the initialization."""
    if value not in CONV_INITS:
        raise ValueError(f'conv_init is {value!r}: expected {" or ".join(map(repr, CONV_INITS))}')


def init_convolution(conv: nn.Conv2d, method: str) -> None:
    """Initialize a convolution, in place.

    Args:
        conv: The convolution. Its bias, if it has one, becomes 0.
        method: `'small'`: normal, with a standard deviation of .001; or `'kaiming'`: normal, by the
            fan-out, for a ReLU that follows. If a norm follows, the scale has no effect on the
            output, only on the relative size of a step of Adam.
    """
    if method == 'kaiming':
        nn.init.kaiming_normal_(conv.weight, mode='fan_out', nonlinearity='relu')
    else:
        nn.init.normal_(conv.weight, std=0.001)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def init_conv_fan_out(module: nn.Module) -> None:
    """Initialize convolutions with normal weights of variance 2 / fan-out and zero bias.

    The fan-out is the number of outputs that depend on one input. For a grouped convolution, it is
    `kernel area × out_channels / groups`. PyTorch's `kaiming_normal_` ignores the groups, and its
    weights of depth-wise convolutions are far too small.

    Args:
        module: A module whose convolutions are initialized in place. Other layers are unchanged.
    """
    for conv in module.modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        fan_out = math.prod(conv.kernel_size) * conv.out_channels
        std = math.sqrt(2.0 * conv.groups / fan_out)
        nn.init.normal_(conv.weight, std=std)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
