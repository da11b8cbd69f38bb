"""Read person bounding boxes from a file, arrays or a detector, or use the whole image."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from mmengine.logging import print_log

from ..errors import DatasetError, ImageError, closest, first_line
from ..structures.coco_checker import SAMPLE, evenly
from ..utils.arguments import check_number
from ..utils.images import image_size
from .box_file import BoxFile
from .inputs import Frame, Inputs

FORMATS = ('xyxy', 'xywh')
WHOLE_IMAGE = 'whole-image'


@dataclass(frozen=True)
class Boxes:
    """The bounding boxes of the people in an image.

    Attributes:
        corners: (n, 4), float32: left, top, right, bottom in pixels.
        scores: (n,), float32.
        image_id: ID of the image in the COCO file, if the boxes are from a file.
    """

    corners: np.ndarray
    scores: np.ndarray
    image_id: int | str | None = None


#: Boxes of one image: (n, 4), or (n, 5) with scores. None: no boxes.
BoxArray: TypeAlias = npt.ArrayLike | None


class Detector(Protocol):
    """A function that finds the bounding boxes of people in an image.

    `PersonDetector` implements it. Any function with this signature can be used.
    """

    def __call__(self, image: np.ndarray, /) -> BoxArray:
        """Detect people.

        Args:
            image: (H, W, 3), uint8, BGR.

        Returns:
            (n, 4): left, top, right, bottom in pixels; or (n, 5) with scores. None: no boxes.
        """
        ...


#: Person boxes of the inputs, see `find_box_source`: `'whole-image'` or the path of a COCO file,
#: a detector, boxes by path, name or image ID, or the boxes of each image in turn.
BoxesLike: TypeAlias = (
    str
    | PathLike[str]
    | BoxFile
    | Detector
    | Mapping[Any, BoxArray]
    | np.ndarray
    | Sequence[BoxArray]
    | Iterator[BoxArray]
)


@runtime_checkable
class BatchDetector(Detector, Protocol):
    """A detector that finds the people of several images at once.

    `PersonDetector` and `TorchvisionDetector` implement it.

    Attributes:
        batch_size: Maximum number of images of a call.
    """

    batch_size: int

    def detect_batch(self, images: Sequence[np.ndarray], /) -> Sequence[BoxArray | ImageError]:
        """Detect the people in several images, as one call for each image does.

        Args:
            images: See `Detector`. The sizes may differ.

        Returns:
            The boxes of each image, or the error if it cannot be processed.
        """
        ...


class BoxSource:
    """Person boxes of frames.

    Args:
        find: Function that returns the boxes of a frame.
        min_score: Boxes with a lower score are skipped.
        detector: The detector, if the boxes are those of a `BatchDetector`.
        box_format: Format of the boxes of the detector.

    Attributes:
        batch_size: Maximum number of frames for `find_batch`.
    """

    def __init__(
        self,
        find: Callable[[Frame], Boxes],
        min_score: float = 0.0,
        detector: BatchDetector | None = None,
        box_format: str = 'xyxy',
    ) -> None:
        self._find, self._min_score = find, min_score
        self._detector, self._format = detector, box_format
        self.batch_size = 1 if detector is None else detector.batch_size

    def __call__(self, frame: Frame) -> Boxes:
        """Return the boxes of a frame."""
        return _usable(self._find(frame), frame, self._min_score)

    def find_batch(self, frames: Sequence[Frame]) -> Sequence[Boxes | ImageError | None]:
        """Detect the people in several frames at once.

        Returns:
            The boxes of each frame; the error, if the detector cannot process it; or None, if the
            boxes are to be found one frame at a time. This is the case if there is only one frame,
            and after an error that does not belong to a single frame, such as a lack of memory.
        """
        if self._detector is None or len(frames) < 2:
            return [None] * len(frames)
        try:
            found = self._detector.detect_batch([frame.image for frame in frames])
            return [
                boxes
                if isinstance(boxes, ImageError)
                else _usable(_parse(boxes, self._format, frame.name), frame, self._min_score)
                for frame, boxes in zip(frames, found, strict=True)
            ]
        except Exception as error:  # of any type: the frame at fault raises it again
            print_log(
                f'the detector runs on one image at a time, since it failed on {len(frames)} '
                f'images: {first_line(error)}',
                'current',
                logging.WARNING,
            )
            return [None] * len(frames)


def find_box_source(
    boxes: BoxesLike, inputs: Inputs, box_format: str = 'xyxy', min_score: float = 0.0
) -> BoxSource:
    """Return the source of the person boxes of each frame.

    Boxes without any pixel inside the image and boxes with NaN or infinite values are skipped
    with a warning. The other boxes are used as they are, also beyond the border of the image; only
    those of COCO annotations are clipped at the border, as in MMPose's datasets.

    Args:
        boxes: `'whole-image'`; the path of a COCO file of detections or annotations, or a
            `BoxFile`; a function from an image (H, W, 3), BGR, to boxes; a mapping from paths,
            file names or image IDs to boxes; the boxes array of a single image; or a sequence or
            iterator of arrays, one for each image. Arrays have the shape (n, 4), or (n, 5) with
            scores.
        inputs: The images that the boxes belong to.
        box_format: Format of arrays: `'xyxy'` (left, top, right, bottom) or `'xywh'`. Ignored
            for COCO files.
        min_score: Boxes with a lower score are skipped.

    Returns:
        The boxes of each frame.

    Raises:
        ValueError: If `box_format` or the shape of an array is invalid.
        TypeError: If `boxes` has an unsupported type.
        DatasetError: If a file is not in COCO's format, no box belongs to any of the inputs, or
            most of the boxes do not fit the images.
    """
    if box_format not in FORMATS:
        raise ValueError(
            f'box_format is {box_format!r}: expected {" or ".join(map(repr, FORMATS))}'
        )
    check_number('min_score', min_score)
    if isinstance(boxes, str) and boxes == WHOLE_IMAGE:
        source: Callable[[Frame], Boxes] = _whole_image
    elif isinstance(boxes, (str, PathLike, BoxFile)):
        file = boxes if isinstance(boxes, BoxFile) else BoxFile(fspath(boxes))
        if file.left_out:
            print_log(
                f'{file.path}: {file.left_out} boxes of other categories are left out',
                'current',
                logging.WARNING,
            )
        source = _of_file(file, inputs, min_score)
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
    batched = boxes if isinstance(boxes, BatchDetector) else None
    return BoxSource(source, min_score, batched, box_format)


def _whole_image(frame: Frame) -> Boxes:
    height, width = frame.image.shape[:2]
    return Boxes(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))


def _of_detector(detector: Detector, box_format: str) -> Callable[[Frame], Boxes]:
    return lambda frame: _parse(detector(frame.image), box_format, frame.name)


def _usable(boxes: Boxes, frame: Frame, min_score: float) -> Boxes:
    """Skip boxes below `min_score`, and, with a warning, boxes without pixels in the image."""
    height, width = frame.image.shape[:2]
    x0, y0, x1, y1 = boxes.corners.T
    usable = (
        np.isfinite(boxes.corners).all(1)
        & np.isfinite(boxes.scores)
        & ((x1 > x0) & (y1 > y0) & (x1 > 0) & (y1 > 0) & (x0 < width) & (y0 < height))
    )
    for corners in boxes.corners[~usable]:
        values = ', '.join(f'{value:g}' for value in corners)
        print_log(
            f'{frame.name}: skipped the box {values} (left, top, right, bottom): it is empty, not '
            f'finite, or outside the image of {width} x {height} pixels',
            'current',
            logging.WARNING,
        )
    kept = usable & (boxes.scores >= min_score)
    return Boxes(boxes.corners[kept], boxes.scores[kept], boxes.image_id)


def _parse(values: BoxArray, box_format: str, name: str) -> Boxes:
    """Convert an array (n, 4) or (n, 5) to `Boxes`."""
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
    with np.errstate(over='ignore'):  # values that overflow become infinite; `_usable` skips them
        return Boxes(corners.astype(np.float32), scores.astype(np.float32))


def _of_sequence(boxes: Any, inputs: Inputs, box_format: str) -> Callable[[Frame], Boxes]:
    """Take one array for each image; for a single image, `boxes` may be its array itself."""
    count = inputs.count
    if isinstance(boxes, np.ndarray):
        is_single = boxes.ndim != 3
    else:
        is_single = (
            count == 1
            and isinstance(boxes, Sequence)
            and (
                not boxes
                or isinstance(boxes[0], (int, float))
                or (np.ndim(boxes[0]) == 1 and np.size(boxes[0]) in (4, 5))
            )
        )
    if is_single and count != 1:
        raise ValueError(
            f'boxes has the shape {np.shape(boxes)}: expected a list of such '
            'arrays, one for each image'
        )
    if is_single:
        boxes = [boxes]
    elif count is not None and not isinstance(boxes, Iterator) and (len(boxes) != count):
        raise ValueError(
            f'boxes has {len(boxes)} entries for {count} images: expected one for each image'
        )
    entries = iter(boxes)
    taken = 0

    def source(frame: Frame) -> Boxes:
        nonlocal taken
        entry = None
        while taken <= frame.index:  # images that cannot be read have entries as well
            try:
                entry = next(entries)
            except StopIteration:
                raise ValueError(
                    f'there are no boxes for {frame.name}: expected an entry '
                    f'for each image, got {taken}'
                ) from None
            taken += 1
        return _parse(entry, box_format, frame.name)

    return source


def _of_mapping(boxes: Mapping, inputs: Inputs, box_format: str) -> Callable[[Frame], Boxes]:
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


def _of_file(file: BoxFile, inputs: Inputs, min_score: float) -> Callable[[Frame], Boxes]:
    _check_files(file.find, inputs, file.path, file.names)
    if not file.is_checked:
        file.check_format(_sizes(file, inputs), min_score)

    def source(frame: Frame) -> Boxes:
        image_id = file.find(frame.name, frame.image_id, frame.is_file)
        height, width = frame.image.shape[:2]
        boxes = file.boxes(image_id, width, height)
        return Boxes(boxes[:, :4], boxes[:, 4], image_id)

    return source


def _sizes(file: BoxFile, inputs: Inputs) -> dict[int | str, tuple[int, int]]:
    """Return the sizes of some image files by their IDs in the file of boxes."""
    paths = inputs.files or []
    numbers = inputs.ids or range(1, len(paths) + 1)
    sizes = {}
    for index in evenly(len(paths), SAMPLE):
        image_id = file.find(paths[index], numbers[index], True)
        if image_id is not None and os.path.isfile(paths[index]):
            with suppress(DatasetError):  # raised again when the image is read
                sizes[image_id] = image_size(paths[index])
    return sizes


def _check_files(find: Callable, inputs: Inputs, source: str, names: list[str]) -> None:
    """Check that boxes belong to at least one of the image files, and to no two of them.

    Args:
        find: Function from a path, the image ID and True to the key of the boxes, or None.
        inputs: The images. Nothing is checked unless all are image files.
        source: Name of the boxes for messages.
        names: Image names that the boxes are listed under.

    Raises:
        DatasetError: If two files match the same boxes, or no file matches any.
    """
    paths = inputs.files or []
    numbers = inputs.ids or range(1, len(paths) + 1)
    path_of_key: dict[Any, str] = {}
    missing = []
    for path, number in zip(paths, numbers):
        key = find(path, number, True)
        if key is None:
            missing.append(path)
        elif path_of_key.setdefault(key, path) != path:
            raise DatasetError(
                f'{source} has the same boxes for {path_of_key[key]} and {path}: '
                'expected file names with directories, or images of one directory'
            )
    if missing and not path_of_key:
        raise DatasetError(
            f'{source} has boxes of {len(names)} images, but of none of the '
            f'{len(paths)} inputs, such as {paths[0]}'
            f'{closest(Path(paths[0]).name, names)}; images are matched by '
            'file_name, or by the image ID in the file name'
        )
    if missing:
        print_log(
            f'{source} has no boxes for {len(missing)} of the {len(paths)} '
            f'images, such as {missing[0]}',
            'current',
            logging.INFO,
        )
