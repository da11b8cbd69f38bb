"""What it would cost if a query had to find a person.

Each is called with `outputs`: `confidences`, logits (N, Q, 1), and `joints`
(N, Q, K, 2); and `targets`: `joints` (N, M, K, 3), x, y and whether it counts
(1 or 0), and `areas` (N, M). Lengths have one unit. It returns (N, M, Q), or
(N, 1, Q) where all people cost the same, in float32.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...registry import TASK_UTILS
from ...structures.skeleton import COCO, check_limbs, read_limbs
from ...utils.arguments import check_number

_EPS = 1e-5
#: Elements of a block: it stays in a core's cache, and below the size from
#: which PyTorch starts threads, which costs more than they bring here.
_BLOCK = 2**15


@TASK_UTILS.register_module()
class BinaryFocalCost:
    """Focal loss as a person less that as none.

    Args:
        weight: Factor.
        gamma: Exponent of the focal loss.
        alpha: Weight of a person in it; 1 - alpha is that of none.
    """

    def __init__(self, weight: float = 1.0, gamma: float = 2.0, alpha: float = 0.25):
        for name, value in (('weight', weight), ('gamma', gamma), ('alpha', alpha)):
            check_number(name, value)
        self.weight, self.gamma, self.alpha = weight, gamma, alpha

    def __call__(self, outputs: Mapping, targets: Mapping) -> Tensor:
        """Get the costs: (N, 1, Q)."""
        sure = outputs['confidences'].float().sigmoid().transpose(1, 2)
        none = 1 - sure
        yes = -(sure + _EPS).log() * self.alpha * none**self.gamma
        no = -(none + _EPS).log() * (1 - self.alpha) * sure**self.gamma
        return self.weight * (yes - no)


@TASK_UTILS.register_module()
class JointL1Cost:
    """Mean distance (L1) of the joints that count, in units of the square
    root of the person's area.

    Args:
        weight: Factor.
    """

    def __init__(self, weight: float = 4.0):
        check_number('weight', weight)
        self.weight = weight

    def __call__(self, outputs: Mapping, targets: Mapping) -> Tensor:
        """Get the costs: (N, M, Q)."""
        joints = targets['joints']
        return self.weight * _mean_distance(
            outputs['joints'], joints[..., :2], joints[..., 2] > 0, targets['areas']
        )


@TASK_UTILS.register_module()
class LimbL1Cost:
    """Mean distance (L1) of the limbs whose two joints count, in units of
    the square root of the person's area; a limb is the way from one of its
    joints to the other.

    Args:
        weight: Factor.
        limbs: As for `read_limbs`: pairs of joints, or the description of a
            data set.
    """

    def __init__(self, weight: float = 2.0, limbs: str | Sequence[Sequence[int]] = COCO):
        check_number('weight', weight)
        self.weight = weight
        self.limbs = read_limbs(limbs)
        self.highest = int(self.limbs.max())

    def __call__(self, outputs: Mapping, targets: Mapping) -> Tensor:
        """Get the costs: (N, M, Q).

        Raises:
            ValueError: If there are limbs of joints that are not there.
        """
        joints = targets['joints']
        check_limbs(self.highest, joints.shape[2])
        start, end = self.limbs.T.to(joints.device)
        ways, counts = joints[..., :2], joints[..., 2] > 0
        found = outputs['joints']
        return self.weight * _mean_distance(
            found[:, :, start] - found[:, :, end],
            ways[:, :, start] - ways[:, :, end],
            counts[:, :, start] & counts[:, :, end],
            targets['areas'],
        )


def _mean_distance(found: Tensor, wanted: Tensor, counts: Tensor, areas: Tensor) -> Tensor:
    """Mean L1 distance (N, M, Q) of vectors (N, Q, V, 2) to (N, M, V, 2),
    where it counts (N, M, V), over the square root of the area (N, M)."""
    weights = counts / (counts.sum(-1, keepdim=True) + _EPS)
    weights = weights / (areas.float().sqrt() + _EPS)[..., None]
    return _weighted_l1(
        found.float().flatten(2), wanted.float().flatten(2), weights.repeat_interleave(2, dim=-1)
    )


def _weighted_l1(found: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums (N, M, Q) of the differences of numbers, (N, Q, C) and
    (N, M, C), with weights (N, M, C)."""
    # In this order: to copy (C, N, Q) at once takes several times as long.
    found = found.transpose(1, 2).contiguous().transpose(0, 1)[:, :, None]
    wanted, weights = (
        values.permute(2, 0, 1)[..., None].contiguous() for values in (wanted, weights)
    )
    if found.is_cuda:
        return _add_up(found, wanted, weights)
    step = max(1, _BLOCK // wanted.shape[2])
    return torch.cat(
        [
            torch.cat(
                [
                    _add_up(part, wanted[:, image : image + 1], weights[:, image : image + 1])
                    for part in found[:, image : image + 1].split(step, -1)
                ],
                -1,
            )
            for image in range(found.shape[1])
        ]
    )


def _add_up(found: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """`_weighted_l1` of (C, N, 1, Q), (C, N, M, 1) and (C, N, M, 1), one of
    C numbers at a time: all differences at once would fill the memory."""
    total = found.new_zeros(*wanted.shape[1:3], found.shape[-1])
    away = torch.empty_like(total)
    for number, goal, weight in zip(found, wanted, weights):
        torch.sub(number, goal, out=away)
        total.addcmul_(away.abs_(), weight)
    return total
