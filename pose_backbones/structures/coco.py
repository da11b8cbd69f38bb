"""COCO-style JSON files: one reader, and the checks of their entries.

Annotations and image lists are objects with the lists `images`, `annotations` and `categories`;
detections and keypoint results are a list. `CocoFile` reads a file, and its user names the checks
that its entries must pass:

    file = CocoFile('results.json', 'results')
    file.check('result', file.entries(), has('image_id', 'score'), keypoints(17))

Format: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results
"""

import json
from collections.abc import Callable, Collection, Sequence
from math import isfinite
from os import PathLike, fspath
from typing import Any

from ..errors import DatasetError
from ..utils.files import read_text
from .oks import AREA_OF_BOX

#: What an entry has, and what was expected.
Fault = tuple[str, str]
Check = Callable[[dict], Fault | None]

_ID, _NUMBER = (int, float, str), (int, float)
#: field -> its types, and what is expected of it
_FIELDS: dict[str, tuple[Any, str]] = {
    'id': (_ID, 'expected a different id for each entry'),
    'image_id': (_ID, "expected the id of an entry of 'images'"),
    'category_id': (_ID, "expected the id of an entry of 'categories'"),
    'file_name': (str, 'expected the path of the image file'),
    'width': (_NUMBER, 'expected the width of the image in pixels'),
    'height': (_NUMBER, 'expected the height of the image in pixels'),
    'keypoints': (list, 'expected a list of x, y and visibility or score of each keypoint'),
    'bbox': (list, 'expected [x, y, width, height] in pixels'),
    'score': (_NUMBER, 'expected a number'),
    'num_keypoints': (_NUMBER, 'expected the number of labelled keypoints'),
    'iscrowd': (_NUMBER, 'expected 0, or 1 for a group that is not to be counted'),
    'area': (
        _NUMBER,
        'expected the area of the object in square pixels (without masks, '
        f'{AREA_OF_BOX} * width * height of its bbox stands in)',
    ),
    'crowdIndex': (_NUMBER, "expected CrowdPose's measure of crowding, from 0 to 1"),
}
_LONGEST = 80  # characters of a value that are shown
#: how a category of keypoints looks
CATEGORY = "{'id': 1, 'name': …, 'keypoints': [names], 'skeleton': [[1, 2], …]}"


def read_json(path: str | PathLike, what: str = 'file') -> Any:
    """Read a JSON file.

    Args:
        path: A regular file, in UTF-8.
        what: What the file holds, for the error message.

    Returns:
        Its content.

    Raises:
        DatasetError: If the file cannot be read or is not JSON.
    """
    text = read_text(path, what)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f'cannot read the {what} {fspath(path)}: {error}') from error


class CocoFile:
    """A COCO-style JSON file, parsed once.

    Args:
        path: The file.
        what: What it holds, for error messages.

    Attributes:
        path: As given.
        content: The parsed JSON.

    Raises:
        DatasetError: If the file cannot be read or is not JSON.
    """

    def __init__(self, path: str | PathLike, what: str = 'annotations') -> None:
        self.path, self.what = fspath(path), what
        self.content = read_json(path, what)

    def entries(self, name: str | None = None, empty: bool = True) -> list[dict]:
        """Get a list of entries.

        Args:
            name: `'images'`, `'annotations'` or `'categories'`; None: the file is the list.
            empty: Whether the list may be empty.

        Returns:
            The entries, which are dicts and otherwise unchecked.

        Raises:
            DatasetError: If the file has no such list.
        """
        found = self.content
        if name is None:
            if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
                raise DatasetError(
                    f"{self.path} holds no {self.what}: expected COCO's results format, a list of "
                    'objects with image_id, category_id, score, and bbox or keypoints'
                )
            return found
        if not isinstance(found, dict):
            raise DatasetError(
                f'{self.path} holds no {self.what} but a {type(found).__name__}: expected an '
                "object in COCO's format, with images, annotations and categories"
            )
        found = found.get(name)
        if not isinstance(found, list) or not (found or empty):
            raise DatasetError(
                f'{self.path} has no {name}: expected a list of objects'
                + (f' such as {CATEGORY}' if name == 'categories' else '')
            )
        for entry in found:
            if not isinstance(entry, dict):
                raise DatasetError(
                    f'{self.path}: {name} has the entry {_shown(entry)}: expected an object'
                )
        return found

    def keypoint_categories(self) -> list[dict]:
        """Get the categories with keypoints, after a check of their names and limbs.

        Returns:
            Categories with `keypoints`, a list of names; and perhaps `skeleton`, a list of pairs of
            integers, whose range is not checked.

        Raises:
            DatasetError: If a name or a limb is of another type.
        """
        found = [entry for entry in self.entries('categories') if entry.get('keypoints')]
        self.check('category', found, has('keypoints'), _names, _limbs)
        return found

    def check(self, kind: str, entries: Sequence[dict], *checks: Check) -> None:
        """Check entries of this file.

        Args:
            kind: What an entry is called in the message, such as `'annotation'`.
            entries: The entries.
            checks: Each returns None for a good entry; later ones may rely on earlier ones.

        Raises:
            DatasetError: With the first entry that fails, what is wrong with it, how many entries
                fail for the same reason, and what was expected.
        """
        check_entries(self.path, kind, entries, *checks)

    @property
    def is_image_list(self) -> bool:
        """Whether there are images but no annotations, as in the lists of test sets."""
        content = self.content
        return isinstance(content, dict) and 'images' in content and not content.get('annotations')

    def image_ids(self) -> set[int | str]:
        """Get the ids of the images.

        Raises:
            DatasetError: If there are no images, or one has no id.
        """
        images = self.entries('images')
        self.check('image', images, has('id'))
        return {image['id'] for image in images}


