"""Which category of a COCO file is meant: that of the objects with keypoints."""

from collections import Counter
from collections.abc import Sequence

from ..errors import DatasetError, shown
from .coco import CocoFile

#: category ID of a person in COCO, the default of MMPose
PERSON = 1
_OPTION = 'give the ID of the category whose boxes are used'


def keypoint_category_ids(file: CocoFile) -> list[int | str]:
    """Return the IDs of the categories of annotations or an image list that have keypoints.

    If no category has names of keypoints, these are the categories of the objects with keypoints;
    if there are none either, as in image lists, COCO's person.
    """
    ids = [
        entry['id']
        for entry in file.keypoint_categories()
        if isinstance(entry.get('id'), int | str)
    ]
    annotations = [] if file.is_image_list else file.entries('annotations')
    ids = ids or list(
        dict.fromkeys(
            entry['category_id']
            for entry in annotations
            if entry.get('keypoints') and isinstance(entry.get('category_id'), int | str)
        )
    )
    return ids or [PERSON]


def box_category_ids(
    file: CocoFile, boxes: Sequence[dict], category: int | str | None = None
) -> list[int | str]:
    """Return the IDs of the categories whose bounding boxes are used for inference.

    Args:
        file: Annotations, or a list of detections.
        boxes: Its annotations or detections. One without a category is used in any case.
        category: ID that the user has chosen.

    Returns:
        `category`; the categories with keypoints of annotations; the only category of the boxes; or
        that of a person in COCO.

    Raises:
        DatasetError: If no box has the category, or it cannot be determined.
    """
    counts = Counter(box['category_id'] for box in boxes if 'category_id' in box)
    listed = ', '.join(f'{shown(key)} ({count} boxes)' for key, count in counts.most_common(5))
    if category is not None:
        if category not in counts:
            others = f', only {listed}' if counts else ': its boxes have no category_id'
            raise DatasetError(f'{file.path} has no boxes of category {category!r}{others}')
        return [category]
    if isinstance(file.content, dict) and file.content.get('categories'):
        ids = [key for key in keypoint_category_ids(file) if key in counts]
        if ids:
            return ids
    if len(counts) < 2:
        return list(counts)
    if 0 not in counts and PERSON in counts:  # with 0, the IDs are probably those of YOLO
        return [PERSON]
    raise DatasetError(
        f'{file.path} has boxes of several categories, and it is unknown which of them have '
        f'keypoints: {listed}: {_OPTION} (--box-category)'
    )
