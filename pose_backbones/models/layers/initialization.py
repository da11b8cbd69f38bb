"""Weight initialization shared by backbones and heads."""

import copy
import math

import torch
from mmengine.model import BaseModule
from torch import nn

#: names of initializations, see `init_convolution`
CONV_INITS = ('small', 'kaiming')


class MetaDeviceInit(BaseModule):
    """Base class of modules that `init_weights` initializes completely after a build on `meta`.

    Modules that are built on PyTorch's device `meta`, as for FSDP, get their memory from
    `to_empty`. Values that constructors set, such as those of norms, layer scales and buffers, are
    lost. `init_weights` takes them from a second module, which it builds with the same arguments.
    """

    _meta_arguments: tuple[tuple, dict] | None = None

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        if torch.empty(0).is_meta:
            arguments = copy.deepcopy((args, kwargs))
            object.__setattr__(self, '_meta_arguments', arguments)
        return self

    @torch.no_grad()
    def set_constructor_values(self) -> None:
        """Set the values that the constructor sets, if the module was built on `meta`."""
        if self._meta_arguments is None or any(value.is_meta for value in self.parameters()):
            return
        args, kwargs = self._meta_arguments
        values = _tensors(type(self)(*args, **kwargs))
        for name, value in _tensors(self).items():
            value.copy_(values[name])
        for module in self.modules():
            if isinstance(module, MetaDeviceInit):
                module._meta_arguments = None

    def init_weights(self) -> None:
        """Initialize the weights according to `init_cfg`."""
        if not self._is_init:
            self.set_constructor_values()
        super().init_weights()


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


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
