"""What the crop shows of a person, and which key points are hidden.

`ExtendBBox`, `HalfBody`, `RandomScaleRotation` and MMPose's `RandomFlip`, in
this order, are the augmentation of MSPN.
"""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS

#: `keypoints_visible` of key points that are labelled and hidden
HIDDEN = 0.5
#: labelled key points that a half of the body needs to be looked at
_FEWEST_OF_HALF = 4
#: the same where neither half has as many: the upper one is taken
_FEWEST_OF_UPPER = 3


@TRANSFORMS.register_module()
class ExtendBBox(BaseTransform):
    """Enlarge a box around its centre, by its own factor along each axis.

    Takes and changes `bbox_scale` (N, 2), width and height. The crop that
    follows adds to the box until it has the input's ratio of sides.

    Source: https://github.com/megvii-research/MSPN, whose people are
    enlarged more along y.

    Args:
        x: Factor of the width; two: drawn evenly between them.
        y: Factor of the height.

    Raises:
        ValueError: If a factor is not positive, or the second is less than
            the first.
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
            f'{name} is {value!r}: expected a positive factor, or the least and the greatest'
        )
    return span


@TRANSFORMS.register_module()
class HalfBody(BaseTransform):
    """Look at the upper or the lower half of a person, now and then.

    Takes `keypoints` (N, K, 2) in pixels and `keypoints_visible` (N, K), 0
    for what is not labelled; changes `bbox_center` and `bbox_scale` (N, 2) of
    the people that it is done to: the centre becomes the middle of the box
    around the labelled key points of the half, width and height those of this
    box, each times a factor of its own. What was done to the box before is
    lost, so this belongs behind `ExtendBBox`.

    The upper half is taken with `prob_upper` if it has more than 3 labelled
    key points; else the lower, if it has more than 3; else the upper, if it
    has 3; else the person stays whole.

    Source: https://github.com/megvii-research/MSPN. On COCO: key points 0 to
    12, so with the hips, are upper; prob .3, min_points 4 ("more than 3"), x
    (1, 1.6), y (1, 1.8). On MPII: 7 to 15; .5, 9, (1, 1.6), (1, 1.6). The
    upper half is preferred where a draw from the standard normal distribution
    is below .5, which is the default of `prob_upper`.

    Deviations: A person whose key points all lie at one place stays whole;
    there, the crop would have no extent.

    Args:
        upper: Indices of the key points of the upper half; all others are of
            the lower one.
        x: Factor of the width, drawn evenly between the two; one: that.
        y: Factor of the height.
        prob: Of doing it.
        min_points: Fewest labelled key points of the person.
        prob_upper: Of the upper half, where it has enough key points.

    Raises:
        ValueError: If an argument is not as above, or the people do not have
            the key points `upper`.
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
            raise ValueError(f'upper is {tuple(upper)}: expected indices of key points, each once')
        if min_points < 1:
            raise ValueError(
                f'min_points is {min_points}: expected a number of key points, at least 1'
            )
        self.upper = tuple(upper)
        self.x = _span('x', x)
        self.y = _span('y', y)
        self.prob = _probability('prob', prob)
        self.min_points = min_points
        self.prob_upper = _probability('prob_upper', prob_upper)

    def transform(self, results: dict) -> dict:
        """Choose people and halves, and set their boxes."""
        points = results['keypoints']
        # Whether at all, which half, factor of x, factor of y.
        draws = np.random.rand(len(points), 4)
        chosen = self._choose(results['keypoints_visible'] > 0, draws)
        if not chosen.any():
            return results
        low, high = (
            reduce(np.where(chosen[..., None], points, fill), axis=1)
            for reduce, fill in ((np.min, np.inf), (np.max, -np.inf))
        )
        (done,) = np.nonzero((high > low).any(1))
        low, high = low[done], high[done]
        least, most = np.transpose((self.x, self.y))
        factors = least + draws[done, 2:] * (most - least)
        for key, value in (
            ('bbox_center', (low + high) / 2),
            ('bbox_scale', (high - low) * factors),
        ):
            results[key] = results[key].copy()
            results[key][done] = value
        return results

    def _choose(self, labelled: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Key points to look at: (N, K) bool, none where it is not done."""
        count = labelled.shape[1]
        if max(self.upper) >= count:
            raise ValueError(
                f'upper has {max(self.upper)}, but people have {count} key '
                f'points: expected indices up to {count - 1}'
            )
        is_upper = np.zeros(count, bool)
        is_upper[list(self.upper)] = True
        upper, lower = labelled & is_upper, labelled & ~is_upper
        many_upper, many_lower = (half.sum(1) >= _FEWEST_OF_HALF for half in (upper, lower))
        take_upper = (draws[:, 1] < self.prob_upper) & many_upper | ~many_lower
        chosen = np.where(take_upper[:, None], upper, lower)
        done = (
            (labelled.sum(1) >= self.min_points)
            & (draws[:, 0] < self.prob)
            & (chosen.sum(1) >= _FEWEST_OF_UPPER)
        )
        return chosen & done[:, None]


@TRANSFORMS.register_module()
class RandomScaleRotation(BaseTransform):
    """Scale boxes, and rotate some, by even draws.

    Takes and changes `bbox_scale` (N, 2); adds `bbox_rotation` (N,) in
    degrees, 0 for boxes that are not rotated.

    Source: https://github.com/megvii-research/MSPN. On COCO: scale .8 times
    (.75, 1.25), degrees 45, prob .5; on MPII: (.75, 1.25), 60, .5.

    Deviations from MMPose's `RandomBBoxTransform`: draws are even, not of a
    truncated normal distribution, and boxes are not shifted.

    Args:
        scale: Factor of width and height, drawn evenly between the two; one:
            that.
        degrees: The greatest rotation, either way.
        prob: Of a rotation.

    Raises:
        ValueError: If an argument is not as above.
    """

    def __init__(self, scale: float | Sequence[float], degrees: float, prob: float):
        if not 0 <= degrees <= 180:
            raise ValueError(f'degrees is {degrees!r}: expected the greatest rotation, 0 to 180')
        self.scale = _span('scale', scale)
        self.degrees = degrees
        self.prob = _probability('prob', prob)

    def transform(self, results: dict) -> dict:
        """Scale and rotate the boxes."""
        size = results['bbox_scale']
        # Factor, whether to rotate, how far.
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
    """Tell hidden from visible key points, which MMPose's COCO does not.

    Takes `raw_ann_info`, with `keypoints` as in COCO's files (x, y and 0 for
    not labelled, 1 for hidden, 2 for visible), and sets those of
    `keypoints_visible` (1, K) that are hidden to 1/2. Belongs before flips.
    Annotations without `keypoints` stay as they are: all are visible.
    """

    def transform(self, results: dict) -> dict:
        """Mark the hidden key points."""
        raw = (results.get('raw_ann_info') or {}).get('keypoints')
        if raw is not None:
            marks = np.array(raw, np.float32).reshape(1, -1, 3)[..., 2]
            visible = results['keypoints_visible']
            results['keypoints_visible'] = np.where((visible > 0) & (marks == 1), HIDDEN, visible)
        return results
