"""Skeletons: keypoint names, limbs, and their colours and sizes."""

import re
from dataclasses import dataclass
from functools import cached_property

from ..errors import DatasetError
from ..structures.symmetry import SIDE_COLOURS, find_sides, limb_side

# Colours (blue, green, red) of the person's left side, right side, and middle.
LEFT, RIGHT, MIDDLE = (SIDE_COLOURS[side][::-1] for side in ('left', 'right', 'middle'))
FINE = 0.3  # size of hand and face keypoints, relative to those of a body
_LESS = 0.6  # relative size of foot keypoints, and of head keypoints if there are face keypoints
_MANY = 20  # minimum number of face and finger keypoints of a whole-body skeleton


@dataclass(frozen=True)
class Skeleton:
    """Keypoint names and the limbs between the keypoints.

    Args:
        names: Names of the keypoints. Names with a side (`left_…`, `R_…`) determine the colour.
        limbs: Pairs of indices into `names`.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]

    @classmethod
    def from_coco(cls, category: dict) -> 'Skeleton':
        """Create a skeleton from a category of a COCO annotation file, whose indices start at 1.

        Args:
            category: Category with `keypoints` and optionally `skeleton`.

        Returns:
            The skeleton.

        Raises:
            DatasetError: If a limb has an invalid keypoint index.
        """
        names = tuple(category['keypoints'])
        limbs = tuple((a - 1, b - 1) for a, b in category.get('skeleton') or ())
        for limb in limbs:
            if not all(0 <= point < len(names) for point in limb):
                raise DatasetError(
                    f'the skeleton of {category.get("name")!r} has the limb '
                    f'{[point + 1 for point in limb]}, but there are '
                    f'{len(names)} keypoints: provide the metainfo of the dataset '
                    'with --metainfo'
                )
        return cls(names, limbs)

    @classmethod
    def from_metainfo(cls, metainfo: dict) -> 'Skeleton':
        """Create a skeleton from the parsed metainfo of an MMPose dataset.

        Raises:
            DatasetError: If the names of the keypoints or the limbs are missing, as they may be in
                a checkpoint.
        """
        missing = {'keypoint_id2name', 'skeleton_links'} - set(metainfo)
        if missing:
            raise DatasetError(
                f'the metainfo of the dataset {str(metainfo.get("dataset_name"))[:80]!r} has no '
                f'{" and no ".join(sorted(missing))}: expected those of the keypoints'
            )
        names = metainfo['keypoint_id2name']
        return cls(
            tuple(names[k] for k in range(len(names))),
            tuple(tuple(link) for link in metainfo['skeleton_links']),
        )

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """Side of each keypoint: `'left'`, `'right'` or `'middle'`."""
        return find_sides(self.names)

    @cached_property
    def sizes(self) -> tuple[float, ...]:
        """Relative drawing size of each keypoint: 1 for the joints of a body.

        The dense keypoints of faces and hands in whole-body skeletons are drawn small, and those of
        feet smaller than others. Sizes decrease with the number of keypoints.
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
        """Return the colour (blue, green, red) of a keypoint, or of a limb between two."""
        side = limb_side(*(self.sides[point] for point in points))
        return SIDE_COLOURS[side][::-1]
