"""Patch MMPose's `JSDiscretLoss`, the loss of DSNT, whose gradients are NaN where a map is zero.

A heatmap is zero for each keypoint that is not labelled (its weight is 0), and in cells that are
far from a narrow peak. There, PyTorch's `kl_div` has the gradients log(0) for the target and 0 / 0
for log(target), since it is composed of other operators (PyTorch 1.13). The patched divergence has
the same values, and finite gradients, as the original implementation of DSNT.
"""

from mmpose.models.losses.classification_loss import JSDiscretLoss
from torch import Tensor

_EPS = 1e-24


def kl(self: JSDiscretLoss, p: Tensor, q: Tensor) -> Tensor:
    """Compute the terms of the Kullback-Leibler divergence of p from q.

    Args:
        self: The loss.
        p, q: Heatmaps (N, K, H, W).

    Returns:
        (N, K, H, W).
    """
    return p * ((p + _EPS).log() - (q + _EPS).log())


JSDiscretLoss.kl = kl
