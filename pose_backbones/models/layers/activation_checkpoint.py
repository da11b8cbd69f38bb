"""Activation checkpointing that leaves batch norm's statistics right."""

from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


@contextmanager
def _statistics_kept(module: nn.Module):
    """Batch norms of `module` work as in training, but record nothing."""
    norms = [
        child
        for child in module.modules()
        if isinstance(child, _BatchNorm) and child.track_running_stats
    ]
    recorded = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, recorded):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


def checkpointed(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """`module(x)` that keeps no inner activation for the backward pass.

    They are computed again when the gradient is. The second pass draws the
    same random numbers (drop path) and does not count the batch once more in
    the running statistics of batch norm, so that training with and without
    it is the same.

    Args:
        module: Any module of one tensor.
        x: Its input.

    Returns:
        Its output.
    """
    if not torch.is_grad_enabled():
        return module(x)
    return checkpoint(
        module, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(module))
    )
