"""Index of a COCO file for MMPose's datasets and metrics, with lenient reading."""

from os import PathLike, fspath

from xtcocotools.coco import COCO

from .coco import CocoFile, is_polygon, is_run_length
from .plausibility import Sizes, image_sizes, mask_of_other_size

#: fields of a keypoint result that the evaluation uses. xtcocotools takes a result with a `caption`
#: for one of another task, and computes the area from a `segmentation`.
_RESULT_FIELDS = {
    *('id', 'image_id', 'category_id', 'keypoints', 'score'),
    *('foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts', 'wholebody_kpts'),
}


class KeypointIndex(COCO):
    """Index of the images and of the objects with keypoints of an annotation file.

    The area of a result is that of the extent of its keypoints, as on COCO's server, which ignores
    bounding boxes and masks. It decides which results count as medium and large. MMPose's results
    contain the bounding boxes of the detector, whose areas xtcocotools would use.
    """

    def loadRes(self, resFile: str | list[dict], resData: list[dict] | None = None) -> COCO:
        """Load results.

        Args:
            resFile: Path of a file of results, or the results. Those of a list get the fields
                `area`, `id` and, if it is missing, `bbox`.
            resData: Content of the file, which is then not read.

        Returns:
            The index of the results.
        """
        results = resData or resFile
        if isinstance(results, (str, PathLike)):
            results = CocoFile(results, 'results').entries()
        entries = [
            {key: value for key, value in result.items() if key in _RESULT_FIELDS}
            if 'keypoints' in result
            else dict(result)
            for result in results
        ]
        index = super().loadRes(entries)
        for result, entry in zip(results, entries, strict=True):
            result.update(area=entry['area'], id=entry['id'])
            result.setdefault('bbox', entry['bbox'])
        return index


def read_index(path: str) -> KeypointIndex:
    """Return the index of an annotation file.

    Args:
        path: A local file in COCO's format.

    Raises:
        DatasetError: If the file cannot be read or is not JSON.
    """
    file = CocoFile(path)
    content = dict(file.content)
    if 'annotations' in content:
        sizes = image_sizes(file.entries('images')) if 'images' in content else {}
        content['annotations'] = [
            {'iscrowd': 0, **entry, 'segmentation': _valid_segmentation(entry, sizes)}
            for entry in file.entries('annotations')
            if entry.get('keypoints')
        ]
    return make_index(content, fspath(path))


def make_index(content: dict, path: str) -> KeypointIndex:
    """Return the index of annotations.

    Args:
        content: Content of an annotation file.
        path: Path of the file, from which CrowdPose's evaluation reads the crowd indices.
    """
    index = KeypointIndex()
    index.dataset, index.anno_file = content, [path]
    index.createIndex()
    return index


def _valid_segmentation(entry: dict, sizes: Sizes) -> list | dict:
    """Return the polygons of an object that have at least three points, or its run-length encoding.

    A run-length encoding must have the size of the image. Without any valid one, it is an empty
    dict, which MMPose skips, whereas it raises for None and lists that are empty.
    """
    value = entry.get('segmentation')
    if is_run_length(value):
        return value if mask_of_other_size(entry, sizes) is None else {}
    polygons = value if isinstance(value, list) else []
    return [polygon for polygon in polygons if is_polygon(polygon)] or {}
