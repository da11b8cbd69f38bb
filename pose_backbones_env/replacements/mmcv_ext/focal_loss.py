"""Focal loss (arXiv 1708.02002) of logits (sigmoid) and of probabilities (softmax).

Targets are class indices (N, ), int64. `weight` has one value per class, or is empty.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .autograd import widen


def _class_weights(weight: Tensor, target: Tensor) -> Tensor:
    """Return the weight of the class of each target, (N, ).

    Raises:
        ValueError: A target is not the index of a class. (mmcv reads beyond the end.)
    """
    if target.numel() and not 0 <= target.min() <= target.max() < len(weight):
        raise ValueError(
            f'with class weights, targets have to be 0 to {len(weight) - 1}, got '
            f'{target.min().item()} to {target.max().item()}'
        )
    return widen(weight)[target]


def _log(probability: Tensor) -> Tensor:
    return probability.clamp(min=torch.finfo(probability.dtype).tiny).log()


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Compute the focal loss of each logit.

    Deviation: log(1 - p) is computed from the logit; mmcv's is inaccurate for logits above 10 and
    constant above 17.

    Args:
        input: Logits (N, C).
        target: (N, ); any index that is not a class means background.
        weight: (C, ) or empty.
        output: (N, C), is overwritten.
        gamma: Exponent.
        alpha: Factor of the loss of positives; negatives have 1 - alpha.
    """
    logits = widen(input)
    positive = target[:, None] == torch.arange(logits.size(1), device=target.device)
    p = logits.sigmoid()
    loss = torch.where(
        positive,
        -alpha * (1 - p) ** gamma * F.logsigmoid(logits),
        -(1 - alpha) * p**gamma * F.logsigmoid(-logits),
    )
    if weight.numel():
        loss *= _class_weights(weight, target)[:, None]
    output.copy_(loss)


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivatives of `sigmoid_focal_loss_forward` into `grad_input`, (N, C)."""
    logits = widen(input)
    positive = target[:, None] == torch.arange(logits.size(1), device=target.device)
    p = logits.sigmoid()
    q = (-logits).sigmoid()
    gradient = torch.where(
        positive,
        -alpha * q**gamma * (q - gamma * p * F.logsigmoid(logits)),
        (1 - alpha) * p**gamma * (p - gamma * q * F.logsigmoid(-logits)),
    )
    if weight.numel():
        gradient *= _class_weights(weight, target)[:, None]
    grad_input.copy_(gradient)


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Compute the focal loss of each sample.

    Args:
        input: Probabilities (N, C), the softmax of the logits.
        target: (N, ); a negative target is ignored.
        weight: (C, ) or empty.
        output: (N, ), is overwritten.
        gamma: Exponent.
        alpha: Factor.
    """
    p = widen(input).gather(1, target.clamp(min=0)[:, None]).squeeze(1)
    loss = -alpha * (1 - p) ** gamma * _log(p) * (target >= 0)
    if weight.numel():
        loss *= _class_weights(weight, target.clamp(min=0))
    output.copy_(loss)


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivatives of `softmax_focal_loss_forward` for the logits into `grad_input`.

    Args:
        buff: Unused, (N, ).
        grad_input: (N, C), is overwritten.
    """
    probabilities = widen(input)
    index = target.clamp(min=0)[:, None]
    p = probabilities.gather(1, index)
    q = (1 - p).clamp(min=torch.finfo(p.dtype).tiny)
    factor = alpha * (gamma * q ** (gamma - 1) * p * _log(p) - q**gamma) * (target >= 0)[:, None]
    if weight.numel():
        factor *= _class_weights(weight, target.clamp(min=0))[:, None]
    one_hot = torch.zeros_like(probabilities).scatter_(1, index, 1)
    grad_input.copy_(factor * (one_hot - probabilities))
