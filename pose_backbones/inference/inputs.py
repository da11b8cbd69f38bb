"""Find the images and videos that an input stands for, and read them one by one."""

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
from ..utils.images import UNNAMED, decode_image, describe_source, read_image
from .video_reader import VIDEO_SUFFIXES, import_av, is_live, is_video, read_video

# Pillow reads .heic where its plug-in is; elsewhere it is told as unreadable.
IMAGE_SUFFIXES = frozenset(
    '.avif .bmp .dib .gif .heic .heif .jfif .jpe .jpeg .jpg .jp2 .pbm .pgm '
    '.png .pnm .ppm .tif .tiff .webp'.split()
)
_SINGLE = (int, np.ndarray, Image.Image, bytes, bytearray, memoryview)

#: One input: a path, URL, folder or pattern; an array; a PIL image; the bytes of a file or a
#: binary stream; the number of a camera.
ImageSource: TypeAlias = (
    str | PathLike[str] | np.ndarray | Image.Image | bytes | bytearray | memoryview | BinaryIO | int
)


@dataclass(frozen=True)
class Frame:
    """A picture to find poses in.

    Attributes:
        index: Its number among all inputs, from 0; one that could not be
            read counts.
        name: What to call it: a path, or what it is.
        part: Number of the file, or of the like, that it is in.
        image: (H, W, 3), uint8, BGR.
        image_id: See `Inputs`.
        path: The file it is from, if there is one.
        frame: Its number in a video, from 0.
        time: Seconds from the start of the video.
        live: Whether it is of a camera or a stream, which nobody wants to
            wait for.
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
        """Whether it is a file of its own, and no frame of a video."""
        return self.path is not None and self.frame is None


@dataclass(frozen=True)
class Failure:
    """An input that could not be read.

    Attributes:
        index, name, part: As of `Frame`.
        error: Why.
        in_video: Whether it is a video, the rest of one, or a frame.
    """

    index: int
    name: str
    part: int
    error: Exception
    in_video: bool = False


class Inputs:
    """Everything that may hold a picture, read when its turn comes.

    Files of a folder, or of a pattern, come in the order in which people
    count (`2.jpg` before `10.jpg`). Ids are the numbers that the names of
    the files are, as in COCO, if all inputs are different ones of these;
    else each picture's number, from 1.

    Args:
        inputs: A path, URL, folder or pattern (`'shots/**/*.jpg'`); an array
            (H, W, 3), or (N, H, W, 3) for N pictures; a `PIL.Image`; bytes or
            a binary stream; a video file or the URL of one, the URL of a
            stream (`'rtsp://…'`), or the number of a camera; or any
            iterable of these, such as a generator without end, of which no
            more is taken than needed. See `read_image` for which arrays and
            files are pictures.
        rgb: Whether the colours of arrays are red, green, blue; else they
            are blue, green, red.

    Attributes:
        parts: Single pictures, videos and cameras; None if they are taken
            from an iterator.
        ids: Of the pictures, where their names are numbers; else None.

    Raises:
        ConfigError: If there is a video and PyAV is not installed.
        DatasetError: If nothing is in a folder or like a pattern, or none of
            the files exists. One file of several that is missing, and what
            is wrong in an iterator, is a `Failure` when its turn comes.
        TypeError: For an object of another kind.
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
            self.parts = [part for one in several for part in _expand(one)]
            _check_any_exists(self.parts)
            for part in self.parts:
                _check_reader(part)
            self.ids = _ids_from_names(self.parts)

    @property
    def may_prefetch(self) -> bool:
        """Whether a thread may read ahead: not in an iterator of the user,
        nor of what is live."""
        return self.parts is not None and not any(map(is_live, self.parts))

    @property
    def files(self) -> list[str] | None:
        """The paths, if all inputs are image files; else None."""
        parts = self.parts
        if parts is None or self.count is None or not all(isinstance(one, str) for one in parts):
            return None
        return parts

    @property
    def count(self) -> int | None:
        """How many pictures there are; None with videos or an iterator."""
        if self.parts is None or any(map(is_video, self.parts)):
            return None
        return len(self.parts)

    def announced_count(self) -> int | None:
        """How many pictures there are if videos, which are opened, hold as
        many frames as they say; None if something does not say, or is far
        away."""
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
        """Read them, one by one."""
        return self.iterate_from()

    def iterate_from(self, part: int = 0, index: int = 0) -> Generator[Frame | Failure, None, None]:
        """Read from somewhere on.

        Args:
            part: The first file, or the like, to be read.
            index: Number of its first picture.

        Yields:
            Pictures, and what could not be read.
        """
        for number, source in enumerate(islice(self._each(), part, None), part):
            if is_video(source):
                for item in _frames(source, number, index):
                    yield item
                    index += 1
            else:
                yield self._picture(source, number, index)
                index += 1

    def _each(self) -> Iterator:
        """Single pictures, videos and cameras; errors of an iterator's."""
        if self.parts is not None:
            yield from self.parts
            return
        for one in self._iterable:
            try:
                found = _expand(one)
            except (DatasetError, TypeError) as error:
                found = [error]
            yield from found

    def _picture(self, source: Any, part: int, index: int) -> Frame | Failure:
        name = input_name(source, index)
        try:
            image = _read(source, self.rgb)
        except Exception as error:  # of a file or object of any kind
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
    """The frames of a video or camera, and what stopped it."""
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
    except Exception as error:  # of OpenCV as well
        yield Failure(index, name, part, error, in_video=True)


