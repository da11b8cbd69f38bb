"""Copy modules and replace some of their children."""

import copy
from collections.abc import Mapping

from torch import nn


def replace_children(module: nn.Module, children: Mapping[str, nn.Module]) -> nn.Module:
    """Return a shallow copy of a module in which some children are replaced.

    Args:
        module: It is not changed.
        children: Name of a child → module that takes its place.

    Returns:
        A copy that shares everything else, parameters included, with `module`.
    """
    replaced = copy.copy(module)
    # PyTorch has no public way to make a copy that shares the other children.
    replaced._modules = {**module._modules, **children}
    return replaced
