"""Keypoint annotations in COCO's format, checked before they are used for training."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import DatasetError
from .coco import CATEGORY, CocoFile, Finding
from .coco_checker import check_annotations, raise_errors, split_annotations


@dataclass(frozen=True)
class KeypointFile:
    """Keypoint annotations of a file that has passed all checks.

    Args:
        path: Path of the file.
        names: Names of the K keypoints.
        skeleton: Pairs of indices into `names`, from 0.
        images: Image ID → entry of `images`.
        objects: The entries of `annotations` with keypoints, one for each instance.
        warnings: Implausible values in the file.
    """

    path: str
    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    images: Mapping[int, dict]
    objects: tuple[dict, ...]
    warnings: tuple[Finding, ...] = ()


def read_keypoint_file(path: str, images: str | None = None) -> KeypointFile:
    """Read keypoint annotations and check everything that training and evaluation need.

    Args:
        path: A JSON file with `images`, `annotations` and `categories`.
        images: Folder of the images, whose headers are read; None: images are not read.

    Returns:
        The keypoints and the annotated instances of the file.

    Raises:
        DatasetError: If there are errors, or no category has names of keypoints. The message
            contains the entry, the invalid value, and the expected value.
    """
    file = CocoFile(path)
    file.entries('annotations', empty=False)
    parts = split_annotations(file)
    names = parts.names
    findings = check_annotations(file, images, max_images=None)
    warnings = raise_errors(file, findings)
    if not names:
        raise DatasetError(
            f'{path}: none of the categories ('
            f'{", ".join(str(entry.get("name")) for entry in parts.categories)}) '
            f'has keypoints: expected {CATEGORY}'
        )
    category = file.keypoint_categories()[0]
    limbs = category.get('skeleton') or []
    if any(not 1 <= number <= len(names) for limb in limbs for number in limb):
        limbs = []  # the checker has a warning
    skeleton = tuple((a - 1, b - 1) for a, b in limbs)
    images_by_id = {entry['id']: entry for entry in parts.images}
    objects = tuple(entry for entry in parts.objects if entry.get('keypoints'))
    return KeypointFile(path, names, skeleton, images_by_id, objects, tuple(warnings))


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
