"""COCO-style JSON files: one reader, and the checks of their entries.

Annotations and image lists are a JSON object with the lists `images`, `annotations` and
`categories`; detections and keypoint results are a JSON list. `CocoFile` reads a file, and its
caller chooses the checks that the entries must pass:

    file = CocoFile('results.json', 'results')
    file.check('result', file.entries(), has_fields('image_id', 'score'), keypoint_count(17))

Format: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from os import PathLike, fspath
from typing import Any, TypeGuard

from ..errors import DatasetError, shown
from ..utils.files import read_text
from .oks import AREA_OF_BOX

#: The invalid value of an entry, and the expected value, as parts of an error message.
Fault = tuple[str, str]
Check = Callable[[dict], Fault | None]

_ID, _NUMBER = (int, float, str), (int, float)
#: field -> its types, and what is expected of it
_FIELDS: dict[str, tuple[Any, str]] = {
    'id': (_ID, 'expected unique ids'),
    'image_id': (_ID, "expected the id of an entry of 'images'"),
    'category_id': (_ID, "expected the id of an entry of 'categories'"),
    'file_name': (str, 'expected the path of the image file'),
    'width': (_NUMBER, 'expected the width of the image in pixels'),
    'height': (_NUMBER, 'expected the height of the image in pixels'),
    'keypoints': (list, 'expected a list of x, y and visibility or score of each keypoint'),
    'bbox': (list, 'expected [x, y, width, height] in pixels'),
    'score': (_NUMBER, 'expected a finite number'),
    'num_keypoints': (_NUMBER, 'expected the number of labelled keypoints'),
    'iscrowd': (_NUMBER, 'expected 0, or 1 for a crowd region, which the evaluation ignores'),
    'area': (
        _NUMBER,
        'expected the area of the object in square pixels (if there are no masks, use '
        f'{AREA_OF_BOX} * width * height of the bounding box)',
    ),
    'crowdIndex': (_NUMBER, "expected CrowdPose's measure of crowding, from 0 to 1"),
}
#: what is expected of a field of detections and results
_IN_LIST = {
    'image_id': 'expected the id of an image of the annotations',
    'category_id': 'expected the id of a category of the annotations',
}
#: fields with whole numbers, unless IDs are text
_WHOLE = ('id', 'image_id', 'category_id', 'num_keypoints', 'iscrowd', 'width', 'height')
#: number of entries that a finding lists
MAX_EXAMPLES = 10
#: largest coordinate, and largest other number; areas and OKS of larger ones would be infinite
_LARGEST_COORDINATE, _LARGEST = 1e9, 1e18
#: example of a keypoint category, for error messages
CATEGORY = "{'id': 1, 'name': …, 'keypoints': [names], 'skeleton': [[1, 2], …]}"


def read_json(path: str | PathLike, what: str = 'file') -> Any:
    """Read a JSON file.

    Args:
        path: A regular file, in UTF-8, with or without a byte order mark.
        what: What the file contains, for the error message.

    Returns:
        The parsed content.

    Raises:
        DatasetError: If the file cannot be read or is not JSON, or contains NaN or Infinity, which
            JSON does not have.
    """
    text = read_text(path, what)

    def raise_not_json(constant: str) -> None:
        raise ValueError(
            f'it contains {constant}, which is not valid JSON: expected finite numbers; use null '
            'or remove the entry'
        )

    try:
        return json.loads(text, parse_constant=raise_not_json)
    except (ValueError, RecursionError) as error:
        hint = ''
        if str(error).startswith('Extra data: line 2 column 1 '):
            hint = '. It may be in the format JSON Lines: expected one JSON value, such as a list'
        raise DatasetError(f'cannot read the {what} {fspath(path)}: {error}{hint}') from error


class CocoFile:
    """A COCO-style JSON file, parsed once.

    Args:
        path: The file.
        what: What the file contains, for error messages.

    Attributes:
        path: The path as it was passed.
        content: The parsed JSON.

    Raises:
        DatasetError: If the file cannot be read or is not JSON.
    """

    def __init__(self, path: str | PathLike, what: str = 'annotations') -> None:
        self.path, self.what = fspath(path), what
        self.content = read_json(path, what)
        _convert_whole_numbers(self.content)

    def entries(self, name: str | None = None, empty: bool = True) -> list[dict]:
        """Return a list of entries.

        Args:
            name: `'images'`, `'annotations'` or `'categories'`; None: the file is the list.
            empty: Whether the list may be empty.

        Returns:
            The entries. Each is a dict, whose fields are not checked.

        Raises:
            DatasetError: If the file has no such list.
        """
        entries = self.content
        if name is None:
            if not isinstance(entries, list) or not all(
                isinstance(entry, dict) for entry in entries
            ):
                raise DatasetError(
                    f'{self.path} is not a COCO {self.what} file: expected a list of objects with '
                    'image_id, category_id, score, and bbox or keypoints'
                )
            return entries
        if not isinstance(entries, dict):
            raise DatasetError(
                f'{self.path} is not a COCO {self.what} file: the top level has the type '
                f"{type(entries).__name__}: expected an object with 'images', 'annotations' and "
                "'categories'"
            )
        entries = entries.get(name)
        if not isinstance(entries, list) or not (entries or empty):
            raise DatasetError(
                f'{self.path} has no {name}: expected a list of objects'
                + (f' such as {CATEGORY}' if name == 'categories' else '')
            )
        for entry in entries:
            if not isinstance(entry, dict):
                raise DatasetError(
                    f'{self.path}: {name} has the entry {shown(entry)}: expected an object'
                )
        return entries

    def keypoint_categories(self) -> list[dict]:
        """Return the categories with keypoints, after a check of their names and limbs.

        Returns:
            Categories with `keypoints`, a list of names, and optionally `skeleton`, a list of pairs
            of integers, whose range is not checked.

        Raises:
            DatasetError: If a name or a limb is of another type.
        """
        categories = [entry for entry in self.entries('categories') if entry.get('keypoints')]
        named = has_fields('keypoints', expected='expected a list of the names of the keypoints')
        self.check('category', categories, named, _check_names, _check_limbs)
        return categories

    def check(self, kind: str, entries: Sequence[dict], *checks: Check) -> None:
        """Check entries of this file.

        Args:
            kind: Name of an entry in the message, such as `'annotation'`.
            entries: The entries.
            checks: Checks, each of which returns None for a valid entry. A check may rely on the
                checks before it.

        Raises:
            DatasetError: If an entry fails a check. The message names the first such entry, the
                invalid and the expected value, and how many entries fail for the same reason.
        """
        check_entries(self.path, kind, entries, *checks)

    @property
    def is_image_list(self) -> bool:
        """Whether there are images but no annotations, as in the lists of test sets."""
        content = self.content
        return (
            isinstance(content, dict)
            and 'images' in content
            and content.get('annotations', []) == []
        )

    def image_ids(self) -> set[int | str]:
        """Return the IDs of the images.

        Raises:
            DatasetError: If there is no list of images, or an image has no ID.
        """
        images = self.entries('images')
        self.check('image', images, has_fields('id'))
        return {image['id'] for image in images}


@dataclass
class Finding:
    """Entries of a file that fail a check for the same reason.

    Attributes:
        kind: Name of an entry, such as `'annotation'`.
        expected: The expected value.
        total: Number of entries that were checked.
        is_error: Whether the entries are used wrongly, or not at all; else they are implausible.
        count: Number of entries that fail.
        examples: The first `MAX_EXAMPLES` of them: the name of the entry and the invalid value.
    """

    kind: str
    expected: str
    total: int
    is_error: bool = True
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Add an entry."""
        self.count += 1
        if self.count <= MAX_EXAMPLES:
            self.examples.append(example)

    def __str__(self) -> str:
        others = f' ({self.count} of {self.total} are like this)' if self.count > 1 else ''
        return f'{self.examples[0]}{others}: {self.expected}'


