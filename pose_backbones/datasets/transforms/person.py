"""Transforms of the bounding box of a person, and the visibility of occluded keypoints.

`ExtendBBox`, `HalfBody`, `RandomScaleRotation` and MMPose's `RandomFlip`, in this order, are the
augmentation of MSPN.
"""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS

#: `keypoints_visible` of keypoints that are labelled but occluded
OCCLUDED = 0.5
#: number of labelled keypoints that a half of the body must have
_FEWEST_OF_HALF = 4
#: the same for the upper half, if neither half has as many
_FEWEST_OF_UPPER = 3


@TRANSFORMS.register_module()
class ExtendBBox(BaseTransform):
    """Enlarge a bounding box around its centre, with a separate factor along each axis.

    Modifies `bbox_scale` (N, 2), width and height. The crop that follows extends the box to the
    aspect ratio of the input.

    Source: https://github.com/megvii-research/MSPN, which enlarges boxes more along y.

    Args:
        x: Factor of the width; two numbers: sampled uniformly between them.
        y: Factor of the height.

    Raises:
        ValueError: If a factor is not positive, or the second is less than the first.
    """

    def __init__(self, x: float | Sequence[float], y: float | Sequence[float]):
        self.x = _span('x', x)
        self.y = _span('y', y)

    def transform(self, results: dict) -> dict:
        """Enlarge the boxes."""
        factors = [np.random.uniform(*span) for span in (self.x, self.y)]
        results['bbox_scale'] = results['bbox_scale'] * np.array(factors, np.float32)
        return results


