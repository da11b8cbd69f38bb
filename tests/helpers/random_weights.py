"""Random weights with which every layer affects the output."""

from typing import TypeVar

import torch
from torch import nn

Module = TypeVar('Module', bound=nn.Module)


def randomize(module: Module, seed: int = 0) -> Module:
    """Set all parameters and statistics of a module to random values, in place.

    Layers of any depth neither saturate nor vanish: the weights of a convolution or a linear layer
    are divided by the root of the number of its inputs, and factors have a mean of 1.

    Args:
        module: Module in any precision.
        seed: Seed of the values.

    Returns:
        The module.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if not value.is_floating_point() or name.endswith('regular_matrix'):
            continue  # a count, or the constant positions of a kernel
        if name.endswith('running_var'):
            value.uniform_(0.5, 2, generator=generator)
        elif 'matrix_conv' in name:  # offsets in pixels
            value.normal_(std=0.2, generator=generator)
        elif value.ndim > 1:
            scale = (1.5 / value[0].numel()) ** 0.5
            value.normal_(std=scale, generator=generator)
        else:
            value.normal_(mean=name.endswith('weight'), std=0.3, generator=generator)
    return module
