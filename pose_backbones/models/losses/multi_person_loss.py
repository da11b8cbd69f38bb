"""Losses of HRCoMer for queries, matched people and heatmaps.

All losses are computed in float32, also for outputs in half precision. Without targets a loss is 0
with zero gradients, so that a distributed model has no unused parameters.

Source: https://github.com/CR320/ConvNeXtPose
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS
from ...structures.oks import keypoint_similarity
from ...structures.skeleton import COCO, check_limbs, read_limbs, read_sigmas
from ...utils.arguments import check_number
from ..layers import at_least_float32

_EPS = 1e-5


@MODELS.register_module()
class BinaryFocalLoss(nn.Module):
    """Focal loss for the confidence of queries, which are matched to a person or to none.

    Paper: https://arxiv.org/abs/1708.02002

    Args:
        gamma: Exponent of the error of the probability: 0, or at least 1.
        alpha: Weight of queries with a person; the others have the weight 1 - alpha.
        loss_weight: Factor.

    Raises:
        ValueError: For an exponent between 0 and 1, whose gradients are unbounded.
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 0.25, loss_weight: float = 1.0):
        super().__init__()
        _check_exponent('gamma', gamma)
        for name, value in (('alpha', alpha), ('loss_weight', loss_weight)):
            check_number(name, value)
        self.gamma, self.alpha = gamma, alpha
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """Compute the mean loss of the valid queries.

        Args:
            logits: Of any shape, such as (N, Q).
            targets: The same shape, 1 for a person and 0 for none.
            valid: The same shape; above 0 for queries that count.

        Returns:
            A scalar.
        """
        _check_shapes(logits, targets=targets, valid=valid)
        logits = at_least_float32(logits)
        targets = targets.to(logits)
        probabilities, counts = logits.sigmoid(), (valid > 0).float()
        errors = (1 - probabilities) * targets + probabilities * (1 - targets)
        weights = self.alpha * targets + (1 - self.alpha) * (1 - targets)
        losses = weights * errors**self.gamma
        losses = losses * F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
        return self.loss_weight * ((losses * counts).sum() / counts.sum().clamp(min=1))


