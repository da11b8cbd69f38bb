"""Labelled images of an annotation tool, before they are written in COCO's format."""

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from ...errors import DatasetError, list_names, shown
from ...utils.files import read_text

#: name of a split in the tools → name in the output
SPLITS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'test': 'test',
    'testing': 'test',
}
#: how far a labelled keypoint may be outside of its image, relative to the sides of the image
OUTSIDE = 0.01
#: COCO's visibility of keypoints
NOT_LABELLED, OCCLUDED, VISIBLE = 0, 1, 2
MISSING = (0.0, 0.0, NOT_LABELLED)
_LARGEST = 1e9  # larger values are no coordinates
_MOST_VALUES = 1_000_000  # in a file in YAML

Point = tuple[float, float, int]


@dataclass
class LabelledObject:
    """An instance.

    Args:
        points: x, y in pixels and COCO's visibility of each keypoint.
        where: File and line or entry, for messages.
        category: Name of the category.
        box: x, y, width and height in pixels; None if the format has none.
        area: In square pixels; None if the format has none.
        crowd: Whether it is a group of objects, which COCO calls `iscrowd`.
    """

    points: list[Point]
    where: str
    category: str = 'object'
    box: tuple[float, float, float, float] | None = None
    area: float | None = None
    crowd: bool = False


@dataclass
class LabelledImage:
    """An image and its instances.

    Args:
        objects: The instances.
        where: File and line or entry, for messages.
        file: The image file; None for a frame of a video.
        read: Function that returns the pixels of a frame, (H, W, 3), uint8, BGR.
        name: Name of the file to write for a frame, without a suffix.
        size: Width and height that the annotations state; None if they state none.
        split: `'train'`, `'val'`, `'test'`; None if the format has none.
    """

    objects: list[LabelledObject]
    where: str
    file: Path | None = None
    read: Callable[[], np.ndarray] | None = None
    name: str = ''
    size: tuple[int, int] | None = None
    split: str | None = None


@dataclass
class LabelledDataset:
    """The content of an export of an annotation tool.

    Args:
        names: Names of the K keypoints.
        images: The images.
        skeleton: Limbs, pairs of indices of keypoints, from 0.
        categories: Names of the categories.
        pairs: Name of a keypoint → the one that it is exchanged with in a mirrored image; None:
            they are recognized by their names.
        notes: What was left out or assumed, for the user.
    """

    names: tuple[str, ...]
    images: list[LabelledImage]
    skeleton: list[tuple[int, int]] = field(default_factory=list)
    categories: list[str] = field(default_factory=lambda: ['object'])
    pairs: dict[str, str] | None = None
    notes: list[str] = field(default_factory=list)


def finite(value: object, where: str, what: str) -> float:
    """Return a number of a file.

    Args:
        value: The number, or its text.
        where: File and line or entry, for the message.
        what: What it is, for the message.

    Raises:
        DatasetError: If it is not a finite number.
    """
    number: object = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        number = math.nan
    if not abs(number) <= _LARGEST:
        raise DatasetError(f'{where}: {what} is {shown(value)}: expected a finite number')
    return float(number)


def check_names(names: Iterable[object], where: str) -> tuple[str, ...]:
    """Return the names of keypoints.

    Raises:
        DatasetError: If there are none, or they are not different texts.
    """
    listed = list(names)
    if not listed:
        raise DatasetError(f'{where}: there are no keypoints: expected at least one name')
    for number, name in enumerate(listed):
        if not isinstance(name, str) or not name.strip():
            raise DatasetError(f'{where}: the name {shown(name)} of a keypoint: expected a text')
        if name in listed[:number]:
            raise DatasetError(f'{where}: two keypoints are called {shown(name)}')
    return tuple(str(name) for name in listed)


