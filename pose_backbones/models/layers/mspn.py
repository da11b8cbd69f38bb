"""Layers and functions that the backbone and the head of MSPN share."""

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from .conv_norm import ConvNorm

#: feature maps of a stage, from stride 32 to stride 4
UNITS = 4
#: `ConvNorm` with bias, and with the parameter names of the original checkpoints
BiasedConvNorm = partial(ConvNorm, bias=True, names=('conv', 'bn'))


def check_stages(stages: int) -> None:
    """Raise `ValueError` if the argument `stages` of a backbone or head is not 1 to 9."""
    if isinstance(stages, bool) or not isinstance(stages, int) or not (1 <= stages <= 9):
        raise ValueError(
            f'stages is {stages!r}: expected a number of stages, 1 to 4 in the paper, at most 9'
        )


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a map by bilinear interpolation with aligned corners.

    Args:
        x: (N, C, h, w).
        size: Height and width.

    Returns:
        (N, C, *size); `x` itself if it has this size.
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=True)
