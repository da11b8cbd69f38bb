"""Precision and gradients of operators that are written in PyTorch."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Return a tensor in float32, or in float64 if it has that dtype."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def gradients(
    function: Callable[..., Tensor], inputs: Iterable[Tensor], grad_output: Tensor
) -> Sequence[Tensor]:
    """Return the gradients of a function by computing it again.

    A backward pass of mmcv receives the inputs of the forward pass, but no graph. Its cost is
    therefore that of the forward pass and of PyTorch's backward pass.

    Args:
        function: Takes `inputs` and returns a tensor of the shape of `grad_output`.
        inputs: Tensors of floating-point numbers, all of which the function uses.
        grad_output: Gradient of the loss with respect to the output.

    Returns:
        Gradients with respect to the inputs, in float32 or float64.
    """
    with torch.enable_grad():
        leaves = [widen(tensor.detach()).requires_grad_() for tensor in inputs]
        output = function(*leaves)
        return torch.autograd.grad(output, leaves, grad_output.to(output.dtype))