def find_faults(
    kind: str, entries: Sequence[dict] | Mapping[int, dict], *checks: Check, is_error: bool = True
) -> list[Finding]:
    """Check entries, see `CocoFile.check`.

    Args:
        kind, checks: See `CocoFile.check`.
        entries: The entries; or, for a part of a list, their indices → entries.
        is_error: See `Finding`.

    Returns:
        A finding for each reason. An entry is in at most one of them, that of its first fault.
    """
    findings: dict[str, Finding] = {}
    items = entries.items() if isinstance(entries, Mapping) else enumerate(entries)
    for number, entry in items:
        problem = next(filter(None, (check(entry) for check in checks)), None)
        if problem is not None:
            value, expected = problem
            finding = findings.setdefault(expected, Finding(kind, expected, len(entries), is_error))
            finding.add(f'{_label(kind, number, entry)} has {value}')
    return list(findings.values())


def check_entries(where: str, kind: str, entries: Sequence[dict], *checks: Check) -> None:
    """Check entries, see `CocoFile.check`.

    Args:
        where: Start of the message, such as the path of the file.
        kind, entries, checks: See `CocoFile.check`.
    """
    for finding in find_faults(kind, entries, *checks):
        raise DatasetError(f'{where}: {finding}')


def _convert_whole_numbers(content: object) -> None:
    """Convert IDs and counts such as 7.0 to integers, in place."""
    lists = content.values() if isinstance(content, dict) else [content]
    for entries in lists:
        for entry in entries if isinstance(entries, list) else ():
            for name in _WHOLE if isinstance(entry, dict) else ():
                value = entry.get(name)
                if isinstance(value, float) and value.is_integer():
                    entry[name] = int(value)


