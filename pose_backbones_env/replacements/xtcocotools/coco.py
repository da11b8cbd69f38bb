"""Index of an annotation file in COCO's format, with the interface of `xtcocotools.coco`."""

import contextlib
import copy
import io
import json
from os import PathLike
from typing import Any

import numpy as np
from pycocotools.coco import COCO as PycocotoolsCOCO

from . import mask

__all__ = ['COCO']


class COCO(PycocotoolsCOCO):
    """Index of annotations, and of results that are loaded for them.

    Differences from pycocotools: annotations without `iscrowd` are not crowds, results may be
    empty, and the paths of the files are kept.

    Args:
        annotation_file: Path of the annotations. None: an empty index.
        test_index: Indices of the keypoints to keep. Default: all.
        ann_data: Content of the annotation file, which is then not read.

    Attributes:
        anno_file: Paths of the annotations and, after `loadRes`, of the results.
    """

    def __init__(
        self,
        annotation_file: str | PathLike | None = None,
        test_index: list[int] | None = None,
        ann_data: dict | None = None,
    ):
        super().__init__()
        self.anno_file: list[Any] = [annotation_file]
        self.test_index = test_index
        if annotation_file is None:
            return
        if ann_data is None:
            with open(annotation_file) as file:
                ann_data = json.load(file)
        if not isinstance(ann_data, dict):
            raise TypeError(
                f'{annotation_file}: expected a dict of images and annotations, '
                f'got a {type(ann_data).__name__}'
            )
        self.dataset = ann_data
        for entry in self.dataset.get('annotations', ()):
            if test_index is not None:
                points = np.reshape(entry['keypoints'], (-1, 3))[test_index]
                entry['keypoints'] = points.ravel().tolist()
            entry.setdefault('iscrowd', False)
        self.createIndex()

    def createIndex(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            super().createIndex()

    def loadRes(self, resFile: Any, resData: list[dict] | None = None) -> 'COCO':
        """Load results for the images of this index.

        Args:
            resFile: Path of a JSON file with a list of results, the list itself, or an array (N, 7)
                of image ID, x, y, width, height, score and category ID.
            resData: Content of the file, which is then not read.

        Returns:
            The index of the results. `area`, `id` and, for keypoints, `bbox` are added to them.

        Raises:
            ValueError: If the results are not a list, or belong to other images.
        """
        if len(self.anno_file) == 1:
            self.anno_file.append(resFile)
        if isinstance(resFile, np.ndarray):
            entries = self.loadNumpyAnnotations(resFile)
        elif not isinstance(resFile, (str, PathLike)):
            entries = resFile
        elif resData is not None:
            entries = resData
        else:
            with open(resFile) as file:
                entries = json.load(file)
        if not isinstance(entries, list):
            raise ValueError(f'expected a list of results, got a {type(entries).__name__}')
        unknown = {entry['image_id'] for entry in entries} - set(self.imgs)
        if unknown:
            raise ValueError(
                f'the results have the image ID {min(unknown, key=str)!r}, which the annotations '
                'do not have'
            )
        results = type(self)()
        results.dataset = dict(
            info=copy.deepcopy(self.dataset.get('info', {})),
            images=list(self.dataset['images']),
            annotations=entries,
        )
        if entries and 'caption' not in entries[0]:
            results.dataset['categories'] = copy.deepcopy(self.dataset['categories'])
        if entries:
            _complete(entries)
        results.createIndex()
        return results


def _complete(entries: list[dict]) -> None:
    """Add IDs and areas. The fields of the first result determine those of all."""
    first = entries[0]
    fields = ('caption', 'bbox', 'segmentation', 'keypoints')
    kind = next((field for field in fields if first.get(field)), None)
    for number, entry in enumerate(entries, 1):
        entry['id'] = number
        if kind == 'bbox':
            x, y, width, height = entry['bbox']
            corners = [x, y, x, y + height, x + width, y + height, x + width, y]
            entry.setdefault('segmentation', [corners])
            entry.update(area=width * height, iscrowd=0)
        elif kind == 'segmentation':
            entry['area'] = mask.area(entry['segmentation'])
            entry.setdefault('bbox', mask.toBbox(entry['segmentation']))
            entry['iscrowd'] = 0
        elif kind == 'keypoints':
            x, y = np.reshape(entry['keypoints'], (-1, 3))[:, :2].T
            entry.update(bbox=[x.min(), y.min(), np.ptp(x), np.ptp(y)], area=np.ptp(x) * np.ptp(y))
