"""Resolve inputs (paths, URLs, arrays, videos, cameras) to images, and read them one at a time.

File names are sorted by a small local function: natsort would be another dependency, and its
locale and number options are not needed here.
"""

import os
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from glob import glob, has_magic
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeGuard

import numpy as np
from mmengine import fileio
from PIL import Image

from ..errors import DatasetError
from ..utils.arguments import check_flag
from ..utils.files import is_url
from ..utils.images import IMAGE_SUFFIXES, UNNAMED, decode_image, describe_source, read_image
from .video_reader import VIDEO_SUFFIXES, import_av, is_live, is_video, read_video

_SINGLE = (int, np.ndarray, Image.Image, bytes, bytearray, memoryview)

#: One input: a path, URL, directory or glob pattern; an array; a PIL image; the bytes of a file or
#: a binary stream; a camera number.
ImageSource: TypeAlias = (
    str | PathLike[str] | np.ndarray | Image.Image | bytes | bytearray | memoryview | BinaryIO | int
)


@dataclass(frozen=True)
class Frame:
    """An image to estimate poses in.

    Attributes:
        index: Index of the image among all inputs, from 0. Images that cannot be read count.
        name: Path or description of the image.
        part: Index of the file, array or camera in `Inputs.parts`.
        image: (H, W, 3), uint8, BGR.
        image_id: Image ID, see `Inputs`.
        path: Path of the file, if it is from a file.
        frame: Index of the frame in a video, from 0.
        time: Seconds from the start of the video.
        live: Whether it is from a camera or a stream, and is to be processed without delay.
    """

    index: int
    name: str
    part: int
    image: np.ndarray = field(repr=False)
    image_id: int | str
    path: str | None = None
    frame: int | None = None
    time: float | None = None
    live: bool = False

    @property
    def is_file(self) -> bool:
        """Whether the image is from an image file, not from a video."""
        return self.path is not None and self.frame is None


@dataclass(frozen=True)
class Failure:
    """An input that could not be read or processed.

    Attributes:
        index: See `Frame`.
        name: See `Frame`.
        part: See `Frame`.
        error: The exception.
        in_video: Whether it is a video, the rest of a video, or a frame of one.
    """

    index: int
    name: str
    part: int
    error: Exception
    in_video: bool = False


