"""Costs of matching a query to a person.

Each cost is called with `outputs`: `confidences`, logits (N, Q, 1), and `joints` (N, Q, K, 2); and
with `targets`: `joints` (N, M, K, 3), x, y and whether the joint counts (1 or 0), and `areas`
(N, M). All lengths have the same unit. It returns float32 costs (N, M, Q), or (N, 1, Q) if the cost
is the same for all people.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...registry import TASK_UTILS
from ...structures.skeleton import COCO, check_limbs, read_limbs
from ...utils.arguments import check_number

_EPS = 1e-5
#: Elements of a block. A block fits into the cache of a core, and is below the size from which
#: PyTorch uses several threads, whose overhead is larger than the gain here.
_BLOCK = 2**15


@TASK_UTILS.register_module()
class BinaryFocalCost:
    """Focal loss of a query as a positive, minus its focal loss as a negative.

    Args:
        weight: Factor.
        gamma: Exponent of the focal loss.
        alpha: Weight of positives; negatives have the weight 1 - alpha.
    """

    def __init__(self, weight: float = 1.0, gamma: float = 2.0, alpha: float = 0.25):
        for name, value in (('weight', weight), ('gamma', gamma), ('alpha', alpha)):
            check_number(name, value)
        self.weight, self.gamma, self.alpha = weight, gamma, alpha

    def __call__(self, outputs: Mapping, targets: Mapping) -> Tensor:
        """Return the costs (N, 1, Q)."""
        scores = outputs['confidences'].float().sigmoid().transpose(1, 2)
        complement = 1 - scores
        pos_loss = -(scores + _EPS).log() * self.alpha * complement**self.gamma
        neg_loss = -(complement + _EPS).log() * (1 - self.alpha) * scores**self.gamma
        return self.weight * (pos_loss - neg_loss)


@TASK_UTILS.register_module()
class JointL1Cost:
    """Mean L1 distance of the joints that count, in units of the square root of the person's area.

    Args:
        weight: Factor.
    """

    def __init__(self, weight: float = 4.0):
        check_number('weight', weight)
        self.weight = weight

    def __call__(self, outputs: Mapping, targets: Mapping) -> Tensor:
        """Return the costs (N, M, Q)."""
        joints = targets['joints']
        return self.weight * _mean_distance(
            outputs['joints'], joints[..., :2], joints[..., 2] > 0, targets['areas']
        )


@TASK_UTILS.register_module()
class LimbL1Cost:
    """Mean L1 distance of the limbs, in units of the square root of the person's area.

    A limb is the vector between two joints; it counts if both joints do.

    Args:
        weight: Factor.
        limbs: Pairs of joints or a dataset description, see `read_limbs`.
    """

    def __init__(self, weight: float = 2.0, limbs: str | Sequence[Sequence[int]] = COCO):
        check_number('weight', weight)
        self.weight = weight
        self.limbs = read_limbs(limbs)
        self.highest = int(self.limbs.max())

    def __call__(self, outputs: Mapping, targets: Mapping) -> Tensor:
        """Return the costs (N, M, Q).

        Raises:
            ValueError: If the index of a joint of a limb is too large.
        """
        joints = targets['joints']
        check_limbs(self.highest, joints.shape[2])
        start, end = self.limbs.T.to(joints.device)
        positions, counts = joints[..., :2], joints[..., 2] > 0
        predicted = outputs['joints']
        return self.weight * _mean_distance(
            predicted[:, :, start] - predicted[:, :, end],
            positions[:, :, start] - positions[:, :, end],
            counts[:, :, start] & counts[:, :, end],
            targets['areas'],
        )


def _mean_distance(predicted: Tensor, target: Tensor, counts: Tensor, areas: Tensor) -> Tensor:
    """Return mean L1 distances (N, M, Q), divided by the square root of the area.

    Args:
        predicted: Vectors (N, Q, V, 2).
        target: Vectors (N, M, V, 2).
        counts: (N, M, V), whether a target vector counts.
        areas: (N, M).
    """
    weights = counts / (counts.sum(-1, keepdim=True) + _EPS)
    weights = weights / (areas.float().sqrt() + _EPS)[..., None]
    return _weighted_l1(
        predicted.float().flatten(2),
        target.float().flatten(2),
        weights.repeat_interleave(2, dim=-1),
    )


def _weighted_l1(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sums (N, M, Q) of the absolute differences over C components.

    Args:
        predicted: (N, Q, C).
        target: (N, M, C).
        weights: (N, M, C).
    """
    # The order matters: a direct copy to (C, N, Q) takes several times as long.
    predicted = predicted.transpose(1, 2).contiguous().transpose(0, 1)[:, :, None]
    target, weights = (
        values.permute(2, 0, 1)[..., None].contiguous() for values in (target, weights)
    )
    if predicted.is_cuda:
        return _add_up(predicted, target, weights)
    step = max(1, _BLOCK // target.shape[2])
    return torch.cat(
        [
            torch.cat(
                [
                    _add_up(part, target[:, image : image + 1], weights[:, image : image + 1])
                    for part in predicted[:, image : image + 1].split(step, -1)
                ],
                -1,
            )
            for image in range(predicted.shape[1])
        ]
    )


def _add_up(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Compute `_weighted_l1` of (C, N, 1, Q), (C, N, M, 1) and (C, N, M, 1).

    The loop over the C components avoids a tensor of all differences, which would need too much
    memory.
    """
    total = predicted.new_zeros(*target.shape[1:3], predicted.shape[-1])
    distance = torch.empty_like(total)
    for value, goal, weight in zip(predicted, target, weights):
        torch.sub(value, goal, out=distance)
        total.addcmul_(distance.abs_(), weight)
    return total
