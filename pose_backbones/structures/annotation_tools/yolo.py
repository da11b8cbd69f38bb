"""Read pose datasets of YOLO: `data.yaml` and a text file of labels for each image.

A line of a label file contains the index of the class, the center, width and height of the box, and
x, y and optionally the visibility of each keypoint, all but the class and the visibility relative
to the size of the image.

Source: https://docs.ultralytics.com/datasets/pose/ (the format; the package is not used).
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import DatasetError, list_names, shown
from ...utils.files import read_text
from ...utils.images import IMAGE_SUFFIXES, image_size
from .labelled import (
    MISSING,
    NOT_LABELLED,
    OUTSIDE,
    SPLITS,
    VISIBLE,
    LabelledDataset,
    LabelledImage,
    LabelledObject,
    Point,
    check_names,
    finite,
)

#: file name of the images of a split → file name of their labels
_IMAGES, _LABELS = 'images', 'labels'
_MOST_KEYPOINTS = 10_000


def read_yolo(
    path: Path, content: dict, images: Path | None, given: Sequence[str] | None
) -> LabelledDataset:
    """Read a pose dataset of YOLO.

    With three values for each keypoint, the third is COCO's visibility. With two, a keypoint at
    (0, 0) or with a negative coordinate is not labelled, and the others are visible.

    Args:
        path: The `.yaml` file.
        content: Its content.
        images: Folder that the paths in the file are relative to; None: its `path`.
        given: Names of the keypoints; None: `kpt_names` of the file, or numbers.

    Raises:
        DatasetError: If the files are not valid. The message contains file, line and value.
    """
    count, values = _shape(path, content)
    names, notes = _names(path, content, count, given)
    classes = _classes(path, content)
    dataset = LabelledDataset(
        names, [], categories=list(classes.values()), pairs=_pairs(path, content, names)
    )
    dataset.notes += notes
    roots = _roots(path, content, images)
    files: dict[str, list[Path]] = {}
    for key, value in content.items():
        name = SPLITS.get(str(key).lower())
        if name is not None:  # `validation` and `Train`, too
            files.setdefault(name, []).extend(_image_files(path, key, value, roots))
    if not any(files.values()):
        raise DatasetError(f'{path}: it has no images: expected train, val or test')
    without = repeated = 0
    example = Path()
    for split, listed in files.items():
        for file in listed:
            labels = _label_file(file)
            image = LabelledImage([], str(file), file, split=split)
            if labels.exists():
                image.objects, same = _read_labels(labels, file, classes, count, values)
                repeated += same
            else:
                without, example = without + 1, labels
            dataset.images.append(image)
    if without == len(dataset.images):
        raise DatasetError(f'{path}: no image has a label file: expected files such as {example}')
    if without:
        dataset.notes.append(f'{without} images have no label file, and therefore no objects')
    if repeated:
        dataset.notes.append(f'{repeated} lines that repeat a line of the same file are left out')
    return dataset


def _shape(path: Path, content: dict) -> tuple[int, int]:
    """Return the number of keypoints, and of values for each."""
    shape = content.get('kpt_shape')
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or not all(type(number) is int for number in shape)
        or not 1 <= shape[0] <= _MOST_KEYPOINTS
        or shape[1] not in (2, 3)
    ):
        raise DatasetError(
            f'{path}: kpt_shape is {shown(shape)}: expected [number of keypoints, 2 or 3], as in '
            'pose datasets'
        )
    return shape[0], shape[1]


def _names(
    path: Path, content: dict, count: int, given: Sequence[str] | None
) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the keypoints, and notes about them."""
    listed: Any = given
    where, notes = '--keypoints', []
    if given is None:
        where = f'{path}, kpt_names'
        listed = content.get('kpt_names')
        if isinstance(listed, dict):
            different = {str(value) for value in listed.values() if value}
            if len(different) > 1:
                raise DatasetError(
                    f'{where}: the classes have different keypoints: expected the same names'
                )
            listed = next(iter(listed.values()), None)
        if listed is None:
            listed = [f'keypoint_{number}' for number in range(1, count + 1)]
            notes.append(
                f'{path} has no names of keypoints, which are called {listed[0]} to {listed[-1]}: '
                'set them with --keypoints'
            )
    if not isinstance(listed, (list, tuple)) or len(listed) != count:
        raise DatasetError(
            f'{where}: {shown(listed)}: expected {count} names, as in kpt_shape of {path}'
        )
    return check_names(listed, where), notes


def _classes(path: Path, content: dict) -> dict[int, str]:
    """Return index of a class → name."""
    names = content.get('names')
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(type(key) is int for key in names):
        raise DatasetError(
            f'{path}: names is {shown(names)}: expected the names of the classes, such as '
            '{0: person}'
        )
    return {key: str(name) for key, name in names.items()}


def _pairs(path: Path, content: dict, names: tuple[str, ...]) -> dict[str, str] | None:
    """Return the flip pairs of `flip_idx`, by name."""
    order = content.get('flip_idx')
    if order is None:
        return None
    expected = f'expected the index of the mirrored keypoint for each of {len(names)}'
    if (
        not isinstance(order, list)
        or not all(type(index) is int for index in order)
        or sorted(order) != list(range(len(names)))
    ):
        raise DatasetError(f'{path}: flip_idx is {shown(order)}: {expected}')
    if any(order[other] != index for index, other in enumerate(order)):
        raise DatasetError(f'{path}: flip_idx {shown(order)} is not symmetric: {expected}')
    return {names[i]: names[other] for i, other in enumerate(order) if other != i}


