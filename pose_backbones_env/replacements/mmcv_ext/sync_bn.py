"""Batch normalization with statistics of all processes (`MMSyncBN`).

mmcv exchanges the statistics between these steps. Inputs are (N, C, L), statistics (C, ), float32.
"""

from torch import Tensor

from .autograd import widen


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Write the mean of each channel into `mean`."""
    mean.copy_(widen(input).mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Write the mean squared difference from `mean` into `var`."""
    var.copy_((widen(input) - mean[:, None]).square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: Tensor | float,
    group_size: int,
) -> None:
    """Normalize the input and update the running statistics.

    Args:
        input: (N, C, L).
        mean: Mean of all processes.
        var: Variance of all processes.
        weight: (C, ).
        bias: (C, ).
        running_mean: (C, ), is updated, or None.
        running_var: (C, ), is updated with the unbiased variance, or None.
        norm: (N, C, L), receives the normalized input, for the backward pass.
        std: (C, ), receives the standard deviation.
        output: (N, C, L), is overwritten.
        eps: Is added to the variance.
        momentum: Weight of the new values in the running statistics.
        group_size: Number of processes.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((widen(input) - mean[:, None]) / std[:, None])
    output.copy_(norm * weight[:, None] + bias[:, None])
    if running_mean is not None and running_var is not None:
        count = input.size(0) * input.size(2) * group_size
        unbiased = var * count / (count - 1) if count > 1 else var
        running_mean.copy_(momentum * mean + (1 - momentum) * running_mean)
        running_var.copy_(momentum * unbiased + (1 - momentum) * running_var)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Write the gradients of this process for weight and bias into the buffers."""
    gradient = widen(grad_output)
    grad_weight.copy_((gradient * norm).sum((0, 2)))
    grad_bias.copy_(gradient.sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Write the gradient for the input into `grad_input`.

    Args:
        grad_weight: Mean of the gradients of all processes.
        grad_bias: Mean of the gradients of all processes.
    """
    count = grad_output.size(0) * grad_output.size(2)
    common = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_((widen(grad_output) - common) * (weight / std)[:, None])
