"""Non-maximum suppression of poses, for tests at several scales."""

import numpy as np
import torch
from torch import Tensor


def pose_nms(
    poses: Tensor, joint_scores: Tensor, max_distance: float = 0.05, num_close: int = 8
) -> Tensor:
    """Keep one of the poses that are about the same.

    Two poses are the same where more than `num_close` of their joints are
    nearer than `max_distance` of the first's diagonal. Poses are visited in
    their order. For each that is not yet gone, the best scored one of its
    like is kept, if that is not gone; then all of these are gone.

    Source: https://github.com/CR320/ConvNeXtPose. Deviations: a single pose,
    or one without extent, is its own like, where the original loses the
    first and stops at the second.

    Args:
        poses: (n, K, 2), x and y.
        joint_scores: (n, K); a pose's score is their mean.
        max_distance: Share of the diagonal of a pose's joints.
        num_close: How many joints, less than K.

    Returns:
        Indices of the poses kept, in the order in which they are found.

    Raises:
        ValueError: If poses can never be the same, having too few joints.
    """
    if num_close >= poses.shape[1]:
        raise ValueError(
            f'num_close is {num_close}: expected less than {poses.shape[1]}, the number of joints'
        )
    if not len(poses):
        return torch.zeros(0, dtype=torch.long, device=poses.device)
    extent = poses.amax(1) - poses.amin(1)
    near = max_distance * extent.square().sum(-1).sqrt()
    distances = (poses[:, None] - poses).square().sum(-1).sqrt()
    same = (distances < near[:, None, None]).sum(-1) > num_close
    same.fill_diagonal_(True)
    scores = joint_scores.mean(-1).expand_as(same)
    best = scores.masked_fill(~same, -torch.inf).argmax(1)
    kept = _visit(same.cpu().numpy(), best.cpu().numpy())
    return torch.as_tensor(kept, device=poses.device)


def _visit(same: np.ndarray, best: np.ndarray) -> np.ndarray:
    """The indices kept, from (n, n), who is like whom, and (n,), the best of
    each one's like."""
    gone = np.zeros(len(best), bool)
    kept = []
    for index, winner in enumerate(best):
        if not gone[index] and not gone[winner]:
            kept.append(winner)
            gone |= same[index]
    return np.array(kept, np.int64)