def _roots(path: Path, content: dict, images: Path | None) -> list[Path]:
    """Return the folders that the paths of the splits may be relative to."""
    if images is not None:
        return [images]
    root = content.get('path')
    if root is not None and not isinstance(root, str):
        raise DatasetError(f'{path}: path is {shown(root)}: expected the path of a folder')
    return [path.parent / (root or ''), path.parent]


def _image_files(path: Path, split: str, value: object, roots: list[Path]) -> list[Path]:
    """Return the images of a split: of folders, or of text files with a path in each line."""
    files: list[Path] = []
    for name in value if isinstance(value, list) else [] if value in (None, '') else [value]:
        if not isinstance(name, str):
            raise DatasetError(f'{path}: {split} is {shown(value)}: expected folders or .txt files')
        # Exports of Roboflow contain `../train/images` for `train/images`.
        candidates = [root / part for root in roots for part in (name, name.removeprefix('../'))]
        place = next((item for item in candidates if os.path.exists(item)), None)
        if place is None:
            searched = list_names(dict.fromkeys(map(str, candidates)))
            raise DatasetError(
                f'{path}: {split} is {shown(name)}, and there is no such folder or file: expected '
                f'{searched}; --images sets the folder'
            )
        place = Path(os.path.normpath(place))
        if place.is_dir():
            # As Ultralytics: without hidden files, but with the content of linked folders.
            listed = glob.iglob(f'{glob.escape(str(place))}/**/*', recursive=True)
            found = sorted(
                file for file in map(Path, listed) if file.suffix.lower() in IMAGE_SUFFIXES
            )
            if not found:
                raise DatasetError(f'{path}: {split}: the folder {place} has no images')
            files += found
        else:
            for number, line in enumerate(read_text(place, 'image list').splitlines(), 1):
                name = line.strip()
                if name:
                    # Datumaro, which CVAT exports with, can add `data/`.
                    found = [place.parent / part for part in (name, name.removeprefix('data/'))]
                    file = next((item for item in found if os.path.isfile(item)), None)
                    if file is None:
                        raise DatasetError(
                            f'{place}:{number}: the image {shown(name)} does not exist'
                        )
                    files.append(file)
    return files


def _label_file(image: Path) -> Path:
    """Return the label file: the last `images` in the path is replaced by `labels`."""
    parts = list(image.parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == _IMAGES:
            parts[index] = _LABELS
            break
    return Path(*parts).with_suffix('.txt')


def _read_labels(
    path: Path, image: Path, classes: dict[int, str], count: int, values: int
) -> tuple[list[LabelledObject], int]:
    """Return the objects of a label file, and the number of repeated lines."""
    width, height = image_size(image)
    objects: dict[str, LabelledObject] = {}
    repeated = 0
    for number, line in enumerate(read_text(path, 'label file').splitlines(), 1):
        words, where = line.split(), f'{path}:{number}'
        if not words:
            continue
        if ' '.join(words) in objects:
            repeated += 1
            continue
        expected = 5 + count * values
        if len(words) != expected:
            raise DatasetError(
                f'{where}: {len(words)} values: expected {expected}, the class, 4 of the box, and '
                f'{values} for each of {count} keypoints (kpt_shape)'
            )
        number_of_class = finite(words[0], where, 'the class')
        if number_of_class not in classes:
            raise DatasetError(
                f'{where}: the class is {shown(words[0])}: expected one of '
                f'{list_names(map(str, classes))}, as in the names of the .yaml file'
            )
        box = [_relative(word, where, 'a value of the box') for word in words[1:5]]
        points = [
            _point(words[start : start + values], where, width, height)
            for start in range(5, expected, values)
        ]
        x, y, w, h = box
        if min(w, h) <= 0:
            raise DatasetError(
                f'{where}: the box has the size {w:g} x {h:g}: expected positive numbers'
            )
        objects[' '.join(words)] = LabelledObject(
            points,
            where,
            classes[int(number_of_class)],
            ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height),
        )
    return list(objects.values()), repeated


def _relative(word: str, where: str, what: str) -> float:
    """Return a number that is relative to the size of the image."""
    value = finite(word, where, what)
    if not -OUTSIDE <= value <= 1 + OUTSIDE:
        raise DatasetError(
            f'{where}: {what} is {word}: expected a number from 0 to 1, relative to the size of '
            'the image'
        )
    return value


def _point(words: list[str], where: str, width: int, height: int) -> Point:
    """Return a keypoint in pixels."""
    x, y = (finite(word, where, 'a coordinate') for word in words[:2])
    visibility = VISIBLE if min(x, y) >= 0 and (x, y) != (0, 0) else NOT_LABELLED
    if len(words) == 3:
        flag = finite(words[2], where, 'a visibility')
        if flag not in (0, 1, 2):
            raise DatasetError(
                f'{where}: the visibility is {words[2]}: expected 0 (not labelled), 1 (occluded) '
                'or 2 (visible)'
            )
        visibility = int(flag)
    if not visibility:
        return MISSING
    x, y = (_relative(word, where, 'a coordinate') for word in words[:2])
    return x * width, y * height, visibility
