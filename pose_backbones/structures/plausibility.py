"""Find bounding boxes and areas of another format: corners, centers, or relative to the image.

Such a value may be right in a single entry. The checker turns findings that most of the entries
have into errors.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from ..errors import shown
from .coco import (
    Fault,
    Finding,
    are_numbers,
    box_numbers,
    expected_value,
    filled_box,
    find_faults,
    has_fields,
    is_run_length,
)

#: index in the file → annotation or detection
Entries = Mapping[int, dict]
#: width and height in pixels of each image
Sizes = Mapping[int | str, tuple[float, float]]

#: least part of a bounding box in the image, and least share of the labelled keypoints in the box
_LEAST_INSIDE = 0.5
#: least area of an object relative to its bounding box; the masks of COCO have .15 and more
_LEAST_AREA = 0.02
#: most that a bounding box extends beyond the image, relative to the image
_MARGIN = 0.05
#: largest sum of a coordinate and a side of boxes in percent, and size of images in which boxes in
#: pixels have larger ones
_MOST_PERCENT, _LARGE_IMAGE = 105, 200
#: numbers of entries and images that show properties of a file
MANY_ENTRIES, MANY_IMAGES = 20, 5
FEWEST = 5  # entries, for findings about the format of the whole file
_LEAST_IOU = 0.2  # that of a box whose center is used as its corner is 1/7


def image_sizes(images: Sequence[Mapping]) -> Sizes:
    """Return the width and the height of the images that have valid ones."""
    return {
        image['id']: (image['width'], image['height'])
        for image in images
        if has_fields('id', 'width', 'height')(dict(image)) is None
        and min(image['width'], image['height']) >= 1
    }


def implausible_objects(sizes: Sizes, objects: Sequence[dict], use_area: bool) -> Iterator[Finding]:
    """Find boxes and areas of annotated objects that do not fit the keypoints and the image.

    Args:
        sizes: Sizes of the images.
        objects: Annotations with labelled keypoints and valid fields.
        use_area: Whether to check the areas.
    """

    def corners(entry: dict) -> Fault | None:
        points = np.reshape(entry['keypoints'], (-1, 3))
        return _corners(entry, sizes, points[points[:, 2] > 0, :2])

    def around_keypoints(entry: dict) -> Fault | None:
        x, y, width, height = entry['bbox']
        points = np.reshape(entry['keypoints'], (-1, 3))
        points = points[points[:, 2] > 0, :2]
        inside = np.all((points >= (x, y)) & (points <= (x + width, y + height)), axis=1)
        if inside.mean() >= _LEAST_INSIDE:
            return None
        return (
            f'the bbox {shown(entry["bbox"])}, which contains {inside.sum()} of its {len(inside)} '
            'labelled keypoints',
            f'{expected_value("bbox")}, around the object',
        )

    def beyond(entry: dict) -> Fault | None:
        return _far_outside(entry, sizes)

    def area(entry: dict) -> Fault | None:
        value, box = entry.get('area'), entry['bbox'][2] * entry['bbox'][3]
        if value is None or max(1, _LEAST_AREA * box) <= value <= 2 * box + 1:
            return None
        return (
            f'the area {shown(value)}, with the bbox {shown(entry["bbox"])}',
            'expected the area of the object in square pixels',
        )

    yield from find_faults('annotation', objects, filled_box, is_error=False)
    filled = [entry for entry in objects if filled_box(entry) is None]
    yield from _frequent(find_faults('annotation', filled, corners, is_error=False))
    yield from find_faults(
        'annotation', filled, lambda entry: _mostly_outside(entry, sizes), is_error=False
    )
    # The checks of single entries are slow.
    suspects = {index: filled[index] for index in _suspicious_keypoints(filled, sizes)}
    checks = around_keypoints, _at_origin, beyond
    for finding in find_faults('annotation', suspects, *checks, is_error=False):
        finding.total = len(filled)
        yield finding
    if use_area:
        yield from find_faults('annotation', filled, area, is_error=False)


def repeated_objects(objects: Sequence[dict]) -> list[Finding]:
    """Find annotations with the image, bounding box and keypoints of an earlier one.

    Args:
        objects: Annotations with valid fields.
    """
    of_box: dict[tuple, list[dict]] = defaultdict(list)

    def once(entry: dict) -> Fault | None:
        key = (entry['image_id'], *entry['bbox'])
        others = of_box[key]
        for other in others:
            if other['keypoints'] == entry['keypoints']:
                return (
                    f'the image, bbox and keypoints of annotation {shown(other["id"])}',
                    'expected one annotation for each person; of two that are equal, one counts as '
                    'missed',
                )
        others.append(entry)
        return None

    return find_faults('annotation', objects, once, is_error=False)


def mask_of_other_size(entry: dict, sizes: Sizes) -> Fault | None:
    """Check that a run-length encoding has the size of the image; others are not used.

    Args:
        entry: An annotation, whose fields need not be valid.
        sizes: Sizes of the images.
    """
    mask = entry.get('segmentation')
    if not isinstance(mask, dict):
        return None
    size = _image_size(entry, sizes)
    if size is None or not is_run_length(mask) or tuple(mask['size']) == size[::-1]:
        return None
    height, width = mask['size']
    return (
        f'a segmentation of {width} x {height} pixels, in an image of {size[0]} x {size[1]} pixels',
        'expected a mask whose size is [height, width] of the image; others are not used',
    )


def relative_boxes(kind: str, filled: Entries) -> list[Finding]:
    """Find boxes that are smaller than a pixel, as those that are relative to the image.

    Args:
        kind: See `Finding`.
        filled: From `filled_entries`.
    """
    return find_faults(kind, filled, _below_a_pixel, is_error=False)


def implausible_boxes(kind: str, sizes: Sizes, filled: Entries) -> Iterator[Finding]:
    """Find boxes that do not fit the images, and may be in another format.

    Args:
        kind: See `Finding`.
        sizes: Sizes of the images.
        filled: From `filled_entries`.
    """
    yield from _frequent(
        find_faults(kind, filled, lambda entry: _corners(entry, sizes), is_error=False)
    )
    yield from find_faults(
        kind, filled, lambda entry: _mostly_outside(entry, sizes), is_error=False
    )


def filled_entries(entries: Entries) -> Entries:
    """Return the entries with a valid box that has an area; their fields need not be valid."""
    return {
        number: entry
        for number, entry in entries.items()
        if _has_box(entry) and filled_box(entry) is None
    }


def implausible_detections(
    sizes: Sizes, detections: Sequence[dict], filled: Entries, annotations: Sequence[dict]
) -> Iterator[Finding]:
    """Find detections whose boxes do not fit the image and the annotated objects.

    Args:
        sizes: Sizes of the images.
        detections: Detections, whose fields need not be valid.
        filled: Those of them that `filled_entries` returns.
        annotations: Annotations of the same images, whose fields need not be valid.
    """
    yield from find_faults('detection', detections, _filled_or_invalid, is_error=False)
    yield from relative_boxes('detection', filled)
    yield from implausible_boxes('detection', sizes, filled)
    yield from _percentages(sizes, filled)
    scored = {
        number: entry for number, entry in filled.items() if has_fields('score')(entry) is None
    }
    yield from _away_from_objects(scored, annotations)


def unusual_detections(
    sizes: Sizes, detections: Sequence[dict], filled: Entries
) -> Iterator[Finding]:
    """Find properties of detections that files in the right format can have, too.

    Args:
        sizes, detections, filled: See `implausible_detections`.
    """
    yield from find_faults(
        'detection',
        {n: entry for n, entry in enumerate(detections) if has_fields('score')(entry) is None},
        _negative_score,
        is_error=False,
    )
    yield from _centers(sizes, filled)
    yield from equal_scores('detection', detections)


def implausible_results(results: Sequence[dict]) -> Iterator[Finding]:
    """Find that the keypoints of most results are relative to the image.

    Args:
        results: Keypoint results, whose fields need not be valid.
    """

    def in_pixels(entry: dict) -> Fault | None:
        points = entry.get('keypoints')
        if not isinstance(points, list) or not are_numbers(points):
            return None
        coordinates = [*points[0::3], *points[1::3]]
        if not any(coordinates) or max(map(abs, coordinates)) > 1:
            return None
        return (
            'keypoints whose coordinates are all between -1 and 1',
            'expected x and y in pixels; these may be relative to the image',
        )

    yield from _frequent(find_faults('result', results, in_pixels, is_error=False))


def unusual_results(results: Sequence[dict]) -> Iterator[Finding]:
    """Find results that are in the file twice, and that all have the same score.

    Args:
        results: Keypoint results, whose fields need not be valid.
    """
    of_image: dict[tuple, list[list]] = defaultdict(list)

    def once(entry: dict) -> Fault | None:
        image_id, points = entry.get('image_id'), entry.get('keypoints')
        if not isinstance(image_id, (int, str)) or not isinstance(points, list):
            return None
        if not are_numbers(points) or not any(points):
            return None
        key = (image_id, *points[:4])
        others = of_image[key]
        if points in others:
            return (
                'the image and keypoints of an earlier result',
                'expected one result for each person; of two that are equal, one counts as wrong',
            )
        others.append(points)
        return None

    yield from find_faults('result', results, once, is_error=False)
    yield from equal_scores('result', results)


def equal_scores(kind: str, entries: Sequence[dict]) -> list[Finding]:
    """Find that all scores are equal, in a file of several images.

    Scores of detections are multiplied by those of the keypoints. Therefore, only scores of 0 are
    found: boxes of annotations often have scores of 1.

    Args:
        kind: `'detection'` or `'result'`.
        entries: Entries whose fields need not be valid.
    """
    if len(entries) < MANY_ENTRIES or has_fields('score')(entries[0]) is not None:
        return []
    score = entries[0]['score']
    if (kind == 'detection' and score) or any(entry.get('score') != score for entry in entries):
        return []
    if len({shown(entry.get('image_id')) for entry in entries}) < MANY_IMAGES:
        return []
    finding = Finding(
        'file', 'expected different scores: AP depends on the order of the scores', 1, False
    )
    finding.add(f'all {len(entries)} {kind}s have the score {shown(score)}')
    return [finding]


def images_without_detections(
    images: Sequence[dict],
    detections: Sequence[dict],
    annotations: Sequence[dict],
    kind: str = 'detection',
) -> list[Finding]:
    """Find images with labelled people, but without a detection.

    Args:
        images: The images.
        detections: Detections or results, whose fields need not be valid.
        annotations: Annotations of the images, whose fields need not be valid.
        kind: `'detection'` or `'result'`.
    """
    detected = {shown(entry.get('image_id')) for entry in detections}
    labelled = {
        shown(entry.get('image_id'))
        for entry in annotations
        if entry.get('keypoints') and entry.get('num_keypoints') and not entry.get('iscrowd')
    }

    def has_detections(image: dict) -> Fault | None:
        if shown(image.get('id')) in detected:
            return None
        return (
            f'annotated people but no {kind}',
            f'expected {kind}s of all images; the people in the others count as missed',
        )

    entries = [image for image in images if shown(image.get('id')) in labelled]
    return find_faults('image', entries, has_detections, is_error=False)


def _frequent(findings: Sequence[Finding], share: float = 0.51) -> list[Finding]:
    """Return the findings that at least a share of the entries have, and not only a few entries."""
    return [
        finding
        for finding in findings
        if finding.total >= FEWEST and finding.count >= share * finding.total
    ]


def _has_box(entry: dict) -> bool:
    return has_fields('image_id', 'bbox')(entry) is None and box_numbers(entry) is None


def _negative_score(entry: dict) -> Fault | None:
    if entry['score'] >= 0:
        return None
    return (
        f'the score {shown(entry["score"])}',
        "expected a number of at least 0: with MMPose's score_mode='bbox_keypoint', it is "
        'multiplied by the scores of the keypoints',
    )


def _filled_or_invalid(entry: dict) -> Fault | None:
    """Check that a valid box is not empty."""
    is_box = has_fields('bbox')(entry) is None and box_numbers(entry) is None
    return filled_box(entry) if is_box else None


def _below_a_pixel(entry: dict) -> Fault | None:
    if max(entry['bbox'][2:]) > 1:
        return None
    return f'the bbox {shown(entry["bbox"])}, which is smaller than a pixel', expected_value('bbox')


def _image_size(entry: dict, sizes: Sizes) -> tuple[float, float] | None:
    return sizes.get(entry['image_id']) if has_fields('image_id')(entry) is None else None


def _mostly_outside(entry: dict, sizes: Sizes) -> Fault | None:
    size = _image_size(entry, sizes)
    if size is None:
        return None
    x, y, width, height = entry['bbox']
    inside = _overlap(x, width, size[0]) * _overlap(y, height, size[1])
    if inside >= _LEAST_INSIDE * width * height:
        return None
    return (
        f'the bbox {shown(entry["bbox"])}, of which less than half is in the image of '
        f'{size[0]} x {size[1]} pixels',
        expected_value('bbox'),
    )


def _suspicious_keypoints(objects: Sequence[dict], sizes: Sizes) -> list[int]:
    """Return the indices of objects whose labelled keypoints need the checks of single entries.

    Their keypoints are outside the bounding box, at (0, 0), or far outside of the image.

    Args:
        objects: Annotations with valid fields, and an area of the box.
        sizes: Sizes of the images.
    """
    if not objects:
        return []
    points = np.array([entry['keypoints'] for entry in objects], float)
    points = points.reshape(len(objects), -1, 3)
    boxes = np.array([entry['bbox'] for entry in objects], float)[:, None]
    limits = np.array([_image_size(entry, sizes) or (np.inf, np.inf) for entry in objects])
    xy, labelled, limits = points[..., :2], points[..., 2] > 0, limits[:, None]
    corner, side = boxes[..., :2], boxes[..., 2:]
    inside = ((xy >= corner) & (xy <= corner + side)).all(2)
    wrong = (xy == 0).all(2) | (xy < -limits).any(2) | (xy > 2 * limits).any(2)
    suspicious = (wrong & labelled).any(1)
    suspicious |= (inside & labelled).sum(1) < _LEAST_INSIDE * labelled.sum(1)
    return np.flatnonzero(suspicious).tolist()


def _at_origin(entry: dict) -> Fault | None:
    """Check that keypoints without coordinates are not labelled."""
    points = entry['keypoints']
    count = sum(
        not x and not y and label > 0
        for x, y, label in zip(points[0::3], points[1::3], points[2::3], strict=True)
    )
    if not count:
        return None
    return (
        f'{count} labelled keypoint{"s" * (count != 1)} at (0, 0)',
        'expected the visibility 0 for keypoints without coordinates',
    )


def _far_outside(entry: dict, sizes: Sizes) -> Fault | None:
    """Check that no labelled keypoint is further from the image than its width or height."""
    size, points = _image_size(entry, sizes), entry['keypoints']
    if size is None or all(
        -side <= min(values) and max(values) <= 2 * side
        for side, values in zip(size, (points[0::3], points[1::3]), strict=True)
    ):
        return None
    for place in zip(points[0::3], points[1::3], points[2::3], strict=True):
        if place[2] and not all(-side <= x <= 2 * side for side, x in zip(size, place)):
            return (
                f'a labelled keypoint at ({shown(place[0])}, {shown(place[1])}), in an image of '
                f'{size[0]} x {size[1]} pixels',
                'expected x and y in pixels, in the image or close to it',
            )
    return None


def _overlap(start: float, length: float, size: float) -> float:
    return max(0.0, min(start + length, size) - max(start, 0.0))


def _corners(entry: dict, sizes: Sizes, points: np.ndarray | None = None) -> Fault | None:
    """Find a box that fits the image, or its keypoints, only as left, top, right and bottom.

    Args:
        entry: An annotation or detection with a valid box.
        sizes: Sizes of the images.
        points: (n, 2), labelled keypoints.
    """
    x, y, right, bottom = entry['bbox']
    size = _image_size(entry, sizes)
    if size is None or not (0 <= x < right <= size[0] + 1 and 0 <= y < bottom <= size[1] + 1):
        return None
    is_outside = x + right > (1 + _MARGIN) * size[0] or y + bottom > (1 + _MARGIN) * size[1]
    is_loose = False
    if points is not None:
        if (points > (right + 1, bottom + 1)).any(1).mean() > 0.1:
            return None
        extent = np.ptp(points, axis=0)
        is_loose = bool(
            (extent < (right / 2, bottom / 2)).any()
            and (extent >= ((right - x) / 2, (bottom - y) / 2)).all()
        )
    if not (is_outside or is_loose):
        return None
    return (
        f'the bbox {shown(entry["bbox"])}, in an image of {size[0]} x {size[1]} pixels',
        f'{expected_value("bbox")}, but these look like [left, top, right, bottom]',
    )


def _percentages(sizes: Sizes, entries: Entries) -> Iterator[Finding]:
    """Find that all boxes are close to the corner of large images."""

    def in_percent(entry: dict) -> Fault | None:
        x, y, width, height = entry['bbox']
        if max(x + width, y + height) > _MOST_PERCENT:
            return None
        return (
            f'the bbox {shown(entry["bbox"])}',
            f'{expected_value("bbox")}; no box extends beyond {_MOST_PERCENT} pixels, so '
            'these may be percentages',
        )

    large = {
        number: entry
        for number, entry in entries.items()
        if min(sizes.get(entry['image_id'], (0, 0))) >= _LARGE_IMAGE and max(entry['bbox'][2:]) > 1
    }
    yield from _frequent(find_faults('detection', large, in_percent, is_error=False), share=1)


def _centers(sizes: Sizes, entries: Entries) -> Iterator[Finding]:
    """Find that all boxes fit the images with x and y as their center, and several only so.

    In a file with left and top, large boxes of people do not fit the images as centers. Detectors
    that do not clip boxes let them extend beyond the left side as often as beyond the right one.
    """
    sized = {number: entry for number, entry in entries.items() if entry['image_id'] in sizes}

    def is_center(entry: dict) -> bool:
        """Return whether the box is in the image if x and y are its center, and x is at least 0."""
        return entry['bbox'][0] >= 0 and all(
            -_MARGIN * size <= place - side / 2 and place + side / 2 <= (1 + _MARGIN) * size
            for place, side, size in zip(
                entry['bbox'][:2], entry['bbox'][2:], sizes[entry['image_id']], strict=True
            )
        )

    def beyond_the_right_side(entry: dict) -> Fault | None:
        (x, _, width, _), size = entry['bbox'], sizes[entry['image_id']]
        if x + width <= (1 + _MARGIN) * size[0]:
            return None
        return (
            f'the bbox {shown(entry["bbox"])}, in an image of {size[0]} x {size[1]} pixels',
            f'{expected_value("bbox")}, but these look like [center x, center y, width, height]',
        )

    if all(map(is_center, sized.values())):
        findings = find_faults('detection', sized, beyond_the_right_side, is_error=False)
        yield from (finding for finding in findings if finding.count >= FEWEST)


def _away_from_objects(detections: Entries, annotations: Collection[dict]) -> Iterator[Finding]:
    """Find that most of the best detections of each image overlap no annotated object.

    As many detections of an image are used as it has objects, since the others may be of people
    that are not annotated.
    """
    objects = defaultdict(list)
    for entry in annotations:
        if has_fields('image_id', 'bbox')(entry) is None and box_numbers(entry) is None:
            objects[entry['image_id']].append(entry['bbox'])
    of_image = defaultdict(list)
    for number, entry in detections.items():
        if entry['image_id'] in objects:
            of_image[entry['image_id']].append(number)
    best = {
        number: detections[number]
        for image_id, numbers in of_image.items()
        for number in sorted(numbers, key=lambda number: -detections[number]['score'])[
            : len(objects[image_id])
        ]
    }

    def overlapping(entry: dict) -> Fault | None:
        if _best_iou(entry['bbox'], objects[entry['image_id']]) >= _LEAST_IOU:
            return None
        return (
            f'the bbox {shown(entry["bbox"])}, which overlaps no annotated object',
            f'{expected_value("bbox")}, of the people in the annotations',
        )

    yield from _frequent(find_faults('detection', best, overlapping, is_error=False))


def _best_iou(box: Sequence[float], others: Sequence[Sequence[float]]) -> float:
    """Return the largest intersection over union of a box (x, y, width, height) with others."""
    corner, side = np.split(np.array(box, float), 2)
    corners, sides = np.split(np.array(others, float), 2, axis=1)
    common = np.minimum(corner + side, corners + sides) - np.maximum(corner, corners)
    shared = common.clip(0).prod(1)
    return float((shared / (side.prod() + sides.prod(1) - shared).clip(1e-9)).max())