def _announced(path: str) -> int | None:
    """Frames of a video file; one that cannot be read is one failure."""
    try:
        with read_video(path) as video:
            return video.frame_count
    except Exception:  # told when its turn comes
        return 1


def _check_reader(source: object) -> None:
    """Raise if a video cannot be read because PyAV is not installed."""
    if is_video(source) and not isinstance(source, int):
        import_av()


def _is_iterable(inputs: ImageSource | Iterable[ImageSource]) -> TypeGuard[Iterable[ImageSource]]:
    """Whether inputs are taken from an iterable as they come."""
    return isinstance(inputs, Iterable) and not (
        isinstance(
            inputs,
            (str, bytes, bytearray, memoryview, PathLike, list, tuple, np.ndarray, Image.Image),
        )
        or hasattr(inputs, 'read')
    )


def input_name(source: Any, index: int) -> str:
    """What to call an input.

    Args:
        source: A single one.
        index: Of its first picture.

    Returns:
        The path or the URL, where it has one.
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
    except Exception as error:  # of any of the back ends
        raise DatasetError(f'cannot read the image {source}: {error}') from error
    return decode_image(data, source)


def _expand(source: Any) -> list:
    """The pictures, videos and cameras that one input stands for.

    Args:
        source: See `Inputs`.

    Returns:
        The files of a folder or a pattern, in the order in which people
        count; the pictures of an array (N, H, W, C); else the input itself.
        Paths are strings; whether a single file is there is not looked at.

    Raises:
        DatasetError: If nothing is in a folder or like a pattern.
        TypeError: For an input of another kind.
    """
    if isinstance(source, np.ndarray) and source.ndim == 4:
        return list(source)
    if not isinstance(source, (str, PathLike)):
        if isinstance(source, bool) or not (isinstance(source, _SINGLE) or hasattr(source, 'read')):
            raise TypeError(
                f'an input is a {type(source).__name__}: expected a path, a '
                'folder, a pattern, an array, a PIL image, bytes, a binary '
                'stream, a video, or the number of a camera'
            )
        return [source]
    path = fspath(source)
    if is_url(path):
        return [path]
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        found = _of_folder(path)
    elif has_magic(path) and not os.path.exists(path):
        found = [file for file in glob(path, recursive=True) if not os.path.isdir(file)]
        if not found:
            raise DatasetError(f'no file is like {path}')
    else:
        return [path]
    return sorted(found, key=_natural_sort_key)


def _of_folder(path: str) -> list[str]:
    try:
        names = os.listdir(path)
    except OSError as error:
        raise DatasetError(f'cannot read the folder {path}: {error.strerror}') from error
    found = [
        os.path.join(path, name)
        for name in names
        if not name.startswith('.')
        and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    ]
    found = [file for file in found if not os.path.isdir(file)]
    if not found:
        raise DatasetError(
            f'there is no picture or video in the folder {path}: for those '
            f"in folders below, give '{os.path.join(path, '**', '*.jpg')}'"
        )
    return found


def _natural_sort_key(path: str) -> list:
    """A key that sorts `2.jpg` before `10.jpg`."""
    return [
        (0, int(part), '') if part.isdecimal() else (1, 0, part)
        for part in re.split(r'(\d+)', path)
        if part
    ]


def _check_any_exists(parts: list) -> None:
    """Refuse a list of files none of which exists.

    Args:
        parts: Of `_expand`.

    Raises:
        DatasetError: With the first.
    """
    if parts and not any(
        not isinstance(part, str) or is_url(part) or os.path.lexists(part) for part in parts
    ):
        others = f', nor the {len(parts) - 1} others' * (len(parts) > 1)
        raise DatasetError(f'there is no such file or folder: {parts[0]}{others}')


def _ids_from_names(parts: list) -> list[int] | None:
    """The numbers that the names of all files are.

    Args:
        parts: Of `_expand`.

    Returns:
        One for each; None if they are not all numbers of image files, and
        different.
    """
    if not parts or not all(isinstance(part, str) and not is_video(part) for part in parts):
        return None
    stems = [Path(part).stem for part in parts]
    if not all(stem.isdecimal() for stem in stems):
        return None
    numbers = [int(stem) for stem in stems]
    return numbers if len(set(numbers)) == len(numbers) else None
