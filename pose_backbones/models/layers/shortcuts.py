"""Whether what is only faster may stand for the plain way."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_PLAIN = ContextVar('plain', default=False)


def may_shorten(x: Tensor) -> bool:
    """Whether a shortcut for CPUs, of the same result, may be taken.

    Args:
        x: The input.

    Returns:
        False on other devices, in a trace and in `plain`.
    """
    return not (x.device.type != 'cpu' or torch.jit.is_tracing() or _PLAIN.get())


@contextmanager
def plain() -> Iterator[None]:
    """Compute each layer by its own operator, to compare or to profile."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)
