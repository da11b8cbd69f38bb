"""Weight initialization shared by the convolutional backbones."""

import math

from torch import nn


def init_conv_fan_out(module: nn.Module) -> None:
    """Normal weights of variance 2 / fan out, zero bias, for convolutions.

    The fan out counts the outputs that one input feeds, so for a grouped
    convolution it is `kernel area × out_channels / groups`. Torch's
    `kaiming_normal_` leaves the groups out, which makes depth-wise weights
    far too small.

    Args:
        module: Convolutions in it are initialized, in place; anything else
            keeps its values.
    """
    for conv in module.modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        fan_out = math.prod(conv.kernel_size) * conv.out_channels
        std = math.sqrt(2.0 * conv.groups / fan_out)
        nn.init.normal_(conv.weight, std=std)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