class _PeopleLoss(nn.Module):
    """Base class of losses between P people and the queries that are matched to them."""

    def __init__(self, loss_weight: float):
        super().__init__()
        check_number('loss_weight', loss_weight)
        self.loss_weight = loss_weight

    def forward(self, joints: Tensor, targets: Tensor, areas: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            joints: (P, K, 2), x and y.
            targets: (P, K, 3), x, y and whether the joint counts (1 or 0).
            areas: (P,), areas of the people in the squared unit of the joints.

        Returns:
            A scalar.
        """
        if targets.shape != (*joints.shape[:2], 3) or joints.shape[2] != 2:
            raise ValueError(
                f'joints have the shape {tuple(joints.shape)} and targets '
                f'{tuple(targets.shape)}: expected (P, K, 2) and (P, K, 3)'
            )
        counts = (targets[..., 2] > 0).float()
        return self.loss_weight * self._compute(
            at_least_float32(joints),
            at_least_float32(targets[..., :2]),
            counts,
            at_least_float32(areas),
        )

    def _compute(self, joints: Tensor, targets: Tensor, counts: Tensor, areas: Tensor) -> Tensor:
        """Compute the loss without the factor, of (P, K, 2), (P, K, 2), (P, K) and (P,)."""
        raise NotImplementedError


@MODELS.register_module()
class JointL1Loss(_PeopleLoss):
    """Mean L1 distance of all joints that count, in units of the square root of the area.

    Args:
        loss_weight: Factor.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__(loss_weight)

    def _compute(self, joints: Tensor, targets: Tensor, counts: Tensor, areas: Tensor) -> Tensor:
        distances = (joints - targets).abs().sum(-1)
        distances = distances / (areas.sqrt() + _EPS)[:, None]
        return (distances * counts).sum() / (counts.sum() + _EPS)


@MODELS.register_module()
class LimbL1Loss(JointL1Loss):
    """Mean L1 distance of all limbs, in units of the square root of the area.

    A limb is the vector between two joints; it counts if both joints do.

    Args:
        limbs: Pairs of joints or a dataset description, see `read_limbs`.
        loss_weight: Factor.
    """

    def __init__(self, limbs: str | Sequence[Sequence[int]] = COCO, loss_weight: float = 1.0):
        super().__init__(loss_weight)
        self.register_buffer('limbs', read_limbs(limbs), persistent=False)
        # Stored on the CPU: reading it from a GPU would synchronize.
        self.highest = int(self.limbs.max())

    def _compute(self, joints: Tensor, targets: Tensor, counts: Tensor, areas: Tensor) -> Tensor:
        check_limbs(self.highest, joints.shape[1])
        start, end = self.limbs.T
        return super()._compute(
            joints[:, start] - joints[:, end],
            targets[:, start] - targets[:, end],
            counts[:, start] * counts[:, end],
            areas,
        )


@MODELS.register_module()
class OKSLoss(_PeopleLoss):
    """1 - OKS (object keypoint similarity), averaged over people.

    Args:
        sigmas: One for each joint or a dataset description, see `read_sigmas`.
        area_factor: Factor of the areas; 0.53 if they are areas of boxes, as in CrowdPose (see
            `structures.oks.AREA_OF_BOX`).
        loss_weight: Factor.
    """

    def __init__(
        self,
        sigmas: str | Sequence[float] = COCO,
        area_factor: float = 1.0,
        loss_weight: float = 1.0,
    ):
        super().__init__(loss_weight)
        check_number('area_factor', area_factor)
        self.area_factor = area_factor
        values = torch.from_numpy(read_sigmas(sigmas)).float()
        self.register_buffer('sigmas', values, persistent=False)

    def _compute(self, joints: Tensor, targets: Tensor, counts: Tensor, areas: Tensor) -> Tensor:
        if len(self.sigmas) != joints.shape[1]:
            raise ValueError(
                f'there are {len(self.sigmas)} sigmas: expected '
                f'{joints.shape[1]}, one for each joint'
            )
        squares = (joints - targets).square().sum(-1)
        similarity = keypoint_similarity(squares, self.area_factor * areas, self.sigmas, _EPS)
        oks = (similarity * counts).sum(-1) / (counts.sum(-1) + _EPS)
        return (1 - oks).sum() / max(len(oks), 1)


@MODELS.register_module()
class HeatmapFocalLoss(nn.Module):
    """Focal loss of heatmaps with peaks of 1 (CornerNet).

    Pixels with a target of 1 are joints. All other labelled pixels are negatives, with a weight
    that decreases towards a target of 1. The sum is divided by the number of joints.

    Paper: https://arxiv.org/abs/1808.01244

    Args:
        alpha: Exponent of the error of the prediction: 0, or at least 1.
        beta: Exponent of 1 - target, the weight of negatives: 0 or more.
        loss_weight: Factor.
        eps: Predictions are clamped to the range from eps to 1 - eps.

    Raises:
        ValueError: For an exponent alpha between 0 and 1, whose gradients are unbounded.
    """

    def __init__(
        self, alpha: float = 2.0, beta: float = 4.0, loss_weight: float = 1.0, eps: float = 1e-6
    ):
        super().__init__()
        _check_exponent('alpha', alpha)
        for name, value in (('beta', beta), ('loss_weight', loss_weight), ('eps', eps)):
            check_number(name, value)
        self.alpha, self.beta = alpha, beta
        self.loss_weight, self.eps = loss_weight, eps

    def forward(self, heatmaps: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            heatmaps: (N, K, height, width), from 0 to 1.
            targets: The same shape, from 0 to 1.
            valid: (N, height, width), 1 where the image is labelled.

        Returns:
            A scalar.
        """
        _check_shapes(heatmaps, targets=targets)
        _check_shapes(heatmaps[:, 0], valid=valid)
        predicted = at_least_float32(heatmaps).clamp(self.eps, 1 - self.eps)
        targets = at_least_float32(targets)
        joints = (targets == 1).float()
        labelled = (valid == 1)[:, None]
        positive = (1 - predicted) ** self.alpha * predicted.log() * joints
        negative = predicted**self.alpha * torch.log1p(-predicted)
        negative = negative * (1 - targets) ** self.beta * labelled * (1 - joints)
        total = positive.sum() + negative.sum()
        return -self.loss_weight * (total / joints.sum().clamp(min=1))


def _check_exponent(name: str, value: float) -> None:
    expected = '0, or at least 1'
    check_number(name, value, expected)
    if value != 0 and value < 1:
        raise ValueError(f'{name} is {value!r}: expected {expected}')


def _check_shapes(like: Tensor, **others: Tensor) -> None:
    for name, value in others.items():
        if value.shape != like.shape:
            raise ValueError(
                f'{name} has the shape {tuple(value.shape)}: expected {tuple(like.shape)}'
            )
