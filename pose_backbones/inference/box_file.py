"""Read person bounding boxes from a COCO file."""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from os import fspath
from pathlib import Path, PurePath

import numpy as np
from mmengine.logging import print_log

from ..errors import DatasetError
from ..structures.coco import CocoFile, box_numbers, has_fields, in_list, optional_field
from ..structures.coco_category import box_category_ids
from ..structures.coco_checker import check_boxes

#: stems of the file names of COCO images: 000000000785, COCO_val2014_000000000785
_NUMBER = re.compile(r'(?:COCO_\w+_)?(\d+)')


class BoxFile:
    """Bounding boxes from a COCO file: a list of detections, or images with annotations.

    If the file has file names, an image is matched by its `file_name`. Among the entries with the
    same base name, the one that shares the most trailing path components with the image is used.
    Otherwise, an image is matched by its ID: the number in the name of the image file, or the
    index of the input.

    Crowd annotations and categories without keypoints are ignored.

    The boxes are those that MMPose's datasets use, so that inference and evaluation crop the same
    pixels: boxes of annotations are clipped at the border of the image; detections are not.

    Args:
        path: Path of the file.
        category: ID of the category whose boxes are used. Default: that with keypoints, the only
            one, or 1, a person in COCO; see `box_category_ids`.

    Attributes:
        path: The path.
        left_out: Number of boxes of other categories.
        names: File names in the file, or the image IDs if it has no file names.
        is_checked: Whether `check_format` has checked boxes of several images.

    Raises:
        DatasetError: If the file is missing or is not in COCO's format, or the category cannot be
            determined.
    """

    def __init__(self, path: str, category: int | str | None = None):
        self.path = fspath(path)
        file = CocoFile(Path(path).expanduser(), 'boxes')
        images, content = [], file.content
        if isinstance(content, list):
            kind, records = 'detection', file.entries()
        elif isinstance(content, dict) and {'images', 'annotations'} <= set(content):
            images = file.entries('images')
            kind, records = 'annotation', file.entries('annotations')
        else:
            raise DatasetError(
                f'{path} contains no boxes: expected a list of detections, each with image_id and '
                "bbox [x, y, width, height], or images and annotations, in COCO's format"
            )
        file.check('image', images, has_fields('id', 'file_name'))
        optional = [
            optional_field(name) for name in ('score', 'file_name', 'category_id', 'iscrowd')
        ]
        in_file = has_fields('image_id') if kind == 'annotation' else in_list('image_id')
        file.check(kind, records, in_file, has_fields('bbox'), box_numbers, *optional)
        self._boxes: dict[int | str, list[tuple[int, dict]]] = defaultdict(list)
        self._ids = {str(record['image_id']): record['image_id'] for record in records}
        categories = box_category_ids(file, records, category)
        self._kind = kind
        self.is_checked = False
        self.left_out = 0
        named = {image['file_name']: image['id'] for image in images}
        for index, record in enumerate(records):
            if record.get('file_name') is not None:
                named.setdefault(record['file_name'], record['image_id'])
            if 'category_id' in record and record['category_id'] not in categories:
                self.left_out += 1
            elif not record.get('iscrowd'):
                self._boxes[record['image_id']].append((index, record))
        self._named = defaultdict(list)
        for name, number in named.items():
            self._named[PurePath(name).name].append((PurePath(name).parts[::-1], number))
        self.names = list(named) or list(self._ids)

    @property
    def scores(self) -> list[float]:
        """The scores of all boxes."""
        return [_score(record) for boxes in self._boxes.values() for _, record in boxes]

    def check_format(
        self, sizes: Mapping[int | str, tuple[int, int]], min_score: float = 0.0
    ) -> None:
        """Check that the boxes fit their images: not, for example, [left, top, right, bottom].

        A warning is logged if most of the boxes do not fit, but are too few to be sure. After a
        check of several images, `is_checked` is True.

        Args:
            sizes: Image ID in the file → width and height in pixels, of some images.
            min_score: Boxes with a lower score are not used.

        Raises:
            DatasetError: If most of the boxes in these images do not fit, see `check_boxes`.
        """
        self.is_checked = len(sizes) > 1
        entries = {
            index: record
            for image_id in sizes
            for index, record in self._boxes.get(image_id, ())
            if _score(record) >= min_score
        }
        for finding in check_boxes(self._kind, entries, sizes):
            if finding.is_error:
                raise DatasetError(f'{self.path}: {finding}')
            print_log(f'{self.path}: {finding}', 'current', logging.WARNING)

    def find(self, name: str, number: int | str, is_file: bool) -> int | str | None:
        """Return the ID of an image in the file.

        Args:
            name: Path of an image file, or the name of another input.
            number: Image ID of the input, see `Inputs`. It is not used for image files.
            is_file: Whether the input is an image file.

        Returns:
            The ID, or None if the image is not in the file.

        Raises:
            DatasetError: If several entries match equally well.
        """
        if self._named:
            return self._find_name(name)
        stem = PurePath(name).stem
        keys = [PurePath(name).name, stem]
        if digits := _NUMBER.fullmatch(stem):
            keys.append(str(int(digits[1])))
        if not is_file:
            keys = [str(number)]
        for key in keys:
            if key in self._ids:
                return self._ids[key]
        return None

    def _find_name(self, name: str) -> int | str | None:
        parts = PurePath(name).parts[::-1]
        common: dict[int, dict] = {}
        for parts_of_entry, number in self._named.get(PurePath(name).name, ()):
            num_common = next(
                (i for i, (a, b) in enumerate(zip(parts, parts_of_entry)) if a != b),
                min(len(parts), len(parts_of_entry)),
            )
            common.setdefault(num_common, {})[number] = parts_of_entry
        if not common:
            return None
        best = common[max(common)]
        if len(best) > 1:
            names = ['/'.join(parts_of_entry[::-1]) for parts_of_entry in best.values()]
            raise DatasetError(
                f'{name} may be {" or ".join(names[:3])} in {self.path}: pass '
                'paths that end with the file names in that file'
            )
        return next(iter(best))

    def boxes(self, image_id: int | str | None, width: int, height: int) -> np.ndarray:
        """Return the boxes of an image.

        Args:
            image_id: ID of the image in the file; None: there are no boxes.
            width, height: Size of the image in pixels.

        Returns:
            (n, 5), float32: left, top, right, bottom and score. A box of an annotation outside the
            image is empty. Numbers beyond the range of float32 are infinite.
        """
        records = [] if image_id is None else self._boxes.get(image_id, [])
        entries = [(*record['bbox'], _score(record)) for _, record in records]
        values = np.array(entries, np.float64).reshape(-1, 5)
        with np.errstate(over='ignore', invalid='ignore'):
            if self._kind == 'annotation':
                # as `BaseCocoStyleDataset.parse_data_info` of MMPose
                values[:, 2:4] += values[:, :2]
                values[:, :4] = values[:, :4].clip(0, [width - 1, height - 1] * 2)
                return values.astype(np.float32)
            # as `BaseCocoStyleDataset._load_detection_results`, whose sums are of float32
            boxes = values.astype(np.float32)
            boxes[:, 2:4] += boxes[:, :2]
        return boxes


def _score(record: dict) -> float:
    """Return the score of a box; those of annotations have none."""
    return 1.0 if record.get('score') is None else record['score']
