"""Sigmas and limbs of a skeleton, from MMPose's description of a data set."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .metainfo import read_metainfo

#: MMPose's description of COCO
COCO = 'configs/_base_/datasets/coco.py'
#: the limbs of HRCoMer's limb cost and loss, by names of key points: those
#: of COCO (from the nose, of arms and legs) and of CrowdPose (neck to head)
_HEAD = (
    ('nose', 'left_eye'),
    ('nose', 'right_eye'),
    ('nose', 'left_ear'),
    ('nose', 'right_ear'),
    ('neck', 'top_head'),
)
_ARMS_AND_LEGS = (('shoulder', 'elbow'), ('hip', 'knee'), ('elbow', 'wrist'), ('knee', 'ankle'))
_LIMBS = _HEAD + tuple(
    (f'{side}_{a}', f'{side}_{b}') for a, b in _ARMS_AND_LEGS for side in ('left', 'right')
)


def read_sigmas(sigmas: str | Sequence[float]) -> np.ndarray:
    """Get the labelling errors of key points.

    Args:
        sigmas: One for each of K key points: standard deviation over the
            square root of the person's area; or MMPose's description of the
            data set (a file), such as `configs/_base_/datasets/coco.py`.

    Returns:
        (K,).

    Raises:
        ValueError: For what are no positive numbers, or no such file.
    """
    if isinstance(sigmas, str | os.PathLike):
        sigmas = read_metainfo(sigmas)['sigmas']
    values = np.asarray(sigmas, float)
    if values.ndim != 1 or not len(values) or not (values > 0).all():
        raise ValueError(
            f'sigmas is {sigmas!r}: expected a positive number '
            "for each key point, or a data set's description"
        )
    return values


def read_limbs(limbs: str | Sequence[Sequence[int]]) -> Tensor:
    """Get the limbs of a skeleton.

    Args:
        limbs: Pairs of indices of key points; or MMPose's description of
            the data set (a file). Of a description, the limbs are those of
            the original's tables for COCO and CrowdPose, found by the names
            of the key points; if none is there, all that are drawn.

    Returns:
        (L, 2), int64.

    Raises:
        ValueError: For what are no pairs of indices, or no such file.
    """
    if isinstance(limbs, str | os.PathLike):
        metainfo = read_metainfo(limbs)
        index = metainfo['keypoint_name2id']
        limbs = [(index[a], index[b]) for a, b in _LIMBS if a in index and b in index] or metainfo[
            'skeleton_links'
        ]
    pairs = np.asarray(limbs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in 'iu' or pairs.min() < 0:
        raise ValueError(
            f'limbs is {limbs!r}: expected pairs of indices of '
            "key points, or a data set's description"
        )
    return torch.from_numpy(pairs.astype(np.int64))


def check_limbs(highest: int, count: int) -> None:
    """Refuse limbs of key points that are not there.

    Args:
        highest: The highest index in the limbs.
        count: Of the key points.

    Raises:
        ValueError: If it is too high.
    """
    if highest >= count:
        raise ValueError(
            f'limbs go up to key point {highest}: expected indices below '
            f'{count}, the number of key points'
        )
