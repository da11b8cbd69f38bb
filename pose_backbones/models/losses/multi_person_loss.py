"""Losses of HRCoMer: of queries, of the people they found, of heat maps.

All are computed in float32, also of outputs in half precision. Where there is
nothing to learn, a loss is 0 and its gradients are zeros, not missing: a
distributed model has no unused parameters.

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

_EPS = 1e-5


@MODELS.register_module()
class BinaryFocalLoss(nn.Module):
    """Focal loss of queries that have found a person or none.

    Paper: https://arxiv.org/abs/1708.02002

    Args:
        gamma: Exponent of the share that is wrong: 0, or at least 1.
        alpha: Weight of queries with a person; 1 - alpha is the others'.
        loss_weight: Factor.

    Raises:
        ValueError: For an exponent with which gradients have no bound.
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
            valid: The same shape; above 0 where it counts.

        Returns:
            A number.
        """
        _check_shapes(logits, targets=targets, valid=valid)
        logits, targets = logits.float(), targets.float()
        sure, counts = logits.sigmoid(), (valid > 0).float()
        wrong = (1 - sure) * targets + sure * (1 - targets)
        weights = self.alpha * targets + (1 - self.alpha) * (1 - targets)
        losses = weights * wrong**self.gamma
        losses = losses * F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
        return self.loss_weight * ((losses * counts).sum() / counts.sum().clamp(min=1))


class _PeopleLoss(nn.Module):
    """A loss of P people and the queries that found them."""

    def __init__(self, loss_weight: float):
        super().__init__()
        check_number('loss_weight', loss_weight)
        self.loss_weight = loss_weight

    def forward(self, joints: Tensor, targets: Tensor, areas: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            joints: (P, K, 2), x and y.
            targets: (P, K, 3), x, y and whether it counts (1 or 0).
            areas: (P,), in squares of the joints' unit.

        Returns:
            A number.
        """
        if targets.shape != (*joints.shape[:2], 3) or joints.shape[2] != 2:
            raise ValueError(
                f'joints have the shape {tuple(joints.shape)} and targets '
                f'{tuple(targets.shape)}: expected (P, K, 2) and (P, K, 3)'
            )
        counts = (targets[..., 2] > 0).float()
        return self.loss_weight * self._compute(
            joints.float(), targets[..., :2].float(), counts, areas.float()
        )

    def _compute(self, joints: Tensor, targets: Tensor, counts: Tensor, areas: Tensor) -> Tensor:
        """The loss before the factor, of (P, K, 2), (P, K, 2), (P, K) and
        (P,)."""
        raise NotImplementedError


@MODELS.register_module()
class JointL1Loss(_PeopleLoss):
    """Mean distance (L1) of all joints that count, in units of the square
    root of the person's area.

    Args:
        loss_weight: Factor.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__(loss_weight)

    def _compute(self, joints: Tensor, targets: Tensor, counts: Tensor, areas: Tensor) -> Tensor:
        away = (joints - targets).abs().sum(-1)
        away = away / (areas.sqrt() + _EPS)[:, None]
        return (away * counts).sum() / (counts.sum() + _EPS)


@MODELS.register_module()
class LimbL1Loss(JointL1Loss):
    """Mean distance (L1) of all limbs whose two joints count, in units of
    the square root of the person's area; a limb is the way from one of its
    joints to the other.

    Args:
        limbs: As for `read_limbs`: pairs of joints, or the description of a
            data set.
        loss_weight: Factor.
    """

    def __init__(self, limbs: str | Sequence[Sequence[int]] = COCO, loss_weight: float = 1.0):
        super().__init__(loss_weight)
        self.register_buffer('limbs', read_limbs(limbs), persistent=False)
        # Known here, since to ask the device would be to wait for it.
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
    """1 less the object keypoint similarity (OKS), mean of the people.

    Args:
        sigmas: As for `read_sigmas`: one for each joint, or the description
            of a data set.
        area_factor: Share of the area that counts; .53 where it is that of
            the box, as in CrowdPose.
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
    """Focal loss of heat maps whose peaks are 1 (CornerNet).

    A pixel of 1 is a joint. All others count as none, the less the nearer to
    1, and where they are labelled. The sum is divided by the number of
    joints.

    Paper: https://arxiv.org/abs/1808.01244

    Args:
        alpha: Exponent of the share that is wrong: 0, or at least 1.
        beta: Exponent of 1 - target: 0 or more.
        loss_weight: Factor.
        eps: Heat maps count as at least this far from 0 and 1.

    Raises:
        ValueError: For an exponent with which gradients have no bound.
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
            A number.
        """
        _check_shapes(heatmaps, targets=targets)
        _check_shapes(heatmaps[:, 0], valid=valid)
        found = heatmaps.float().clamp(self.eps, 1 - self.eps)
        targets = targets.float()
        joints = (targets == 1).float()
        labelled = (valid == 1)[:, None]
        yes = (1 - found) ** self.alpha * found.log() * joints
        no = found**self.alpha * torch.log1p(-found)
        no = no * (1 - targets) ** self.beta * labelled * (1 - joints)
        return -self.loss_weight * ((yes.sum() + no.sum()) / joints.sum().clamp(min=1))


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