def choose_names(found: Sequence[str], given: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """Return the names of the keypoints in the order that the user gives.

    Args:
        found: Names in the export.
        given: Names of `--keypoints`, which may contain others; None: those of the export.
        where: File, for the message.

    Raises:
        DatasetError: If a name of the export was not given.
    """
    if given is None:
        return check_names(found, where)
    unknown = [name for name in found if name not in given]
    if unknown:
        raise DatasetError(
            f'{where}: the label {shown(unknown[0])} is not in --keypoints: expected one of '
            f'{list_names(given)}'
        )
    return check_names(given, '--keypoints')


def replace_names(
    found: Iterable[object], given: Sequence[str] | None, where: str
) -> tuple[str, ...]:
    """Return the names of the keypoints, which the user can replace in the order of the export.

    Args:
        found: Names in the export.
        given: Names of `--keypoints`; None: those of the export.
        where: File, for the message.

    Raises:
        DatasetError: If the names are not valid, or their number is another one.
    """
    names = check_names(found, where)
    if given is None:
        return names
    if len(given) != len(names):
        raise DatasetError(
            f'--keypoints has {len(given)} names: expected {len(names)}, for {list_names(names)} '
            f'of {where}'
        )
    return check_names(given, '--keypoints')


def split_name(name: str | None) -> str | None:
    """Return the split that the name of a file or subset contains, such as `mice.val.slp`."""
    words = [SPLITS.get(word) for word in re.split(r'[^a-z]+', (name or '').lower())]
    return next((word for word in reversed(words) if word), None)


def find_image(name: str, folders: Iterable[Path], where: str) -> Path:
    """Find the file of an image.

    Args:
        name: Path in the export. If there is no such file in the folders, its last components are
            looked for.
        folders: Folders that may contain it, the most probable first.
        where: File and line or entry, for the message.

    Raises:
        DatasetError: If there is no such file.
    """
    parts = [part for part in re.split(r'[\\/]+', name) if part not in ('', '.')]
    usable = bool(parts) and '\0' not in name
    searched = list(dict.fromkeys(folders))
    for start in range(len(parts) if usable else 0):
        for folder in searched:
            path = folder.joinpath(*parts[start:])
            if '..' not in parts[start:] and os.path.isfile(path):
                return path
    raise DatasetError(
        f'{where}: the image {shown(name)} does not exist in {list_names(map(str, searched))}: '
        'expected its file there, or its folder with --images'
    )


def read_yaml(path: Path) -> dict:
    """Return the content of a file in YAML.

    Raises:
        DatasetError: If it is not a mapping in YAML.
    """
    text = read_text(path, 'dataset description')
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and _count_values(root, {}) > _MOST_VALUES:
            raise ValueError(f'its aliases stand for more than {_MOST_VALUES:,} values')
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatasetError(f'{path} is not YAML: {" ".join(str(error).split())}') from error
    if not isinstance(content, dict):
        raise DatasetError(f'{path} contains {shown(content)}: expected a mapping')
    return content


def _count_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values of a node: nested aliases can stand for 10^10 in ten lines."""
    if id(node) not in known:
        known[id(node)] = 1
        children = node.value if isinstance(node.value, list) else []
        known[id(node)] += sum(
            _count_values(part, known)
            for child in children
            for part in (child if isinstance(child, tuple) else (child,))
        )
    return known[id(node)]


def combine(datasets: Sequence[LabelledDataset], paths: Sequence[Path]) -> LabelledDataset:
    """Combine the content of several files of an export.

    Args:
        datasets: The contents.
        paths: The files.

    Raises:
        DatasetError: If they have different keypoints or flip pairs.
    """
    first = datasets[0]
    pairs = next((dataset.pairs for dataset in datasets if dataset.pairs is not None), None)
    for other, path in zip(datasets[1:], paths[1:]):
        if other.pairs not in (None, pairs):
            raise DatasetError(
                f'{path} has other flip pairs than a file before it: expected the same'
            )
        if other.names != first.names:
            raise DatasetError(
                f'{path} has the keypoints {list_names(other.names)}: expected those of '
                f'{paths[0]}, in its order: {list_names(first.names)}'
            )
    categories = [name for dataset in datasets for name in dataset.categories]
    return LabelledDataset(
        first.names,
        [image for dataset in datasets for image in dataset.images],
        first.skeleton,
        list(dict.fromkeys(categories)),
        pairs,
        [note for dataset in datasets for note in dataset.notes],
    )
