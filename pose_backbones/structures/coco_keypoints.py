"""Keypoint annotations in COCO's format, checked before they are used for training."""

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
    """Keypoint annotations of a file that has passed all checks.

    Args:
        path: Path of the file.
        names: Names of the K keypoints.
        skeleton: Pairs of indices into `names`, from 0.
        images: Image ID → entry of `images`.
        objects: The entries of `annotations` with keypoints, one for each instance.
    """

    path: str
    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    images: Mapping[int, dict]
    objects: tuple[dict, ...]


def read_keypoint_file(path: str, images: str | None = None) -> KeypointFile:
    """Read keypoint annotations and check everything that training and evaluation need.

    Instances that MMPose would silently ignore, such as those without a bounding box, raise an
    error.

    Args:
        path: A JSON file with `images`, `annotations` and `categories`.
        images: Folder in which all images must exist; None: this is not checked.

    Returns:
        The keypoints and the annotated instances of the file.

    Raises:
        DatasetError: If a check fails. The message contains the entry, the invalid value, and the
            expected value.
    """
    file = CocoFile(path)
    categories, image_entries, annotations = (
        file.entries(name, empty=False) for name in ('categories', 'images', 'annotations')
    )
    category = _find_category(file, categories)
    names = _check_names(path, category['keypoints'])
    skeleton = _check_skeleton(path, category.get('skeleton') or [], names)
    file.check('image', image_entries, has('id', 'file_name', 'width', 'height'), unique('id'))
    if images is not None:
        _check_folder(path, image_entries, images)
    images_by_id = {entry['id']: entry for entry in image_entries}
    objects = [entry for entry in annotations if entry.get('keypoints')]
    file.check(
        'annotation',
        objects,
        has('id', 'image_id', 'keypoints'),
        keypoints(len(names), 'of the category'),
        visibility,
        one_of('image_id', images_by_id, "expected the id of an entry of 'images'"),
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
    return KeypointFile(path, names, skeleton, images_by_id, tuple(objects))


def check_same_keypoints(first: KeypointFile, *others: KeypointFile) -> None:
    """Check that files have the same keypoints in the same order.

    Args:
        first: The file that the other files are compared with.
        others: The other files.

    Raises:
        DatasetError: If a file differs. The message contains its path and both lists of names.
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
    """Return the first category with keypoints; all such categories must have the same ones."""
    path, with_keypoints = file.path, file.keypoint_categories()
    if not with_keypoints:
        raise DatasetError(
            f'{path}: none of the categories ('
            f'{", ".join(str(entry.get("name")) for entry in categories)}) '
            f'has keypoints: expected {CATEGORY}'
        )
    first = with_keypoints[0]
    for entry in with_keypoints[1:]:
        if entry['keypoints'] != first['keypoints']:
            raise DatasetError(
                f'{path}: the categories {first.get("name")!r} and '
                f'{entry.get("name")!r} have different keypoints '
                f'({len(first["keypoints"])} and '
                f'{len(entry["keypoints"])}). A model predicts one set: '
                'split the file by category'
            )
    return first


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
    """Convert limbs to pairs of indices that count from 0; in COCO, they count from 1."""
    for limb in skeleton:
        if not all(1 <= number <= len(names) for number in limb):
            hint = '; COCO counts keypoints from 1' if 0 in limb else ''
            raise DatasetError(
                f'{path}: the skeleton has the limb {limb}: expected two '
                f'numbers from 1 to {len(names)}{hint}. Correct it, or '
                "take 'skeleton' out, which is for drawing only"
            )
    return tuple((a - 1, b - 1) for a, b in skeleton)