def check_entries(where: str, kind: str, entries: Sequence[dict], *checks: Check) -> None:
    """Check entries, see `CocoFile.check`.

    Args:
        where: Start of the message, such as the path of the file.
        kind, entries, checks: See `CocoFile.check`.
    """
    faults: dict[str, tuple[str, int]] = {}  # by what was expected
    for number, entry in enumerate(entries):
        fault = next(filter(None, (check(entry) for check in checks)), None)
        if fault is not None:
            what, expected = fault
            first, count = faults.get(expected, ('', 0))
            faults[expected] = (first or f'{_label(kind, number, entry)} has {what}', count + 1)
    if faults:
        expected, (first, count) = next(iter(faults.items()))
        others = f' ({count} of {len(entries)} are like this)' if count > 1 else ''
        raise DatasetError(f'{where}: {first}{others}: {expected}')


def _label(kind: str, number: int, entry: dict) -> str:
    """Name an entry: by its id, else by its place in the list."""
    if 'file_name' in entry:
        return f'{kind} {entry.get("id", number)} ({_shown(entry["file_name"])})'
    if 'id' not in entry and 'image_id' in entry:
        return f'{kind} {number}, of image {_shown(entry["image_id"])},'
    return f'{kind} {_shown(entry.get("id", number))}'


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'


def _names(category: dict) -> Fault | None:
    for name in category['keypoints']:
        if not isinstance(name, str) or not name.strip():
            return f'a keypoint called {_shown(name)}', 'expected a name'
    return None


def _limbs(category: dict) -> Fault | None:
    limbs = category.get('skeleton') or []
    for limb in limbs if isinstance(limbs, list) else [limbs]:
        if (
            not isinstance(limb, list)
            or len(limb) != 2
            or not all(isinstance(point, int) for point in limb)
        ):
            return (
                f'the limb {_shown(limb)} in its skeleton',
                'expected the numbers of two keypoints, counted from 1',
            )
    return None


def has(*fields: str, expected: str = '') -> Check:
    """Check that the fields are there and of the right type.

    Args:
        fields: Known ones, see `_FIELDS`.
        expected: In place of what is usually expected.

    Returns:
        The check.
    """

    def check(entry: dict) -> Fault | None:
        for field in fields:
            value, (kind, usual) = entry.get(field), _FIELDS[field]
            if not isinstance(value, kind):
                what = f'no {field}' if value is None else f'the {field} {_shown(value)}'
                return what, expected or usual
        return None

    return check


def unique(field: str) -> Check:
    """Check that no two entries have the same value in a field."""
    seen = set()

    def check(entry: dict) -> Fault | None:
        value = entry[field]
        if value in seen:
            return f'the {field} of another', _FIELDS[field][1]
        seen.add(value)
        return None

    return check


def one_of(field: str, values: Collection, expected: str) -> Check:
    """Check that a field has one of the given values, such as the ids of the images."""

    def check(entry: dict) -> Fault | None:
        value = entry[field]
        if isinstance(value, _ID) and value in values:
            return None
        return f'the {field} {_shown(value)}', expected

    return check


def keypoints(count: int, of: str = '') -> Check:
    """Check that there are three finite numbers for each keypoint.

    Args:
        count: Number of keypoints.
        of: Where this number is from, for the message.

    Returns:
        The check.
    """
    expected = f'expected {3 * count}, three for each of the {count} keypoints {of}'.rstrip()

    def check(entry: dict) -> Fault | None:
        values = entry['keypoints']
        if not are_numbers(values):
            return (f'something else than finite numbers in keypoints ({_shown(values)})', expected)
        if len(values) != 3 * count:
            return f'{len(values)} numbers in keypoints', expected
        return None

    return check


def visibility(entry: dict) -> Fault | None:
    """Check that the third number of each keypoint is 0, 1 or 2."""
    for value in entry['keypoints'][2::3]:
        if value not in (0, 1, 2):
            return (
                f'a keypoint of visibility {value}',
                'expected 0 (not labelled), 1 (hidden) or 2 (visible)',
            )
    return None


def in_pixels(entry: dict) -> Fault | None:
    """Check that coordinates are not relative to the size of the image."""
    points = entry['keypoints']
    if any(points[2::3]) and max(points[0::3] + points[1::3]) <= 1:
        return 'coordinates from 0 to 1', 'expected pixels'
    return None


def box(entry: dict) -> Fault | None:
    """Check that the bounding box has four numbers."""
    found = entry['bbox']
    if len(found) != 4 or not all(isinstance(value, _NUMBER) for value in found):
        return f'the bbox {_shown(found)}', _FIELDS['bbox'][1]
    return None


def filled_box(entry: dict) -> Fault | None:
    """Check that the bounding box has an area."""
    found = entry['bbox']
    if not are_numbers(found) or len(found) != 4 or min(found[2:]) <= 0:
        return (
            f'the bbox {_shown(found)}',
            f'{_FIELDS["bbox"][1]}; the model sees only what is inside',
        )
    return None


def score(entry: dict) -> Fault | None:
    """Check that the score is a finite number."""
    if not are_numbers([entry['score']]):
        return f'the score {_shown(entry["score"])}', 'expected a finite number'
    return None


def are_numbers(values: object) -> bool:
    """Whether this is a list of finite numbers."""
    try:
        return isinstance(values, list) and isfinite(sum(values))
    except (OverflowError, TypeError):  # 10**400; text, null, a list
        return False
