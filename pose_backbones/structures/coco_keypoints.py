"""Annotations of keypoints in COCO's format, checked before they are used for training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError
from .coco import (
    CATEGORY,
    CocoFile,
    filled_box,
    has,
    in_pixels,
    keypoints,
    one_of,
    unique,
    visibility,
)


@dataclass(frozen=True)
class KeypointFile:
    """Annotations of keypoints that can be trained on.

    Args:
        path: The file.
        names: Names of the K keypoints.
        skeleton: Pairs of indices into `names`, from 0.
        images: Id → entry.
        objects: The annotations with keypoints.
    """

    path: str
    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    images: Mapping[int, dict]
    objects: tuple[dict, ...]


def read_keypoint_file(path: str, images: str | None = None) -> KeypointFile:
    """Read annotations of keypoints and check all that training and evaluation need.

    Objects that MMPose would leave out silently, such as those without a bounding box, are errors.

    Args:
        path: A JSON file with `images`, `annotations` and `categories`.
        images: Folder in which all images must exist; None: this is not checked.

    Returns:
        Its keypoints and objects.

    Raises:
        DatasetError: With the entry, the value that is wrong, and what was expected.
    """
    file = CocoFile(path)
    categories, entries, objects = (
        file.entries(name, empty=False) for name in ('categories', 'images', 'annotations')
    )
    category = _find_category(file, categories)
    names = _check_names(path, category['keypoints'])
    skeleton = _check_skeleton(path, category.get('skeleton') or [], names)
    file.check('image', entries, has('id', 'file_name', 'width', 'height'), unique('id'))
    if images is not None:
        _check_folder(path, entries, images)
    by_id = {entry['id']: entry for entry in entries}
    objects = [entry for entry in objects if entry.get('keypoints')]
    file.check(
        'annotation',
        objects,
        has('id', 'image_id', 'keypoints'),
        keypoints(len(names), 'of the category'),
        visibility,
        one_of('image_id', by_id, "expected the id of an entry of 'images'"),
        in_pixels,
        has('bbox'),
        filled_box,
        has('category_id', 'iscrowd', 'area'),
        unique('id'),
    )
    if not any(any(entry['keypoints'][2::3]) for entry in objects):
        raise DatasetError(
            f'{path}: no annotation has a labelled keypoint: expected '
            f"'keypoints', {len(names)} times x, y and visibility"
        )
    return KeypointFile(path, names, skeleton, by_id, tuple(objects))


def check_same_keypoints(first: KeypointFile, *others: KeypointFile) -> None:
    """Check that files have the same keypoints in the same order.

    Args:
        first: The file that others are compared with.
        others: The others.

    Raises:
        DatasetError: With the file that differs, and both lists of names.
    """
    for file in others:
        if file.names != first.names:
            raise DatasetError(
                f'{file.path} has the keypoints {", ".join(file.names)}: '
                f'expected those of {first.path}, in its order: {", ".join(first.names)}'
            )


def _check_folder(path: str, images: Sequence[dict], folder: str) -> None:
    """Check that all images are in the folder."""
    missing = [
        entry['file_name'] for entry in images if not Path(folder, entry['file_name']).is_file()
    ]
    if missing:
        raise DatasetError(
            f'{path}: {len(missing)} of {len(images)} images are not in '
            f'the folder {folder}, such as {missing[0]}'
        )


def _find_category(file: CocoFile, categories: Sequence[dict]) -> dict:
    """Get the category with keypoints; if several have some, they must be the same."""
    path, found = file.path, file.keypoint_categories()
    if not found:
        raise DatasetError(
            f'{path}: none of the categories ('
            f'{", ".join(str(entry.get("name")) for entry in categories)}) '
            f'has keypoints: expected {CATEGORY}'
        )
    for entry in found[1:]:
        if entry['keypoints'] != found[0]['keypoints']:
            raise DatasetError(
                f'{path}: the categories {found[0].get("name")!r} and '
                f'{entry.get("name")!r} have different keypoints '
                f'({len(found[0]["keypoints"])} and '
                f'{len(entry["keypoints"])}). A model predicts one set: '
                'split the file by category'
            )
    return found[0]


def _check_names(path: str, names: list[str]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise DatasetError(
                f'{path}: {names.count(name)} keypoints are called '
                f'{name!r}: give each a name of its own'
            )
    return tuple(names)


def _check_skeleton(
    path: str, skeleton: Sequence[list[int]], names: Sequence[str]
) -> tuple[tuple[int, int], ...]:
    """Convert limbs to pairs of indices that count from 0; COCO's count from 1."""
    for limb in skeleton:
        if not all(1 <= point <= len(names) for point in limb):
            hint = '; COCO counts keypoints from 1' if 0 in limb else ''
            raise DatasetError(
                f'{path}: the skeleton has the limb {limb}: expected two '
                f'numbers from 1 to {len(names)}{hint}. Correct it, or '
                "take 'skeleton' out, which is for drawing only"
            )
    return tuple((a - 1, b - 1) for a, b in skeleton)
