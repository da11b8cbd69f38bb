"""Non-maximum suppression of poses, for tests at several scales.

MMPose has a similar function, `mmpose.evaluation.functional.nearby_joints_nms`. It visits poses by
their score and loses poses without extent, which gives other results than the original code.
"""

import numpy as np
import torch
from torch import Tensor


def pose_nms(
    poses: Tensor, joint_scores: Tensor, max_distance: float = 0.05, num_close: int = 8
) -> Tensor:
    """Keep one pose of each group of similar poses.

    A pose is similar to another if more than `num_close` of their joints are closer than
    `max_distance` times the diagonal of the first pose. Poses are visited in their order. For each
    pose that is not removed yet, the similar pose with the highest score is kept, unless it has
    been removed; then all similar poses are removed.

    Source: https://github.com/CR320/ConvNeXtPose. Deviations: a pose is always similar to itself;
    the original loses a single pose and stops at a pose without extent.

    Args:
        poses: (n, K, 2), x and y.
        joint_scores: (n, K); the score of a pose is their mean.
        max_distance: Distance of similar joints, relative to the diagonal of a pose.
        num_close: Number of joints, less than K.

    Returns:
        Indices of the poses that are kept, in the order in which they are found.

    Raises:
        ValueError: If poses have at most `num_close` joints.
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
    similar = (distances < near[:, None, None]).sum(-1) > num_close
    similar.fill_diagonal_(True)
    scores = joint_scores.mean(-1).expand_as(similar)
    best = scores.masked_fill(~similar, -torch.inf).argmax(1)
    kept = _select(similar.cpu().numpy(), best.cpu().numpy())
    return torch.as_tensor(kept, device=poses.device)


def _select(similar: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return the indices of the poses that are kept.

    Args:
        similar: (n, n), whether a pose is similar to another.
        best: (n,), index of the best of the similar poses.
    """
    suppressed = np.zeros(len(best), bool)
    kept = []
    for index, winner in enumerate(best):
        if not suppressed[index] and not suppressed[winner]:
            kept.append(winner)
            suppressed |= similar[index]
    return np.array(kept, np.int64)
