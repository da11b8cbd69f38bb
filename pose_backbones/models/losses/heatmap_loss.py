"""Losses of heat maps that tell visible from hidden key points.

A key point's weight is 0 where it is not labelled, 1/2 where it is labelled
and hidden, 1 where it is visible.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS


@MODELS.register_module()
class VisibleKeypointsMSELoss(nn.Module):
    """Mean squared error to the maps of visible key points, and to zero for
    all others.

    Source: the loss of MSPN's coarse maps,
    https://github.com/megvii-research/MSPN. MMPose's `KeypointMSELoss`
    leaves key points that are not labelled out of account.

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
            A number.
        """
        target = target * (weights > 0.5)[:, :, None, None]
        return self.loss_weight * F.mse_loss(output, target)


@MODELS.register_module()
class HardKeypointsMSELoss(nn.Module):
    """Mean squared error of the key points of each person that are worst
    (online hard key-point mining).

    Key points that are not labelled have no error; hidden ones count as
    visible ones.

    Source: the loss of MSPN's last maps,
    https://github.com/megvii-research/MSPN.

    Args:
        topk: How many key points of a person.
        loss_weight: Factor.

    Raises:
        ValueError: If `topk` is no positive number.
    """

    def __init__(self, topk: int = 8, loss_weight: float = 1.0):
        super().__init__()
        if isinstance(topk, bool) or not isinstance(topk, int) or topk < 1:
            raise ValueError(f'topk is {topk!r}: expected a positive number of key points')
        self.topk = topk
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            output: (N, K, height, width).
            target: The same shape.
            weights: (N, K).

        Returns:
            A number.

        Raises:
            ValueError: If there are fewer key points than `topk`.
        """
        if output.shape[1] < self.topk:
            raise ValueError(
                f'topk is {self.topk}: expected at most {output.shape[1]}, the number of key points'
            )
        errors = F.mse_loss(output, target, reduction='none')
        errors = errors.flatten(2).mean(-1) * (weights > 0)
        return self.loss_weight * errors.topk(self.topk, dim=1)[0].mean()
