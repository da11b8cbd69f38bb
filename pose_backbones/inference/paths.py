"""Which pictures and videos a path, a folder or a pattern stands for."""

import os
import re
from glob import glob, has_magic
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DatasetError
from ..utils.files import is_url
from .video_reader import VIDEO_SUFFIXES, is_video

# Pillow reads .heic where its plug-in is; elsewhere it is told as unreadable.
IMAGE_SUFFIXES = frozenset(
    '.avif .bmp .dib .gif .heic .heif .jfif .jpe .jpeg .jpg .jp2 .pbm .pgm '
    '.png .pnm .ppm .tif .tiff .webp'.split()
)
_SINGLE = (int, np.ndarray, Image.Image, bytes, bytearray, memoryview)


def expand(source) -> list:
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
    return sorted(found, key=_as_people_count)


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


def _as_people_count(path: str) -> list:
    """A key that sorts `2.jpg` before `10.jpg`."""
    return [
        (0, int(part), '') if part.isdecimal() else (1, 0, part)
        for part in re.split(r'(\d+)', path)
        if part
    ]


def check_some_there(parts: list) -> None:
    """Refuse a list of files none of which exists.

    Args:
        parts: Of `expand`.

    Raises:
        DatasetError: With the first.
    """
    if parts and not any(
        not isinstance(part, str) or is_url(part) or os.path.lexists(part) for part in parts
    ):
        others = f', nor the {len(parts) - 1} others' * (len(parts) > 1)
        raise DatasetError(f'there is no such file or folder: {parts[0]}{others}')


def numbers_of_names(parts: list) -> list[int] | None:
    """The numbers that the names of all files are.

    Args:
        parts: Of `expand`.

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
