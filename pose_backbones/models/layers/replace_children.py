"""Modules of PyTorch that have parts in common."""

import copy
from collections.abc import Mapping

from torch import nn


def with_modules(module: nn.Module, others: Mapping[str, nn.Module]) -> nn.Module:
    """A module like another, but for some of its children.

    Args:
        module: It stays as it is.
        others: Name of a child → what takes its place.

    Returns:
        A copy that has all else in common with the module.
    """
    twin = copy.copy(module)
    twin._modules = {**module._modules, **others}
    return twin
