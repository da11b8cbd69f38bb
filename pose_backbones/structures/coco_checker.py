"""Check COCO files: annotations, image lists, detections and keypoint results.

The tools that read such files use this checker, and stop at an error. `pose-backbones check` prints
all findings. A finding is an error if entries would be used wrongly or not at all. Implausible
values, such as an area that is larger than the bounding box, are warnings. They are an error if
more than half of the entries have them, since the file is then in another format.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DatasetError, first_line, shown
from ..utils.images import image_size, is_truncated
from .coco import (
    Check,
    CocoFile,
    Fault,
    Finding,
    are_numbers,
    box_numbers,
    expected_value,
    find_faults,
    has_fields,
    in_list,
    in_pixels,
    is_polygon,
    is_run_length,
    keypoint_count,
    one_of,
    unique,
    valid_crowd_index,
    valid_visibility,
    whole_id,
)
from .coco_category import keypoint_category_ids
from .plausibility import (
    FEWEST,
    MANY_ENTRIES,
    MANY_IMAGES,
    Entries,
    Sizes,
    filled_entries,
    image_sizes,
    images_without_detections,
    implausible_boxes,
    implausible_detections,
    implausible_objects,
    implausible_results,
    mask_of_other_size,
    relative_boxes,
    repeated_objects,
    unusual_detections,
    unusual_results,
)

#: number of images whose headers are read by default
SAMPLE = 50
#: share of the entries above which an implausible value is an error
_FREQUENT = 0.5
_SEGMENTATION = (
    'expected polygons, lists of x and y of at least three points, or a run-length encoding of '
    'height * width pixels, whose counts are whole numbers from 0 to 4294967295'
)


@dataclass(frozen=True)
class Annotations:
    """Annotations or an image list that can be read as such; the entries are not checked.

    Args:
        file: The file.
        images: The entries of `images`.
        objects: The entries of `annotations` with keypoints.
        others: The other entries of `annotations`.
        categories: The entries of `categories`.
        names: Names of the keypoints of the categories; None if they have none, or different ones.
    """

    file: CocoFile
    images: list[dict]
    objects: list[dict]
    others: list[dict]
    categories: list[dict]
    names: tuple[str, ...] | None


def split_annotations(file: CocoFile) -> Annotations:
    """Return the lists of a file, and which of its objects have keypoints.

    Raises:
        DatasetError: If there is no list of images or categories, or an entry is not an object.
    """
    images, categories = (file.entries(name, empty=False) for name in ('images', 'categories'))
    annotations = [] if file.is_image_list else file.entries('annotations')
    with_keypoints = file.keypoint_categories()
    names = {tuple(category['keypoints']) for category in with_keypoints}
    objects: list[dict] = []
    others: list[dict] = []
    for entry in annotations:
        (objects if entry.get('keypoints') else others).append(entry)
    return Annotations(
        file, images, objects, others, categories, names.pop() if len(names) == 1 else None
    )


def check_annotations(
    file: CocoFile,
    folder: str | Path | None = None,
    max_images: int | None = SAMPLE,
    count: int | None = None,
    use_area: bool | None = True,
) -> list[Finding]:
    """Check annotations or an image list.

    Args:
        file: The file.
        folder: Folder of the images; None: images are not read.
        max_images: Number of images whose headers are read, evenly distributed; None: all.
        count: Number of keypoints of an object. Default: that of the category.
        use_area: Whether the `area` of the objects is used; None: it is used if there is one.

    Returns:
        The findings, errors first.

    Raises:
        DatasetError: If the file is not in COCO's format at all, see `split_annotations`.
    """
    parts = split_annotations(file)
    findings = _check_images_and_categories(parts)
    ids = {_key(image.get('id')) for image in parts.images}
    categories = {_key(category.get('id')) for category in parts.categories}
    findings += find_faults(
        'annotation',
        [*parts.objects, *parts.others],
        has_fields('id', 'image_id', 'category_id'),
        unique('id'),
        one_of('image_id', ids, expected_value('image_id')),
        one_of('category_id', categories, expected_value('category_id')),
    )
    if count is None:
        count = len(parts.names) if parts.names else _usual_count(parts.objects)
    checks: list[Check] = [
        has_fields('keypoints'),
        keypoint_count(count, 'of the category' if parts.names else ''),
        valid_visibility,
        in_pixels,
        has_fields('bbox'),
        box_numbers,
        _valid_crowd,
        _counted_keypoints,
    ]
    if use_area:
        checks.append(has_fields('area'))
    if use_area is not False:
        checks.append(_valid_area)
    faults = find_faults('annotation', parts.objects, *checks)
    findings += faults
    findings += find_faults('annotation', parts.objects, _consistent_count, is_error=False)
    findings += _raise_frequent_warnings(
        find_faults('annotation', parts.objects, _valid_segmentation, is_error=False)
    )
    sizes = image_sizes(parts.images)
    findings += find_faults(
        'annotation', parts.objects, lambda entry: mask_of_other_size(entry, sizes), is_error=False
    )
    findings += _raise_frequent_warnings(_check_bare_objects(parts))
    labelled = [entry for entry in parts.objects if _is_labelled(entry)]
    if not file.is_image_list and all(entry.get('iscrowd') for entry in labelled):
        expected = 'expected keypoints with a visibility of 1 or 2, and iscrowd 0'
        finding = Finding('file', expected, 1)
        finding.add(
            'all annotations with labelled keypoints are crowd regions'
            if labelled
            else 'no annotation has a labelled keypoint'
        )
        findings.append(finding)
    if faults:
        labelled = [entry for entry in labelled if not any(check(entry) for check in checks)]
    findings += _raise_frequent_warnings(
        list(implausible_objects(sizes, labelled, use_area is not False))
    )
    findings += repeated_objects(
        [entry for entry in labelled if not has_fields('id', 'image_id')(entry)]
    )
    if folder is not None:
        findings += check_image_files(parts.images, folder, max_images)
    return sorted(findings, key=lambda finding: not finding.is_error)


def check_detections(file: CocoFile, annotations: CocoFile | None = None) -> list[Finding]:
    """Check a list of detections.

    Args:
        file: The file.
        annotations: The annotations or the image list of the same images.

    Returns:
        The findings, errors first.

    Raises:
        DatasetError: If the file is not a list of objects, or has no entries.
    """
    entries = file.entries()
    if not entries:
        raise DatasetError(f'{file.path} has no detections, so there is nothing to predict')
    findings = find_faults(
        'detection',
        entries,
        in_list('image_id', 'category_id'),
        has_fields('bbox', 'score'),
        box_numbers,
        *_references(annotations),
    )
    if annotations is not None:
        findings += _check_detected_categories(entries, annotations)
    images = annotations.entries('images') if annotations is not None else []
    people = []
    if annotations is not None and not annotations.is_image_list:
        people = annotations.entries('annotations')
    sizes = image_sizes(images)
    filled = filled_entries(dict(enumerate(entries)))
    findings += implausible_detections(sizes, entries, filled, people)
    return [
        *_raise_frequent_warnings(findings),
        *unusual_detections(sizes, entries, filled),
        *images_without_detections(images, entries, people),
    ]


def check_boxes(kind: str, entries: Entries, sizes: Sizes) -> list[Finding]:
    """Check that bounding boxes have COCO's format, which few boxes cannot show.

    Args:
        kind: `'annotation'` or `'detection'`.
        entries: Indices in the file → entries with a valid `image_id`.
        sizes: Sizes of the images.

    Returns:
        What more than half of the boxes, and at least five, have. It is an error if there are at
        least `MANY_ENTRIES` boxes in `MANY_IMAGES` images, or if the boxes are below a pixel.
    """
    filled = filled_entries(entries)
    relative = _raise_frequent_warnings(relative_boxes(kind, filled))
    others = _raise_frequent_warnings(list(implausible_boxes(kind, sizes, filled)))
    found = [x for x in (*relative, *others) if x.is_error and x.count >= FEWEST]
    images = {entry['image_id'] for entry in entries.values()}
    if len(entries) < MANY_ENTRIES or len(images) < MANY_IMAGES:
        for finding in others:
            finding.is_error = False
    return found


def check_results(
    file: CocoFile, annotations: CocoFile | None = None, count: int | None = None
) -> list[Finding]:
    """Check keypoint results.

    Args:
        file: The file, a list.
        annotations: The annotations or the image list of the same images.
        count: Number of keypoints. Default: that of the annotations, or of most results.

    Returns:
        The findings, errors first.

    Raises:
        DatasetError: If the file is not a list of objects.
    """
    entries = file.entries()
    if count is None and annotations is not None:
        counts = {len(entry['keypoints']) for entry in annotations.keypoint_categories()}
        count = counts.pop() if len(counts) == 1 else None
    origin = '' if count is None else 'of the annotations'
    valid_points = keypoint_count(_usual_count(entries) if count is None else count, origin)
    findings = find_faults(
        'result',
        entries,
        in_list('image_id', 'category_id'),
        has_fields('keypoints', 'score'),
        valid_points,
        *_references(annotations),
        *_categories(annotations),
    )
    findings += _raise_frequent_warnings(list(implausible_results(entries)))
    findings += unusual_results(entries)
    if entries and annotations is not None and not annotations.is_image_list:
        images, people = (annotations.entries(name) for name in ('images', 'annotations'))
        missing = images_without_detections(images, entries, people, 'result')
        findings += [finding for finding in missing if finding.count > _FREQUENT * finding.total]
    return findings


def raise_errors(file: CocoFile, findings: Sequence[Finding]) -> list[Finding]:
    """Raise if there are errors.

    Args:
        file: The file.
        findings: From `check_annotations`, `check_detections` or `check_results`.

    Returns:
        The warnings.

    Raises:
        DatasetError: The message contains the first error, and the command that lists all.
    """
    errors = [finding for finding in findings if finding.is_error]
    if errors:
        others = (
            f'. There are errors of {len(errors)} kinds: pose-backbones check {file.path}'
            if len(errors) > 1
            else ''
        )
        raise DatasetError(f'{file.path}: {errors[0]}{others}')
    return list(findings)


def _references(annotations: CocoFile | None) -> list[Check]:
    """Return the checks that entries belong to images and categories of the annotations."""
    if annotations is None:
        return []
    images = {_key(image.get('id')) for image in annotations.entries('images')}
    return [
        one_of(
            'image_id',
            images,
            f'expected the id of an image of {annotations.path}: use the annotations of the same '
            'dataset and split',
        )
    ]


def _categories(annotations: CocoFile | None) -> list[Check]:
    """Return the check that results have a category of the annotations, as the evaluation needs."""
    if annotations is None:
        return []
    ids = {_key(category.get('id')) for category in annotations.entries('categories')}
    return [
        one_of(
            'category_id',
            ids,
            f'expected the id of a category of {annotations.path}; the evaluation ignores others',
        )
    ]


def _check_detected_categories(entries: Sequence[dict], annotations: CocoFile) -> list[Finding]:
    """Check that there are detections of the categories with keypoints; others are not used."""
    ids = keypoint_category_ids(annotations)
    by_text = {str(number): number for number in ids}

    def same_type(entry: dict) -> Fault | None:
        value = entry.get('category_id')
        if value in ids or str(value) not in by_text:
            return None
        expected = f'expected {by_text[str(value)]!r}, as in {annotations.path}'
        return f'the category_id {shown(value)}', expected

    findings = find_faults('detection', entries, same_type)
    if not findings and not any(entry.get('category_id') in ids for entry in entries):
        listed = ', '.join(map(str, ids))
        finding = Finding(
            'file',
            f'expected detections of the category with keypoints, {listed}; others are not used',
            1,
        )
        values = list(dict.fromkeys(shown(entry.get('category_id')) for entry in entries))
        finding.add(f'all detections have the category_id {" or ".join(values[:5])}')
        findings.append(finding)
    return findings


def _key(value: object) -> Any:
    """Return an ID, or None if it is no ID."""
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _check_images_and_categories(parts: Annotations) -> list[Finding]:
    """Check the images and the categories."""
    findings = find_faults(
        'image',
        parts.images,
        has_fields('id', 'file_name', 'width', 'height'),
        whole_id,
        unique('id'),
        _valid_name,
        _valid_size,
        lambda image: None if image.get('crowdIndex') is None else valid_crowd_index(image),
    )
    named = [image for image in parts.images if has_fields('file_name')(image) is None]
    once = unique('file_name', 'expected one entry for each image')
    findings += find_faults('image', named, once, is_error=False)
    findings += find_faults(
        'category', parts.categories, has_fields('id'), unique('id'), _distinct_names
    )
    findings += find_faults('category', parts.categories, _limbs, is_error=False)
    if parts.file.is_image_list:
        return findings
    names = {tuple(category['keypoints']) for category in parts.file.keypoint_categories()}
    if len(names) > 1:
        sizes = ' and '.join(str(len(keypoints)) for keypoints in sorted(names, key=len))
        finding = Finding(
            'category', 'a model predicts one set of keypoints: split the file by category', 1
        )
        finding.add(f'the categories have different numbers or names of keypoints ({sizes})')
        findings.append(finding)
    return findings


def _check_bare_objects(parts: Annotations) -> list[Finding]:
    """Find objects without keypoints whose category has keypoints."""
    ids = {_key(category.get('id')) for category in parts.file.keypoint_categories()}

    def has_keypoints(entry: dict) -> Fault | None:
        if entry.get('keypoints') or entry.get('iscrowd'):
            return None
        return 'no keypoints', f'{expected_value("keypoints")}; without them, an object is ignored'

    entries = [
        entry for entry in (*parts.objects, *parts.others) if _key(entry.get('category_id')) in ids
    ]
    return find_faults('annotation', entries, has_keypoints, is_error=False)


def _valid_name(image: dict) -> Fault | None:
    name = image['file_name']
    try:
        is_path = bool(name.strip()) and b'\0' not in os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair
        is_path = False
    if not is_path:
        return f'the file_name {shown(image["file_name"])}', expected_value('file_name')
    return None


def _valid_size(image: dict) -> Fault | None:
    for name in ('width', 'height'):
        value = image[name]
        if value != int(value) or value < 1:
            return f'the {name} {shown(value)}', expected_value(name)
    return None


def _distinct_names(category: dict) -> Fault | None:
    names = category.get('keypoints') or []
    for name, number in Counter(names).items():
        if number > 1:
            return f'{number} keypoints called {shown(name)}', 'expected different names'
    return None


def _limbs(category: dict) -> Fault | None:
    count = len(category.get('keypoints') or [])
    for limb in (category.get('skeleton') or []) if count else []:
        if not all(1 <= number <= count for number in limb):
            hint = '; COCO counts keypoints from 1' if 0 in limb else ''
            return (
                f'the limb {shown(limb)} in its skeleton',
                f"expected two numbers from 1 to {count}{hint}. Correct it, or remove 'skeleton', "
                'which is for drawing only',
            )
    return None


def _usual_count(entries: Sequence[Mapping]) -> int:
    """Return the number of keypoints of most entries."""
    lengths = Counter(
        len(entry['keypoints']) // 3
        for entry in entries
        if isinstance(entry.get('keypoints'), list) and len(entry['keypoints']) % 3 == 0
    )
    return lengths.most_common(1)[0][0] if lengths else 0


def _is_labelled(entry: Mapping) -> bool:
    points = entry.get('keypoints')
    return isinstance(points, list) and are_numbers(points) and any(points[2::3])


def _valid_crowd(entry: dict) -> Fault | None:
    value = entry.get('iscrowd', 0)
    if value not in (0, 1):
        return f'the iscrowd {shown(value)}', expected_value('iscrowd')
    return None


def _counted_keypoints(entry: dict) -> Fault | None:
    """Check that objects with labelled keypoints are not left out for `num_keypoints` of 0."""
    count, labels = entry.get('num_keypoints'), entry['keypoints'][2::3]
    if count is None:
        return None
    labelled = sum(label > 0 for label in labels)
    # CrowdPose counts only the visible keypoints.
    if count == 0 and labelled and labels.count(2):
        return (
            f'the num_keypoints 0, but {labelled} labelled keypoints',
            'expected the number of keypoints with a visibility of 1 or 2; without any, an object '
            'is ignored',
        )
    # COCO-WholeBody may count those of all parts.
    most = sum(
        len(value) // 3
        for key, value in entry.items()
        if key == 'keypoints' or (key.endswith('_kpts') and isinstance(value, list))
    )
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= most:
        return (
            f'the num_keypoints {shown(count)}',
            'expected the number of keypoints with a visibility of 1 or 2',
        )
    return None


def _consistent_count(entry: dict) -> Fault | None:
    """Check that `num_keypoints` is at most the number of labelled keypoints.

    CrowdPose does not count all of them, and COCO-WholeBody may count those of all parts.
    """
    count, points = entry.get('num_keypoints'), entry['keypoints']
    if not count or not are_numbers(points) or _counted_keypoints(entry) is not None:
        return None
    labelled = sum(label > 0 for label in points[2::3])
    if count <= labelled or any(key.endswith('_kpts') for key in entry):
        return None
    return (
        f'the num_keypoints {shown(count)}, but {labelled} labelled keypoints',
        'expected the number of keypoints with a visibility of 1 or 2; the evaluation ignores '
        'people only with 0',
    )


def _valid_area(entry: dict) -> Fault | None:
    """Check the area of an object, if any, to which the distances of its keypoints are compared."""
    if entry.get('area') is None:
        return None
    fault = has_fields('area')(entry)
    if fault is None and entry['area'] <= 0 and any(entry['keypoints'][2::3]):
        return f'the area {shown(entry["area"])}', expected_value('area')
    return fault


def _raise_frequent_warnings(findings: list[Finding]) -> list[Finding]:
    """Turn warnings about most of the entries into errors, and return the errors first."""
    for finding in findings:
        finding.is_error = finding.is_error or finding.count > _FREQUENT * finding.total
    return sorted(findings, key=lambda finding: not finding.is_error)


def _valid_segmentation(entry: dict) -> Fault | None:
    value = entry.get('segmentation')
    if value is None or is_run_length(value):
        return None
    if isinstance(value, list) and all(map(is_polygon, value)):
        return None
    return f'the segmentation {shown(value)}', _SEGMENTATION


def evenly(total: int, count: int) -> list[int]:
    """Return at most `count` indices that are evenly distributed over `total` entries."""
    count = min(total, count)
    return [number * total // count for number in range(count)]


def check_image_files(
    images: Sequence[dict], folder: str | Path, max_images: int | None = SAMPLE
) -> list[Finding]:
    """Compare the sizes of images with the headers of their files.

    Args:
        images: Entries of `images`. Those that have no valid name or size are skipped.
        folder: Folder of the images.
        max_images: Number of images, evenly distributed; None: all.

    Returns:
        The findings. A file that is missing or cannot be read is an error.
    """
    usable = [
        image
        for image in images
        if has_fields('file_name', 'width', 'height')(image) is None and not _valid_name(image)
    ]
    if max_images is not None:
        usable = [usable[index] for index in evenly(len(usable), max_images)]
    return find_faults('image', usable, lambda image: _size_in_file(image, Path(folder)))


def _size_in_file(image: dict, folder: Path) -> Fault | None:
    path = folder / image['file_name']
    if not os.path.lexists(path):
        return 'no file', f'expected the image files in the folder {folder}'
    try:
        width, height = image_size(path)
        truncated = is_truncated(path)
    except DatasetError as error:
        return f'a file that cannot be read ({first_line(error)})', 'expected an image'
    if truncated:
        return 'a truncated file', 'expected an image'
    if (width, height) == (image['width'], image['height']):
        return None
    return (
        f'the size {image["width"]} x {image["height"]}, and the file has {width} x {height}',
        'expected the width and height of the file in pixels, with its EXIF orientation applied',
    )