def _label(kind: str, number: int, entry: dict) -> str:
    """Return the name of an entry: its ID, otherwise its index in the list."""
    name = f'{kind} {shown(entry["id"])}' if entry.get('id') is not None else None
    if 'file_name' in entry:
        return f'{name or f"{kind} at index {number}"} ({shown(entry["file_name"])})'
    if name is None and entry.get('image_id') is not None:
        return f'{kind} at index {number}, of image {shown(entry["image_id"])},'
    return name or f'{kind} at index {number}'


def _check_names(category: dict) -> Fault | None:
    for name in category['keypoints']:
        if not isinstance(name, str) or not name.strip():
            return f'a keypoint called {shown(name)}', 'expected a name'
    return None


def _check_limbs(category: dict) -> Fault | None:
    limbs = category.get('skeleton') or []
    for limb in limbs if isinstance(limbs, list) else [limbs]:
        if (
            not isinstance(limb, list)
            or len(limb) != 2
            or not all(isinstance(point, int) for point in limb)
        ):
            return (
                f'the limb {shown(limb)} in its skeleton',
                'expected the numbers of two keypoints, counted from 1',
            )
    return None


def has_fields(*fields: str, expected: str = '') -> Check:
    """Check that an entry has fields of the correct types.

    Args:
        fields: Names of fields in `_FIELDS`.
        expected: Text for the message, instead of that in `_FIELDS`.

    Returns:
        The check.
    """

    def check(entry: dict) -> Fault | None:
        for name in fields:
            value, (types, default) = entry.get(name), _FIELDS[name]
            if (
                not isinstance(value, types)
                or not _is_finite(value)
                or (types is _NUMBER and not -_LARGEST <= value <= _LARGEST)
                or (isinstance(value, bool) and name != 'iscrowd')
            ):
                problem = f'no {name}' if value is None else f'the {name} {shown(value)}'
                return problem, expected or default
        return None

    return check


def valid_crowd_index(image: dict) -> Fault | None:
    """Check CrowdPose's measure of crowding of an image."""
    fault = has_fields('crowdIndex')(image)
    if fault is None and not 0 <= image['crowdIndex'] <= 1:
        return f'the crowdIndex {shown(image["crowdIndex"])}', _FIELDS['crowdIndex'][1]
    return fault


def in_list(*fields: str) -> Check:
    """Check the references of an entry of a list, which has no images and categories of its own.

    Args:
        fields: `'image_id'` or `'category_id'`.

    Returns:
        The check, see `has_fields`.
    """
    checks = [has_fields(name, expected=_IN_LIST[name]) for name in fields]
    return lambda entry: next(filter(None, (check(entry) for check in checks)), None)


def optional_field(name: str) -> Check:
    """Check the type of a field, see `has_fields`, if an entry has it."""
    check = has_fields(name)
    return lambda entry: None if entry.get(name) is None else check(entry)


def whole_id(entry: dict) -> Fault | None:
    """Check that the ID is a whole number, which MMPose needs for images."""
    value = entry['id']
    if isinstance(value, bool) or not isinstance(value, int):
        return f'the id {shown(value)}', 'expected whole numbers (renumber the images)'
    return None


def expected_value(field: str) -> str:
    """Return what is expected of a field, for messages."""
    return _FIELDS[field][1]


def unique(field: str, expected: str = '') -> Check:
    """Check that no two entries have the same value in a field.

    Args:
        field: Name of a field that all entries have.
        expected: Text for the message, instead of that in `_FIELDS`.
    """
    values = set()

    def check(entry: dict) -> Fault | None:
        value = entry[field]
        if value in values:
            return f'the same {field} as another entry', expected or _FIELDS[field][1]
        values.add(value)
        return None

    return check


