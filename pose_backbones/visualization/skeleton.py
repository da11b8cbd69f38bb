"""Key points, the limbs between them, and how they look."""

import re
from dataclasses import dataclass
from functools import cached_property

from ..errors import DatasetError
from ..structures.symmetry import SIDE_COLOURS, find_sides, limb_side

# Colours as (blue, green, red): the object's left, right, and the middle.
LEFT, RIGHT, MIDDLE = (SIDE_COLOURS[side][::-1] for side in ('left', 'right', 'middle'))
FINE = 0.3  # how wide lines of hands are, of those of a body
_LESS = 0.6  # size of a foot's key points, and of a head's beside a face's
_MANY = 20  # key points with names of a face or of fingers


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
        limbs = tuple((a - 1, b - 1) for a, b in category.get('skeleton') or ())
        for limb in limbs:
            if not all(0 <= point < len(names) for point in limb):
                raise DatasetError(
                    f'the skeleton of {category.get("name")!r} has the limb '
                    f'{[point + 1 for point in limb]}, but there are '
                    f'{len(names)} key points: give a description of the '
                    'data set with --metainfo'
                )
        return cls(names, limbs)

    @classmethod
    def from_metainfo(cls, metainfo: dict) -> 'Skeleton':
        """From MMPose's description of a data set, parsed."""
        names = metainfo['keypoint_id2name']
        return cls(
            tuple(names[k] for k in range(len(names))),
            tuple(tuple(link) for link in metainfo['skeleton_links']),
        )

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """Of each key point: `'left'`, `'right'` or `'middle'`."""
        return find_sides(self.names)

    @cached_property
    def sizes(self) -> tuple[float, ...]:
        """Of each key point's drawing: 1 for the joints of a body.

        The dense points of faces and hands beside a body are small, those
        of feet smaller than others, and large sets shrink with their number.
        """
        fine = [re.search('face|hand_root|thumb|finger', name.lower()) for name in self.names]
        less = 'toe|heel|nose|eye|ear'
        if not _MANY <= sum(map(bool, fine)) < len(fine):
            fine, less = [None] * len(fine), 'toe|heel'
        size = min(1.0, (24 / max(fine.count(None), 1)) ** 0.5)
        return tuple(
            FINE if small else _LESS * size if re.search(less, name.lower()) else size
            for name, small in zip(self.names, fine)
        )

    def colour(self, *points: int) -> tuple[int, int, int]:
        """Of a key point, or of a limb between two."""
        side = limb_side(*(self.sides[point] for point in points))
        return SIDE_COLOURS[side][::-1]