class Inputs:
    """The images of an input, read one at a time.

    The files of a directory or pattern are sorted in natural order (`2.jpg` before `10.jpg`). As
    in COCO, the image IDs are the numbers in the file names, if all inputs are image files whose
    names are different numbers. Otherwise, images are numbered from 1.

    Args:
        inputs: A path, URL, directory or glob pattern (`'shots/**/*.jpg'`); an array (H, W, 3), or
            (N, H, W, 3) for N images; a `PIL.Image`; bytes or a binary stream; a video file or its
            URL, the URL of a stream (`'rtsp://…'`), or a camera number; or an iterable of these.
            Iterators may be endless: items are taken only when they are needed. See `read_image`
            for the supported arrays and files.
        rgb: Whether the channels of arrays are RGB. Default: BGR.

    Attributes:
        parts: Images, videos and cameras. None if they are taken from an iterator.
        ids: Image IDs, if they are the numbers in the file names; otherwise None.

    Raises:
        ConfigError: If an input is a video and PyAV is not installed.
        DatasetError: If a directory or pattern contains no images or videos, or none of the files
            exists. If only some of several files are missing, or an item of an iterator is
            invalid, iteration yields a `Failure` for each instead.
        TypeError: If an input has an unsupported type.
    """

    def __init__(self, inputs: ImageSource | Iterable[ImageSource], rgb: bool = False) -> None:
        check_flag('rgb', rgb)
        self.rgb = rgb
        self._iterable: Iterable[ImageSource] = ()
        self.parts: list | None = None
        self.ids: list[int] | None = None
        if _is_iterable(inputs):
            self._iterable = inputs
        else:
            several = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            self.parts = [part for source in several for part in _expand(source)]
            _check_any_exists(self.parts)
            for part in self.parts:
                _check_reader(part)
            self.ids = _ids_from_names(self.parts)

    @property
    def may_prefetch(self) -> bool:
        """Whether a thread may read ahead: not for iterators of the user and live sources."""
        return self.parts is not None and not any(map(is_live, self.parts))

    @property
    def files(self) -> list[str] | None:
        """Paths of the inputs if all are image files; otherwise None."""
        parts = self.parts
        if parts is None or self.count is None or not all(isinstance(part, str) for part in parts):
            return None
        return parts

    @property
    def count(self) -> int | None:
        """Number of images; None if there are videos or the inputs are an iterator."""
        if self.parts is None or any(map(is_video, self.parts)):
            return None
        return len(self.parts)

    def announced_count(self) -> int | None:
        """Return the number of images and video frames, if it is known.

        Videos are opened to read the number of frames from the header.

        Returns:
            The number; None for iterators, live sources, URLs of videos, and videos that do not
            state their length.
        """
        if self.parts is None or any(
            is_video(part) and (is_live(part) or is_url(part)) for part in self.parts
        ):
            return None
        total = 0
        for part in self.parts:
            frames = _announced(part) if is_video(part) else 1
            if frames is None:
                return None
            total += frames
        return total

    def __iter__(self) -> Iterator[Frame | Failure]:
        """Read the images one at a time."""
        return self.iterate_from()

    def iterate_from(self, part: int = 0, index: int = 0) -> Generator[Frame | Failure, None, None]:
        """Read the images from a given position on.

        Args:
            part: Index of the first part to read.
            index: Index of its first image.

        Yields:
            Images, and inputs that could not be read.
        """
        for number, source in enumerate(islice(self._each(), part, None), part):
            if is_video(source):
                for item in _frames(source, number, index):
                    yield item
                    index += 1
            else:
                yield self._read_image(source, number, index)
                index += 1

    def _each(self) -> Iterator:
        """Yield images, videos and cameras, and exceptions for invalid items of an iterator."""
        if self.parts is not None:
            yield from self.parts
            return
        for source in self._iterable:
            try:
                parts = _expand(source)
            except (DatasetError, TypeError) as error:
                parts = [error]
            yield from parts

    def _read_image(self, source: Any, part: int, index: int) -> Frame | Failure:
        name = input_name(source, index)
        try:
            image = _read(source, self.rgb)
        except Exception as error:  # decoders raise exceptions of any type
            return Failure(index, name, part, error)
        return Frame(
            index,
            name,
            part,
            image,
            index + 1 if self.ids is None else self.ids[index],
            source if isinstance(source, str) else None,
        )


def _frames(source: str | int, part: int, start: int) -> Iterator[Frame | Failure]:
    """Yield the frames of a video or camera, then a failure if it stopped with an error."""
    _check_reader(source)
    live = is_live(source)
    name = input_name(source, start)
    index = start
    try:
        with read_video(source) as video:
            for number, time, image in video:
                yield Frame(
                    index,
                    f'{name}, frame {number}',
                    part,
                    image,
                    index + 1,
                    source if isinstance(source, str) and not live else None,
                    number,
                    time,
                    live,
                )
                index += 1
    except Exception as error:  # PyAV and OpenCV raise exceptions of any type
        yield Failure(index, name, part, error, in_video=True)


def _announced(path: str) -> int | None:
    """Return the number of frames of a video file; 1 if it cannot be read."""
    try:
        with read_video(path) as video:
            return video.frame_count
    except Exception:  # reported when the video is read
        return 1


def _check_reader(source: object) -> None:
    """Raise if a video cannot be read because PyAV is not installed."""
    if is_video(source) and not isinstance(source, int):
        import_av()


def _is_iterable(inputs: ImageSource | Iterable[ImageSource]) -> TypeGuard[Iterable[ImageSource]]:
    """Return whether inputs are taken from an iterable one at a time."""
    return isinstance(inputs, Iterable) and not (
        isinstance(
            inputs,
            (str, bytes, bytearray, memoryview, PathLike, list, tuple, np.ndarray, Image.Image),
        )
        or hasattr(inputs, 'read')
    )


