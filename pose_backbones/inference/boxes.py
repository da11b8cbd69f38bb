"""Boxes of people: a user's, a detector's, or the whole picture."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from mmengine.logging import print_log

from ..errors import DatasetError, closest
from ..utils.arguments import check_number
from .box_file import BoxFile
from .inputs import Frame, Inputs

FORMATS = ('xyxy', 'xywh')
WHOLE_IMAGE = 'whole-image'


@dataclass(frozen=True)
class Boxes:
    """The people of a picture.

    Attributes:
        corners: (n, 4), float32: left, top, right, bottom in pixels.
        scores: (n,), float32.
        image_id: Of the user's file, where it has one.
    """

    corners: np.ndarray
    scores: np.ndarray
    image_id: int | str | None = None


#: Boxes of one image: (n, 4), or (n, 5) with scores; None for no boxes.
BoxArray: TypeAlias = npt.ArrayLike | None


class Detector(Protocol):
    """A function that finds the bounding boxes of persons in an image.

    `PersonDetector` is one, and so is any function of this signature.
    """

    def __call__(self, image: np.ndarray, /) -> BoxArray:
        """Find persons.

        Args:
            image: (H, W, 3), uint8, BGR.

        Returns:
            Left, top, right, bottom in pixels, (n, 4); with scores, (n, 5); None for no box.
        """
        ...


#: What says where the persons are, see `find_box_source`: `'whole-image'` or the path of a COCO
#: file, a detector, boxes by path, name or image ID, or boxes for each image in turn.
BoxesLike: TypeAlias = (
    str
    | PathLike[str]
    | Detector
    | Mapping[Any, BoxArray]
    | np.ndarray
    | Sequence[BoxArray]
    | Iterator[BoxArray]
)

#: Gives the boxes of a frame.
BoxSource = Callable[[Frame], Boxes]


def find_box_source(
    boxes: BoxesLike, inputs: Inputs, box_format: str = 'xyxy', min_score: float = 0.0
) -> BoxSource:
    """Make what a user gave as boxes a function of the frame.

    Boxes that have no pixel of the picture, or a NaN, are left out, and
    logged.

    Args:
        boxes: `'whole-image'`; a COCO file of detections or annotations; a
            function from an image (H, W, 3), BGR, to boxes; a mapping from
            paths, names of files or image ids to boxes; an array of the only
            image's boxes; or a sequence or an iterator of arrays, one for
            each image in turn. Boxes are (n, 4), or (n, 5) with a score.
        inputs: What they are for.
        box_format: `'xyxy'` (left, top, right, bottom) or `'xywh'`; COCO's
            files have their own.
        min_score: Boxes of a lower score are left out.

    Returns:
        The function.

    Raises:
        ValueError, TypeError: For another format or kind of boxes.
        DatasetError: If a file is not of COCO's kind, or nothing is of the
            images.
    """
    if box_format not in FORMATS:
        raise ValueError(
            f'box_format is {box_format!r}: expected {" or ".join(map(repr, FORMATS))}'
        )
    check_number('min_score', min_score)
    if isinstance(boxes, str) and boxes == WHOLE_IMAGE:
        source: BoxSource = _whole_image
    elif isinstance(boxes, (str, PathLike)):
        source = _of_file(BoxFile(fspath(boxes)), inputs)
    elif callable(boxes):
        source = _of_detector(boxes, box_format)
    elif isinstance(boxes, Mapping):
        source = _of_mapping(boxes, inputs, box_format)
    elif isinstance(boxes, (Sequence, np.ndarray, Iterator)):
        source = _of_sequence(boxes, inputs, box_format)
    else:
        raise TypeError(
            f'boxes is a {type(boxes).__name__}: expected '
            f'{WHOLE_IMAGE!r}, a COCO file, a function of an image, a '
            'mapping, or arrays'
        )
    return lambda frame: _usable(source(frame), frame, min_score)


def _whole_image(frame: Frame) -> Boxes:
    height, width = frame.image.shape[:2]
    return Boxes(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))


def _of_detector(detector: Detector, box_format: str) -> BoxSource:
    return lambda frame: _parse(detector(frame.image), box_format, frame.name)


def _usable(found: Boxes, frame: Frame, min_score: float) -> Boxes:
    """Leave out what has no pixel of the picture, and say so."""
    height, width = frame.image.shape[:2]
    x0, y0, x1, y1 = found.corners.T
    usable = (
        np.isfinite(found.corners).all(1)
        & np.isfinite(found.scores)
        & ((x1 > x0) & (y1 > y0) & (x1 > 0) & (y1 > 0) & (x0 < width) & (y0 < height))
    )
    for corners in found.corners[~usable]:
        shown = ', '.join(f'{value:g}' for value in corners)
        print_log(
            f'{frame.name}: the box {shown} (left, top, right, bottom) is '
            f'left out: it is empty, not of numbers, or outside the picture '
            f'of {width} x {height} pixels',
            'current',
            logging.WARNING,
        )
    kept = usable & (found.scores >= min_score)
    return Boxes(found.corners[kept], found.scores[kept], found.image_id)


def _parse(values: BoxArray, box_format: str, name: str) -> Boxes:
    """Boxes (n, 4) or (n, 5) as `Boxes`."""
    if values is None:
        values = np.zeros((0, 4))
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f'the boxes of {name} are {values!r}: expected numbers, (n, 4) or, with a score, (n, 5)'
        ) from error
    if not array.size:
        array = array.reshape(0, 4)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ValueError(
            f'the boxes of {name} have the shape {array.shape}: expected '
            '(n, 4) or, with a score, (n, 5)'
        )
    corners = array[:, :4].copy()
    if box_format == 'xywh':
        corners[:, 2:] += corners[:, :2]
    scores = array[:, 4] if array.shape[1] == 5 else np.ones(len(array))
    with np.errstate(over='ignore'):  # infinite then, and left out
        return Boxes(corners.astype(np.float32), scores.astype(np.float32))


def _of_sequence(boxes: Any, inputs: Inputs, box_format: str) -> BoxSource:
    """One entry for each image; of an only image, its boxes."""
    count = inputs.count
    if isinstance(boxes, np.ndarray):
        is_one = boxes.ndim != 3
    else:
        is_one = (
            count == 1
            and isinstance(boxes, Sequence)
            and (
                not boxes
                or isinstance(boxes[0], (int, float))
                or (np.ndim(boxes[0]) == 1 and np.size(boxes[0]) in (4, 5))
            )
        )
    if is_one and count != 1:
        raise ValueError(
            f'boxes has the shape {np.shape(boxes)}: expected a list of such '
            'arrays, one for each image'
        )
    if is_one:
        boxes = [boxes]
    elif count is not None and not isinstance(boxes, Iterator) and (len(boxes) != count):
        raise ValueError(f'boxes has {len(boxes)} entries for {count} images: expected as many')
    entries = iter(boxes)
    taken = 0

    def source(frame: Frame) -> Boxes:
        nonlocal taken
        entry = None
        while taken <= frame.index:  # of images that cannot be read as well
            try:
                entry = next(entries)
            except StopIteration:
                raise ValueError(
                    f'there are no boxes for {frame.name}: expected an entry '
                    f'for each image, found {taken}'
                ) from None
            taken += 1
        return _parse(entry, box_format, frame.name)

    return source


def _of_mapping(boxes: Mapping, inputs: Inputs, box_format: str) -> BoxSource:
    def find(name: str, number: int | str, is_file: bool) -> Any:
        keys: list[Any] = [name, number]
        if is_file:
            keys += [Path(name), Path(name).name]
        return next((key for key in keys if key in boxes), None)

    _check_files(find, inputs, 'boxes', [str(key) for key in boxes])

    def source(frame: Frame) -> Boxes:
        key = find(frame.name, frame.image_id, frame.is_file)
        return _parse(boxes[key] if key is not None else None, box_format, frame.name)

    return source


def _of_file(file: BoxFile, inputs: Inputs) -> BoxSource:
    _check_files(file.find, inputs, file.path, file.names)

    def source(frame: Frame) -> Boxes:
        image_id = file.find(frame.name, frame.image_id, frame.is_file)
        found = _parse(file.boxes(image_id), 'xywh', f'image {image_id} in {file.path}')
        return Boxes(found.corners, found.scores, image_id)

    return source


def _check_files(find: Callable, inputs: Inputs, what: str, names: list[str]) -> None:
    """Refuse boxes that are of none of the files, or of two the same.

    Args:
        find: From path, number and True to what names boxes, or None.
        inputs: Nothing is checked if they are not all image files.
        what: Has the boxes.
        names: Of what it has.
    """
    paths = inputs.files or []
    numbers = inputs.ids or range(1, len(paths) + 1)
    owners: dict[Any, str] = {}
    missing = []
    for path, number in zip(paths, numbers):
        key = find(path, number, True)
        if key is None:
            missing.append(path)
        elif owners.setdefault(key, path) != path:
            raise DatasetError(
                f'{what} has the same boxes for {owners[key]} and {path}: '
                'expected names with their folders, or images of one folder'
            )
    if missing and not owners:
        raise DatasetError(
            f'{what} has boxes of {len(names)} images, but of none of the '
            f'{len(paths)} given, such as {paths[0]}'
            f'{closest(Path(paths[0]).name, names)}; images are found by '
            'file_name, or by names that are their ids'
        )
    if missing:
        print_log(
            f'{what} has no boxes of {len(missing)} of the {len(paths)} '
            f'images, such as {missing[0]}',
            'current',
            logging.INFO,
        )