def _span(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    span = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(span) != 2 or not 0 < span[0] <= span[1]:
        raise ValueError(
            f'{name} is {value!r}: expected a positive factor, or the minimum and the maximum'
        )
    return span


@TRANSFORMS.register_module()
class HalfBody(BaseTransform):
    """Randomly crop the upper or the lower half of the body.

    Uses `keypoints` (N, K, 2) in pixels and `keypoints_visible` (N, K), 0 for unlabelled keypoints.
    Modifies `bbox_center` and `bbox_scale` (N, 2) of the selected people: the new box is the box
    around the labelled keypoints of the half, with width and height multiplied by a factor each.
    Earlier changes of the box are lost, so this belongs after `ExtendBBox`.

    The upper half is taken with the probability `prob_upper` if it has more than 3 labelled
    keypoints; else the lower half, if it has more than 3; else the upper half, if it has 3;
    otherwise the box is not changed.

    Source: https://github.com/megvii-research/MSPN. On COCO, keypoints 0 to 12 (including the hips)
    are the upper half, prob is 0.3, min_points 4 ("more than 3"), x (1, 1.6), y (1, 1.8). On MPII:
    7 to 15, 0.5, 9, (1, 1.6), (1, 1.6). The original takes the upper half if a sample of the
    standard normal distribution is below 0.5, which is the default of `prob_upper`.

    Deviations: the box is not changed if all keypoints of the half are at the same position, where
    the crop of the original has no extent.

    Args:
        upper: Indices of the keypoints of the upper half; the others are the lower half.
        x: Factor of the width; two numbers: sampled uniformly between them.
        y: Factor of the height.
        prob: Probability of the crop.
        min_points: Minimum number of labelled keypoints of the person.
        prob_upper: Probability of the upper half, if it has enough keypoints.

    Raises:
        ValueError: If an argument is out of range, or the people do not have the keypoints
            `upper`.
    """

    def __init__(
        self,
        upper: Sequence[int],
        x: float | Sequence[float],
        y: float | Sequence[float],
        prob: float,
        min_points: int,
        prob_upper: float = 0.691462,
    ):
        if not upper or min(upper) < 0 or len(set(upper)) < len(upper):
            raise ValueError(f'upper is {tuple(upper)}: expected indices of keypoints, each once')
        if min_points < 1:
            raise ValueError(
                f'min_points is {min_points}: expected a number of keypoints, at least 1'
            )
        self.upper = tuple(upper)
        self.x = _span('x', x)
        self.y = _span('y', y)
        self.prob = _probability('prob', prob)
        self.min_points = min_points
        self.prob_upper = _probability('prob_upper', prob_upper)

    def transform(self, results: dict) -> dict:
        """Select people and halves, and set their boxes."""
        points = results['keypoints']
        # Samples for: whether to crop, which half, factor of x, factor of y.
        draws = np.random.rand(len(points), 4)
        chosen = self._choose(results['keypoints_visible'] > 0, draws)
        if not chosen.any():
            return results
        low, high = (
            reduce(np.where(chosen[..., None], points, fill), axis=1)
            for reduce, fill in ((np.min, np.inf), (np.max, -np.inf))
        )
        (selected,) = np.nonzero((high > low).any(1))
        low, high = low[selected], high[selected]
        least, most = np.transpose((self.x, self.y))
        factors = least + draws[selected, 2:] * (most - least)
        for key, value in (
            ('bbox_center', (low + high) / 2),
            ('bbox_scale', (high - low) * factors),
        ):
            results[key] = results[key].copy()
            results[key][selected] = value
        return results

    def _choose(self, labelled: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Select the keypoints of a half: (N, K) bool, all False if the box is kept."""
        count = labelled.shape[1]
        if max(self.upper) >= count:
            raise ValueError(
                f'upper has {max(self.upper)}, but the people have {count} '
                f'keypoints: expected indices up to {count - 1}'
            )
        is_upper = np.zeros(count, bool)
        is_upper[list(self.upper)] = True
        upper, lower = labelled & is_upper, labelled & ~is_upper
        many_upper, many_lower = (half.sum(1) >= _FEWEST_OF_HALF for half in (upper, lower))
        take_upper = (draws[:, 1] < self.prob_upper) & many_upper | ~many_lower
        chosen = np.where(take_upper[:, None], upper, lower)
        is_selected = (
            (labelled.sum(1) >= self.min_points)
            & (draws[:, 0] < self.prob)
            & (chosen.sum(1) >= _FEWEST_OF_UPPER)
        )
        return chosen & is_selected[:, None]


@TRANSFORMS.register_module()
class RandomScaleRotation(BaseTransform):
    """Scale bounding boxes and rotate some of them, with uniform distributions.

    Modifies `bbox_scale` (N, 2); adds `bbox_rotation` (N,) in degrees, 0 for boxes that are not
    rotated.

    Source: https://github.com/megvii-research/MSPN. On COCO: scale 0.8 times (0.75, 1.25), degrees
    45, prob 0.5; on MPII: (0.75, 1.25), 60, 0.5.

    Deviations from MMPose's `RandomBBoxTransform`: samples are uniform instead of truncated normal,
    and boxes are not shifted.

    Args:
        scale: Factor of width and height; two numbers: sampled uniformly between them.
        degrees: Maximum rotation in both directions.
        prob: Probability of a rotation.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, scale: float | Sequence[float], degrees: float, prob: float):
        if not 0 <= degrees <= 180:
            raise ValueError(f'degrees is {degrees!r}: expected the maximum rotation, 0 to 180')
        self.scale = _span('scale', scale)
        self.degrees = degrees
        self.prob = _probability('prob', prob)

    def transform(self, results: dict) -> dict:
        """Scale and rotate the boxes."""
        size = results['bbox_scale']
        # Samples for: factor, whether to rotate, angle.
        factor, rotated, turn = np.random.rand(3, len(size))
        low, high = self.scale
        factor = (low + factor * (high - low)).astype(np.float32)
        results['bbox_scale'] = size * factor[:, None]
        results['bbox_rotation'] = np.where(rotated < self.prob, self.degrees * (2 * turn - 1), 0)
        return results


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f'{name} is {value!r}: expected a probability, 0 to 1')
    return value


@TRANSFORMS.register_module()
class MarkHidden(BaseTransform):
    """Mark occluded keypoints, which MMPose's COCO dataset does not distinguish from visible ones.

    Uses `raw_ann_info` with `keypoints` as in COCO's files (x, y and 0 for unlabelled, 1 for
    occluded, 2 for visible), and sets `keypoints_visible` (1, K) of occluded keypoints to 0.5. Must
    come before flips. Annotations without `keypoints` are not changed.
    """

    def transform(self, results: dict) -> dict:
        """Mark the occluded keypoints."""
        raw = (results.get('raw_ann_info') or {}).get('keypoints')
        if raw is not None:
            marks = np.array(raw, np.float32).reshape(1, -1, 3)[..., 2]
            visible = results['keypoints_visible']
            results['keypoints_visible'] = np.where((visible > 0) & (marks == 1), OCCLUDED, visible)
        return results