def one_of(field: str, values: Collection, expected: str) -> Check:
    """Check that a field has one of the given values, such as the IDs of the images."""

    def check(entry: dict) -> Fault | None:
        value = entry[field]
        if isinstance(value, _ID) and value in values:
            return None
        return f'the {field} {shown(value)}', expected

    return check


def keypoint_count(count: int, origin: str = '') -> Check:
    """Check that there are three finite numbers for each keypoint.

    Args:
        count: Number of keypoints.
        origin: Origin of this number, for the message, such as `'of the category'`.

    Returns:
        The check.
    """
    expected = f'expected {3 * count}, three for each of the {count} keypoints {origin}'.rstrip()

    def check(entry: dict) -> Fault | None:
        values = entry['keypoints']
        if not are_numbers(values):
            return f'values in keypoints that are not finite numbers ({shown(values)})', expected
        if len(values) != 3 * count:
            return f'{len(values)} numbers in keypoints', expected
        return None

    return check


def valid_visibility(entry: dict) -> Fault | None:
    """Check that the third number of each keypoint is 0, 1 or 2."""
    for value in entry['keypoints'][2::3]:
        if value not in (0, 1, 2):
            return (
                f'a keypoint of visibility {shown(value)}',
                'expected 0 (not labelled), 1 (hidden) or 2 (visible)',
            )
    return None


def in_pixels(entry: dict) -> Fault | None:
    """Check that coordinates are not relative to the size of the image."""
    points = entry['keypoints']
    coordinates = points[0::3] + points[1::3]
    if any(points[2::3]) and max(coordinates) <= 1 and any(coordinates):
        return 'coordinates from 0 to 1', 'expected pixels'
    return None


def box_numbers(entry: dict) -> Fault | None:
    """Check that the bounding box has four numbers."""
    bbox = entry['bbox']
    if len(bbox) != 4 or not are_numbers(bbox) or any(isinstance(side, bool) for side in bbox):
        return f'the bbox {shown(bbox)}', _FIELDS['bbox'][1]
    return None


def filled_box(entry: dict) -> Fault | None:
    """Check that a bounding box that passes `box_numbers` has an area."""
    bbox = entry['bbox']
    if min(bbox[2:]) <= 0:
        return (
            f'the bbox {shown(bbox)}',
            f'{_FIELDS["bbox"][1]} with a positive width and height, since the image is cropped '
            'to it',
        )
    return None


def _is_finite(value: object) -> bool:
    """Return whether a value is not an infinite number, such as 1e400."""
    try:
        return not isinstance(value, (int, float)) or isfinite(value)
    except OverflowError:  # 10**400
        return False


def is_polygon(value: object) -> bool:
    """Return whether a value is a list of x and y of at least three points."""
    return (
        isinstance(value, list) and are_numbers(value) and len(value) >= 6 and len(value) % 2 == 0
    )


def is_run_length(value: object) -> TypeGuard[dict]:
    """Return whether a value is a run-length encoding of a mask, compressed or not.

    Format: `size` is [height, width]. `counts` are the lengths of the runs of zeros and ones in
    turn, column by column, as a list or in COCO's text of five bits per character, where each
    length after the third is relative to the one two before it. xtcocotools stores them in 32 bits.
    """
    if not isinstance(value, dict):
        return False
    size, counts = value.get('size'), value.get('counts')
    if not (isinstance(size, list) and len(size) == 2 and all(map(_is_count, size)) and all(size)):
        return False
    if isinstance(counts, str):
        counts = _decode_runs(counts)
    return (
        isinstance(counts, list)
        and all(map(_is_count, counts))
        and sum(counts) == size[0] * size[1]
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _decode_runs(text: str) -> list[int] | None:
    """Return the lengths of the runs of a compressed mask; None if the text is not valid."""
    runs: list[int] = []
    number = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 60:
            return None
        number |= (digit & 31) << shift
        shift += 5
        if digit & 32:  # more digits follow
            continue
        if digit & 16:  # negative
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    return None if shift else runs


def are_numbers(values: object) -> bool:
    """Return whether a value is a list of finite numbers in the range of coordinates."""
    try:
        return isinstance(values, list) and (
            not values
            or (
                isfinite(sum(values))
                and -_LARGEST_COORDINATE <= min(values)
                and max(values) <= _LARGEST_COORDINATE
            )
        )
    except (OverflowError, TypeError):  # 10**400; text, null, a list
        return False
