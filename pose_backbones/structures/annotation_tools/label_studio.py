"""Read Label Studio's export `JSON`, with keypoints and optionally boxes.

Source: https://labelstud.io/guide/task_format, https://labelstud.io/tags/keypointlabels and
https://labelstud.io/tags/rectanglelabels.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ...errors import DatasetError, shown
from .labelled import (
    MISSING,
    VISIBLE,
    LabelledDataset,
    LabelledImage,
    LabelledObject,
    choose_names,
    find_image,
    finite,
)

_POINT, _BOX, _RELATION = 'keypointlabels', 'rectanglelabels', 'relation'
#: characters of the prefix that Label Studio adds to the names of uploaded files, with the hyphen
_PREFIX = 9


def read_label_studio(
    path: Path, content: list, images: Path | None, given: Sequence[str] | None
) -> LabelledDataset:
    """Read an export of Label Studio.

    A keypoint belongs to the box that is its parent in the tree of regions, that a relation
    connects it with, or else that contains it. Without boxes, the keypoints of an image belong to
    one object. All labelled keypoints are visible.

    Args:
        path: The `.json` file.
        content: Its content, a list of tasks.
        images: Folder of the images; None: that of the file.
        given: Names of the keypoints, in order; None: the labels in the order of the file.

    Raises:
        DatasetError: If the file is not valid. The message contains file, task and value.
    """
    dataset = LabelledDataset((), [])
    tasks = [(f'{path}, task {_task_id(task, index)}', task) for index, task in enumerate(content)]
    regions = {where: _regions(task, where) for where, task in tasks}
    found = [
        _label(region, where)
        for where, listed in regions.items()
        for region in listed or []
        if region.get('type') == _POINT
    ]
    if not found:
        raise DatasetError(f'{path}: there are no labelled keypoints: expected {_POINT} in results')
    names = dataset.names = choose_names(list(dict.fromkeys(found)), given, str(path))
    if given is None:
        dataset.notes.append(
            'the keypoints have the order in which they occur in the file; --keypoints sets another'
        )
    skipped = 0
    for where, task in tasks:
        listed = regions[where]
        if listed is None:
            skipped += 1
            continue
        image = LabelledImage([], where, _image(task, path, images, where))
        image.size = _size(listed, where)
        if image.size is not None:
            image.objects = _objects(listed, where, names, image.size)
        dataset.images.append(image)
    if skipped:
        dataset.notes.append(f'{skipped} tasks without annotations are left out')
    categories = [item.category for image in dataset.images for item in image.objects]
    dataset.categories = list(dict.fromkeys(categories))
    return dataset


def _task_id(task: Any, index: int) -> str:
    if not isinstance(task, dict):
        return f'number {index + 1}'
    return str(task.get('id', f'number {index + 1}'))


def _regions(task: Any, where: str) -> list[dict] | None:
    """Return the results of the annotation of a task; None if it is not annotated."""
    if not isinstance(task, dict) or not isinstance(task.get('annotations'), list):
        raise DatasetError(
            f"{where} has no annotations: expected Label Studio's export JSON, not JSON-MIN"
        )
    done = [
        entry
        for entry in task['annotations']
        if isinstance(entry, dict) and not entry.get('was_cancelled')
    ]
    marked = [entry for entry in done if entry.get('ground_truth')]
    if len(done) > 1 and len(marked) != 1:
        raise DatasetError(
            f'{where} has {len(done)} annotations: expected one, or one that is marked as ground '
            'truth'
        )
    if not done:
        return None
    result = (marked or done)[0].get('result')
    if not isinstance(result, list) or not all(isinstance(entry, dict) for entry in result):
        raise DatasetError(f'{where}: result is {shown(result)}: expected a list of regions')
    return result


def _label(region: dict, where: str) -> str:
    """Return the label of a keypoint or a box."""
    kind, value = region['type'], region.get('value')
    labels = value.get(kind) if isinstance(value, dict) else None
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise DatasetError(
            f'{where}, region {region.get("id")}: {kind} is {shown(labels)}: expected one label'
        )
    return labels[0]


def _size(regions: list[dict], where: str) -> tuple[int, int] | None:
    """Return the size of the image in the regions; None without regions."""
    size = None
    for region in regions:
        if region.get('type') not in (_POINT, _BOX):
            continue
        place = f'{where}, region {region.get("id")}'
        width, height = (
            finite(region.get(name), place, name) for name in ('original_width', 'original_height')
        )
        if region.get('image_rotation'):
            raise DatasetError(
                f'{place}: the image was rotated by {region["image_rotation"]} degrees in Label '
                'Studio: expected no rotation'
            )
        if size not in (None, (int(width), int(height))):
            raise DatasetError(f'{place}: the image has another size than in other regions')
        size = int(width), int(height)
    return size


def _objects(
    regions: list[dict], where: str, names: tuple[str, ...], size: tuple[int, int]
) -> list[LabelledObject]:
    """Return the objects of an image."""
    boxes: dict[str, LabelledObject] = {}
    for index, region in enumerate(regions):
        if region.get('type') == _BOX:
            place = f'{where}, region {region.get("id")}'
            x, y, w, h = _percent(region, place, size, 'x', 'y', 'width', 'height')
            if region['value'].get('rotation'):
                raise DatasetError(f'{place}: the box is rotated: expected a rotation of 0')
            key = str(region.get('id', f'number {index}'))
            if key in boxes:
                raise DatasetError(f'{place}: another box has the same id: expected different ids')
            boxes[key] = LabelledObject(
                [MISSING] * len(names), place, _label(region, where), (x, y, w, h)
            )
    objects = list(boxes.values())
    relations = {
        str(source): str(target)
        for region in regions
        if region.get('type') == _RELATION
        for source, target in (
            (region.get('from_id'), region.get('to_id')),
            (region.get('to_id'), region.get('from_id')),
        )
        if str(target) in boxes
    }
    for region in regions:
        if region.get('type') != _POINT:
            continue
        place = f'{where}, region {region.get("id")}'
        x, y = _percent(region, place, size, 'x', 'y')
        owner = boxes.get(str(region['parentID'])) if region.get('parentID') else None
        owner = owner or boxes.get(relations.get(str(region.get('id')), ''))
        if owner is None:
            if not objects:
                objects.append(LabelledObject([MISSING] * len(names), where))
            around = [item for item in objects if item.box is None or _contains(item.box, x, y)]
            if len(around) != 1:
                raise DatasetError(
                    f'{place}: the keypoint is in {len(around)} boxes: expected one, or a parent '
                    'or relation that is its box'
                )
            owner = around[0]
        number = names.index(_label(region, where))
        if owner.points[number] != MISSING:
            raise DatasetError(
                f'{place}: the keypoint {shown(names[number])} is labelled twice in its object: '
                'expected one; objects in the same image need boxes'
            )
        owner.points[number] = (x, y, VISIBLE)
    return objects


def _percent(region: dict, where: str, size: tuple[int, int], *fields: str) -> list[float]:
    """Return values of a region in pixels; in the file, they are in percent of the image."""
    value = region.get('value')
    if not isinstance(value, dict):
        raise DatasetError(f'{where}: value is {shown(value)}: expected {", ".join(fields)}')
    return [
        finite(value.get(name), where, name) / 100 * size[number % 2]
        for number, name in enumerate(fields)
    ]


def _contains(box: tuple[float, float, float, float], x: float, y: float) -> bool:
    left, top, width, height = box
    return left <= x <= left + width and top <= y <= top + height


def _image(task: dict, path: Path, images: Path | None, where: str) -> Path:
    """Return the image file of a task."""
    data = task.get('data')
    data = data if isinstance(data, dict) else {}
    urls = [value for value in data.values() if isinstance(value, str)]
    name = data.get('image')
    if name is None and len(urls) == 1:
        name = urls[0]
    if not isinstance(name, str):
        raise DatasetError(f"{where}: data is {shown(data)}: expected {{'image': path or URL}}")
    try:
        url = urlsplit(name)
    except ValueError as error:
        raise DatasetError(f'{where}: the image {shown(name)} is not a path or URL') from error
    local = parse_qs(url.query).get('d')  # /data/local-files/?d=…
    name = local[0] if local else unquote(url.path)
    folders = [images] if images is not None else [path.parent / 'images', path.parent]
    try:
        return find_image(name, folders, where)
    except DatasetError:
        base = name.rpartition('/')[2]
        if base[_PREFIX - 1 : _PREFIX] != '-':
            raise
        for folder in folders:
            if os.path.isfile(folder / base[_PREFIX:]):
                return folder / base[_PREFIX:]
        raise
