"""Heatmap losses that distinguish visible and hidden keypoints.

The weight of a keypoint is 0 if it is not labelled, 1/2 if it is labelled and hidden, and 1 if it
is visible.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS


@MODELS.register_module()
class VisibleKeypointsMSELoss(nn.Module):
    """Mean squared error with respect to the heatmaps of visible keypoints, and to zero for others.

    Source: the loss of MSPN's coarse maps,
    https://github.com/megvii-research/MSPN. MMPose's `KeypointMSELoss` ignores keypoints that are
    not labelled.

    Args:
        loss_weight: Factor.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            output: (N, K, height, width).
            target: The same shape.
            weights: (N, K).

        Returns:
            A scalar.
        """
        target = target * (weights > 0.5)[:, :, None, None]
        return self.loss_weight * F.mse_loss(output, target)


@MODELS.register_module()
class HardKeypointsMSELoss(nn.Module):
    """Mean squared error of the worst keypoints of each person (online hard keypoint mining).

    Keypoints that are not labelled have no error; hidden keypoints count like visible ones.

    Source: the loss of MSPN's last maps,
    https://github.com/megvii-research/MSPN.

    Args:
        topk: Number of keypoints of each person.
        loss_weight: Factor.

    Raises:
        ValueError: If `topk` is not a positive integer.
    """

    def __init__(self, topk: int = 8, loss_weight: float = 1.0):
        super().__init__()
        if isinstance(topk, bool) or not isinstance(topk, int) or topk < 1:
            raise ValueError(f'topk is {topk!r}: expected a positive number of keypoints')
        self.topk = topk
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            output: (N, K, height, width).
            target: The same shape.
            weights: (N, K).

        Returns:
            A scalar.

        Raises:
            ValueError: If there are fewer keypoints than `topk`.
        """
        if output.shape[1] < self.topk:
            raise ValueError(
                f'topk is {self.topk}: expected at most {output.shape[1]}, the number of keypoints'
            )
        errors = F.mse_loss(output, target, reduction='none')
        errors = errors.flatten(2).mean(-1) * (weights > 0)
        return self.loss_weight * errors.topk(self.topk, dim=1)[0].mean()
