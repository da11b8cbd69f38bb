"""Computations for which half precision is too coarse."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager:
    """Return a context that disables mixed precision, if the device supports it."""
    kind = x.device.type
    # Dynamo cannot trace `is_autocast_available`.
    if torch.compiler.is_dynamo_compiling():
        return torch.autocast(kind, enabled=False)
    # The meta device has no mixed precision. In a graph from `torch.export`, each context becomes
    # a graph of its own.
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision, integers and booleans to float32; float64 is unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
