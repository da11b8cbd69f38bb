"""Sigmas and limbs of keypoints, given as numbers or by a dataset description."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .metainfo import read_metainfo

#: the dataset description of COCO that MMPose ships
COCO = 'configs/_base_/datasets/coco.py'
#: limbs of HRCoMer's limb cost and loss, by names of keypoints: those of COCO (from the nose, of
#: arms and legs) and of CrowdPose (neck to head)
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
    """Return the sigmas (labelling errors) of keypoints.

    Args:
        sigmas: For each of K keypoints, the standard deviation of its labels over the square root
            of the area of the person; or a dataset metainfo file, such as
            `configs/_base_/datasets/coco.py`.

    Returns:
        The sigmas, (K,).

    Raises:
        ValueError: If the sigmas are not positive numbers, or the file is not a metainfo file.
    """
    if isinstance(sigmas, str | os.PathLike):
        sigmas = read_metainfo(sigmas)['sigmas']
    values = np.asarray(sigmas, float)
    if values.ndim != 1 or not len(values) or not (values > 0).all():
        raise ValueError(
            f'sigmas is {sigmas!r}: expected a positive number for each keypoint, or the '
            'description of a dataset'
        )
    return values


def read_limbs(limbs: str | Sequence[Sequence[int]]) -> Tensor:
    """Return the limbs between keypoints.

    Args:
        limbs: Pairs of indices of keypoints, or a dataset metainfo file. For a file, the limbs are
            those that the original code uses for COCO and CrowdPose, selected by the names of the
            keypoints. If the file has none of these names, they are the links of the skeleton.

    Returns:
        The limbs, (L, 2), int64.

    Raises:
        ValueError: If the limbs are not pairs of indices, or the file is not a metainfo file.
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
            f'limbs is {limbs!r}: expected pairs of indices of keypoints, or the description of a '
            'dataset'
        )
    return torch.from_numpy(pairs.astype(np.int64))


def check_limbs(highest: int, count: int) -> None:
    """Check that limbs refer to existing keypoints.

    Args:
        highest: Highest index in the limbs.
        count: Number of keypoints.

    Raises:
        ValueError: If the index is too high.
    """
    if highest >= count:
        raise ValueError(
            f'limbs go up to keypoint {highest}: expected indices below '
            f'{count}, the number of keypoints'
        )
