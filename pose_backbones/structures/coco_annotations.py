"""Annotations of key points in COCO's format, checked before training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from ..errors import DatasetError
from ..utils.files import read_text

_CATEGORY = "{'id': 1, 'name': …, 'keypoints': [names], 'skeleton': [[1, 2], …]}"
#: fields that MMPose and COCO's evaluation read from every object
_FIELDS = {
    'id': 'give each object a number of its own',
    'category_id': "expected the id of an entry of 'categories'",
    'iscrowd': 'expected 0, or 1 for a group that is not to be counted',
    'area': 'expected the area of the object in square pixels (without '
    'masks, .53 * width * height of its bbox stands in)',
}


@dataclass(frozen=True)
class KeypointFile:
    """What a file in COCO's format says about key points.

    Args:
        path: The file.
        names: One a key point.
        skeleton: Pairs of indices into `names`, from 0.
        images: Id → entry.
        objects: The annotations with key points.
    """

    path: str
    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    images: Mapping[int, dict]
    objects: tuple[dict, ...]


def read_keypoint_file(path: str, images: str | None = None) -> KeypointFile:
    """Read annotations in COCO's format and check them.

    What MMPose would leave out without a word (objects without a box), or
    break off at in the first evaluation, is found here.

    Args:
        path: A JSON file with `images`, `annotations` and `categories`.
        images: Folder in which every image has to be; None does not look.

    Returns:
        Its key points and objects.

    Raises:
        DatasetError: With the value that is wrong and what to do.
    """
    content = _read(path)
    category = _find_category(path, content['categories'])
    names = _check_names(path, category['keypoints'])
    skeleton = _check_skeleton(path, category.get('skeleton') or [], names)
    entries = _check_images(path, content['images'], images)
    objects = [entry for entry in content['annotations'] if entry.get('keypoints')]
    _check_objects(path, objects, len(names), entries)
    return KeypointFile(path, names, skeleton, entries, tuple(objects))


def _read(path: str) -> dict:
    text = read_text(path, 'annotations')
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f'cannot read the annotations {path}: {error}') from error
    if not isinstance(content, dict):
        raise DatasetError(
            f'{path} holds a {type(content).__name__}: expected an object of '
            "COCO's format, with images, annotations and categories"
        )
    for name in ('categories', 'images', 'annotations'):
        found = content.get(name)
        if (
            not isinstance(found, list)
            or not all(isinstance(entry, dict) for entry in found)
            or not found
        ):
            raise DatasetError(
                f'{path} has no {name}: expected a list of objects'
                + (f' such as {_CATEGORY}' if name == 'categories' else '')
            )
    return content


def _find_category(path: str, categories: list[dict]) -> dict:
    """The one with key points; several have to agree in them."""
    found = [entry for entry in categories if entry.get('keypoints')]
    if not found:
        raise DatasetError(
            f'{path}: none of the categories ('
            f'{", ".join(str(entry.get("name")) for entry in categories)}) '
            f'has key points: expected {_CATEGORY}'
        )
    for entry in found[1:]:
        if entry['keypoints'] != found[0]['keypoints']:
            raise DatasetError(
                f'{path}: the categories {found[0].get("name")!r} and '
                f'{entry.get("name")!r} have different key points '
                f'({len(found[0]["keypoints"])} and '
                f'{len(entry["keypoints"])}). A model predicts one set: '
                'split the file by category'
            )
    return found[0]


def _check_names(path: str, names: list) -> tuple[str, ...]:
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise DatasetError(f'{path}: a key point is called {name!r}: expected a name')
        if names.count(name) > 1:
            raise DatasetError(
                f'{path}: {names.count(name)} key points are called '
                f'{name!r}: give each a name of its own'
            )
    return tuple(names)


def _check_skeleton(
    path: str, skeleton: list, names: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    """Limbs as pairs from 0, of pairs that count from 1."""
    for limb in skeleton:
        if (
            not isinstance(limb, list)
            or len(limb) != 2
            or not all(isinstance(point, int) for point in limb)
            or not all(1 <= point <= len(names) for point in limb)
        ):
            hint = '; COCO counts key points from 1' if isinstance(limb, list) and 0 in limb else ''
            raise DatasetError(
                f'{path}: the skeleton has the limb {limb}: expected two '
                f'numbers from 1 to {len(names)}{hint}. Correct it, or '
                "take 'skeleton' out, which is for drawing only"
            )
    return tuple((a - 1, b - 1) for a, b in skeleton)


def _check_images(path: str, images: list[dict], folder: str | None) -> dict[int, dict]:
    entries = {}
    for entry in images:
        absent = [
            name for name in ('id', 'file_name', 'width', 'height') if entry.get(name) is None
        ]
        if absent:
            raise DatasetError(f'{path}: an entry of images has no {absent[0]}: {entry}')
        if entry['id'] in entries:
            raise DatasetError(
                f'{path}: two images have the id {entry["id"]} '
                f'({entries[entry["id"]]["file_name"]} and '
                f'{entry["file_name"]}): number them apart'
            )
        entries[entry['id']] = entry
    if folder is not None:
        missing = [
            entry['file_name'] for entry in images if not Path(folder, entry['file_name']).is_file()
        ]
        if missing:
            raise DatasetError(
                f'{path}: {len(missing)} of {len(images)} images are not in '
                f'the folder {folder}, such as {missing[0]}'
            )
    return entries


def _check_objects(path: str, objects: list[dict], count: int, images: Mapping[int, dict]) -> None:
    faults: dict[str, list[str]] = {}
    seen = set()
    for entry in objects:
        what, advice = _fault(entry, count, images) or ('', '')
        if not advice and entry['id'] in seen:
            what, advice = 'the id of another', _FIELDS['id']
        if advice:
            faults.setdefault(advice, []).append(f'annotation {entry.get("id")} has {what}')
        seen.add(entry.get('id'))
    for advice, found in faults.items():
        others = f' ({len(found)} of {len(objects)} are like this)' if len(found) > 1 else ''
        raise DatasetError(f'{path}: {found[0]}{others}: {advice}')
    if not any(any(entry['keypoints'][2::3]) for entry in objects):
        raise DatasetError(
            f'{path}: no annotation has a labelled key point: expected '
            f"'keypoints', {count} times x, y and visibility"
        )


def _fault(entry: dict, count: int, images: Mapping[int, dict]) -> tuple[str, str] | None:
    """What an object has, and what was expected; None if it is sound."""
    points, box = entry['keypoints'], entry.get('bbox')
    if not _are_numbers(points) or len(points) != 3 * count:
        return (
            f'{len(points)} numbers in keypoints'
            if _are_numbers(points)
            else f'something else than numbers in keypoints ({points})',
            f'expected {3 * count}, x, y and visibility of each of the '
            f'{count} key points of the category',
        )
    odd = [value for value in points[2::3] if value not in (0, 1, 2)]
    if odd:
        return (
            f'a key point of visibility {odd[0]}',
            'expected 0 (not labelled), 1 (hidden) or 2 (visible)',
        )
    if entry.get('image_id') not in images:
        return (
            f'the image_id {entry.get("image_id")!r}',
            "expected the id of an entry of 'images'",
        )
    if any(points[2::3]) and max(points[0::3] + points[1::3]) <= 1:
        return 'coordinates from 0 to 1', 'expected pixels'
    if not _are_numbers(box) or len(box) != 4 or min(box[2:]) <= 0:
        return (
            f'the bbox {box}' if box else 'no bbox',
            'expected [x, y, width, height] in pixels; the model is shown what is inside of it',
        )
    for name, advice in _FIELDS.items():
        if name not in entry:
            return f'no {name}', advice
    return None


def _are_numbers(values) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, (int, float)) and isfinite(value) for value in values
    )