def input_name(source: Any, index: int) -> str:
    """Return the name of an input.

    Args:
        source: A single input.
        index: Index of its first image.

    Returns:
        The path or URL if it has one, or a description.
    """
    if isinstance(source, str):
        return source
    if isinstance(source, int):
        return f'camera {source}'
    if isinstance(source, Exception):
        return f'input {index + 1}'
    name = describe_source(source)
    return f'{name} {index + 1}' if name in UNNAMED else name


def _read(source: Any, rgb: bool) -> np.ndarray:
    if isinstance(source, Exception):
        raise source
    if not is_url(source):
        return read_image(source, rgb)
    try:
        data = fileio.get(source)
    except Exception as error:  # file backends raise exceptions of any type
        raise DatasetError(f'cannot read the image {source}: {error}') from error
    return decode_image(data, source)


def _expand(source: Any) -> list:
    """Return the images, videos and cameras of one input.

    Args:
        source: See `Inputs`.

    Returns:
        The files of a directory or pattern in natural order; the images of an array (N, H, W, C);
        otherwise the input itself. Paths are strings. The existence of a single file is not
        checked.

    Raises:
        DatasetError: If a directory or pattern contains no images or videos.
        TypeError: If the input has an unsupported type.
    """
    if isinstance(source, np.ndarray) and source.ndim == 4:
        return list(source)
    if not isinstance(source, (str, PathLike)):
        if isinstance(source, bool) or not (isinstance(source, _SINGLE) or hasattr(source, 'read')):
            raise TypeError(
                f'an input is a {type(source).__name__}: expected a path, a '
                'directory, a pattern, an array, a PIL image, bytes, a binary '
                'stream, a video, or a camera number'
            )
        return [source]
    path = fspath(source)
    if is_url(path):
        return [path]
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        files = _files_of_directory(path)
    elif has_magic(path) and not os.path.exists(path):
        files = [file for file in glob(path, recursive=True) if not os.path.isdir(file)]
        if not files:
            raise DatasetError(f'no file matches the pattern {path}')
    else:
        return [path]
    return sorted(files, key=_natural_sort_key)


def _files_of_directory(path: str) -> list[str]:
    try:
        names = os.listdir(path)
    except OSError as error:
        raise DatasetError(f'cannot read the directory {path}: {error.strerror}') from error
    files = [
        os.path.join(path, name)
        for name in names
        if not name.startswith('.')
        and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    ]
    files = [file for file in files if not os.path.isdir(file)]
    if not files:
        raise DatasetError(
            f'the directory {path} contains no images or videos: to include '
            f"subdirectories, use a pattern such as '{os.path.join(path, '**', '*.jpg')}'"
        )
    return files


def _natural_sort_key(path: str) -> list:
    """Return a sort key for natural order, `2.jpg` before `10.jpg`."""
    return [
        (0, int(part), '') if part.isdecimal() else (1, 0, part)
        for part in re.split(r'(\d+)', path)
        if part
    ]


def _check_any_exists(parts: list) -> None:
    """Check that at least one of the files exists, if all inputs are files.

    Args:
        parts: Results of `_expand`.

    Raises:
        DatasetError: If none exists. The message names the first.
    """
    if parts and not any(
        not isinstance(part, str) or is_url(part) or os.path.lexists(part) for part in parts
    ):
        others = f', nor the {len(parts) - 1} others' * (len(parts) > 1)
        raise DatasetError(f'there is no such file or directory: {parts[0]}{others}')


def _ids_from_names(parts: list) -> list[int] | None:
    """Return the image IDs that are the numbers in the file names.

    Args:
        parts: Results of `_expand`.

    Returns:
        One ID for each part; None unless all parts are image files whose names are different
        numbers.
    """
    if not parts or not all(isinstance(part, str) and not is_video(part) for part in parts):
        return None
    stems = [Path(part).stem for part in parts]
    if not all(stem.isdecimal() for stem in stems):
        return None
    numbers = [int(stem) for stem in stems]
    return numbers if len(set(numbers)) == len(numbers) else None
