"""Drawing key points and skeletons on images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from ..datasets.sides import SIDE_COLOURS, find_sides, limb_side
from ..utils.errors import DatasetError

# Colours as (blue, green, red): the object's left, right, and the middle.
LEFT, RIGHT, MIDDLE = (SIDE_COLOURS[side][::-1]
                       for side in ('left', 'right', 'middle'))
_SHIFT = 3  # OpenCV draws at 1/8 pixel


@dataclass(frozen=True)
class Skeleton:
    """Key points and the limbs between them.

    Args:
        names: One a key point; those of a side (`left_…`, `R_…`) get its
            colour.
        limbs: Pairs of indices into `names`.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]

    @classmethod
    def from_coco(cls, category: dict) -> 'Skeleton':
        """From a category of a COCO annotation file, which counts from 1.

        Args:
            category: With `keypoints` and, if there are limbs, `skeleton`.

        Returns:
            The skeleton.

        Raises:
            DatasetError: If a limb is of a key point that is not there.
        """
        names = tuple(category['keypoints'])
        limbs = tuple((a - 1, b - 1) for a, b in category.get('skeleton', []))
        for limb in limbs:
            if not all(0 <= point < len(names) for point in limb):
                raise DatasetError(
                    f'the skeleton of {category.get("name")!r} has the limb '
                    f'{[point + 1 for point in limb]}, but there are '
                    f'{len(names)} key points: give a description of the '
                    'data set with --metainfo')
        return cls(names, limbs)

    @classmethod
    def from_metainfo(cls, metainfo: dict) -> 'Skeleton':
        """From MMPose's description of a data set, parsed."""
        names = metainfo['keypoint_id2name']
        return cls(tuple(names[k] for k in range(len(names))),
                   tuple(tuple(link) for link in metainfo['skeleton_links']))

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """Of each key point: `'left'`, `'right'` or `'middle'`."""
        return find_sides(self.names)

    def colour(self, *points: int) -> tuple[int, int, int]:
        """Of a key point, or of a limb between two."""
        side = limb_side(*(self.sides[point] for point in points))
        return SIDE_COLOURS[side][::-1]


def draw_pose(image: np.ndarray,
              keypoints: np.ndarray,
              skeleton: Skeleton,
              shown: Sequence[bool],
              occluded: Sequence[bool] | None = None,
              box: Sequence[float] | None = None) -> None:
    """Draw one person, in place.

    Lines are as wide as suits the person's size, with a dark rim so that
    they stand out on any ground.

    Args:
        image: (H, W, 3), uint8, BGR.
        keypoints: (K, 2), x and y in pixels.
        skeleton: K names and their limbs.
        shown: K flags; a limb needs both its ends.
        occluded: K flags; such points are drawn hollow.
        box: x, y, width, height in pixels, drawn thinly if given.

    Raises:
        ValueError: If `keypoints` does not fit the skeleton.
    """
    keypoints = np.asarray(keypoints, dtype=float)
    count = len(skeleton.names)
    if keypoints.shape != (count, 2):
        raise ValueError(
            f'keypoints has the shape {keypoints.shape}: expected '
            f'({count}, 2) for this skeleton')
    if occluded is None:
        occluded = [False] * count
    known = keypoints[np.asarray(shown, dtype=bool)]
    if box is not None:
        x, y, w, h = box
        cv2.rectangle(image, _at((x, y)), _at((x + w, y + h)),
                      (230, 230, 230), 1, cv2.LINE_AA, _SHIFT)
    if not len(known):
        return
    extent = max(np.ptp(known, axis=0).max(), 8)
    width = int(np.clip(round(extent / 55), 1, 6))
    limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
    for rim in (True, False):
        for a, b in limbs:
            colour = (20, 20, 20) if rim else skeleton.colour(a, b)
            cv2.line(image, _at(keypoints[a]), _at(keypoints[b]), colour,
                     width + 2 * rim, cv2.LINE_AA, _SHIFT)
    for point in range(count):
        if not shown[point]:
            continue
        centre, radius = _at(keypoints[point]), (width + 1) << _SHIFT
        colour = skeleton.colour(point)
        fill = (20, 20, 20) if occluded[point] else (250, 250, 250)
        cv2.circle(image, centre, radius + (1 << _SHIFT), colour, -1,
                   cv2.LINE_AA, _SHIFT)
        cv2.circle(image, centre, radius, fill, -1, cv2.LINE_AA, _SHIFT)


def _at(point: Sequence[float]) -> tuple[int, int]:
    """Pixels → OpenCV's fixed-point coordinates."""
    x, y = point
    return round(float(x) * (1 << _SHIFT)), round(float(y) * (1 << _SHIFT))
