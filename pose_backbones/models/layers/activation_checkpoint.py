"""Activation checkpointing with correct statistics of batch norms."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpointed(module: nn.Module, x: Tensor) -> Tensor:
    """Return `module(x)` without keeping inner activations for the backward pass.

    They are computed again in the backward pass, with the same random numbers (drop path). The
    batch is counted once in the running statistics of batch norms, so that training with and
    without checkpointing is the same.

    `torch.compile` leaves the module out of its graphs, since a compiled checkpoint of PyTorch 2.15
    records the statistics twice and draws other random numbers in the backward pass.

    Args:
        module: A module with one input and one output.
        x: Its input.
    """
    if not torch.is_grad_enabled():
        return module(x)
    if torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling():
        return module(x)  # torch.export: there is no backward pass
    return _checkpointed(module, x)


@torch.compiler.disable
def _checkpointed(module: nn.Module, x: Tensor) -> Tensor:
    return checkpoint(
        module, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _NotRecording(module))
    )


def record_statistics_once(module: nn.Module) -> None:
    """Let batch norms record no statistics while their input is computed again in a backward pass.

    Use it for modules with their own activation checkpointing, such as those of timm, which would
    count each batch twice. Calling this again has no effect.

    Args:
        module: Hooks are added to its batch norms.
    """
    for norm in _recording_norms(module):
        if not hasattr(norm, 'paused_state'):
            norm.paused_state = None
            norm.register_forward_pre_hook(_pause_in_backward)
            norm.register_forward_hook(_resume, always_call=True)


def watch_saved_tensors(callback: Callable[[Tensor], None]) -> AbstractContextManager:
    """Return a context that calls a function with each tensor that autograd keeps for backward."""

    def pack(tensor: Tensor) -> Tensor:
        callback(tensor)
        return tensor

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)


def _recording_norms(module: nn.Module) -> list[_BatchNorm]:
    return [
        child
        for child in module.modules()
        if isinstance(child, _BatchNorm) and child.track_running_stats
    ]


class _NotRecording:
    """Context in which batch norms work as in training without recording statistics.

    It is entered in each backward pass; with `retain_graph=True`, there can be several.

    Args:
        module: The module with the batch norms.
    """

    def __init__(self, module: nn.Module) -> None:
        self._norms = _recording_norms(module)
        self._states: list[tuple[float | None, Tensor]] = []

    def __enter__(self) -> None:
        self._states = [_pause(norm) for norm in self._norms]

    def __exit__(self, *error: object) -> None:
        for norm, state in zip(self._norms, self._states):
            _restore(norm, state)


def _pause(norm: _BatchNorm) -> tuple[float | None, Tensor]:
    """Stop recording statistics; return the state for `_restore`."""
    state = (norm.momentum, norm.num_batches_tracked.clone())
    norm.momentum = 0.0
    return state


def _restore(norm: _BatchNorm, state: tuple[float | None, Tensor]) -> None:
    norm.momentum, batches = state
    norm.num_batches_tracked.copy_(batches)


def _is_in_backward() -> bool:
    """Return whether autograd is running a backward pass; PyTorch has no public function for it."""
    return torch._C._current_graph_task_id() != -1


def _pause_in_backward(norm: _BatchNorm, _inputs: tuple) -> None:
    if norm.training and norm.track_running_stats and _is_in_backward():
        norm.paused_state = _pause(norm)


def _resume(norm: _BatchNorm, _inputs: tuple, _output) -> None:
    if norm.paused_state is not None:
        _restore(norm, norm.paused_state)
        norm.paused_state = None
