"""Image files of which nothing is known: what may be opened, and how large.

Only raster formats are opened, whatever a file's name says: Pillow hands
PostScript (EPS) to Ghostscript, which runs programs. Files that are no
regular ones are refused, as are those that would take too much memory.
"""

import os
import sys
from os import PathLike, fspath
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ..errors import DatasetError, ImageError, first_line
from .files import open_regular, reason

#: most pixels of an image; Pillow's own limit
MAX_PIXELS = 178_956_970
#: longest side that OpenCV's warping takes, in pixels
MAX_SIDE = 32_766
#: most bytes of an image file
MAX_BYTES = 1 << 30
#: most times that something is read for an image's header: Pillow looks for a
#: JPEG's frame byte by byte
_MOST_READS = 100_000
#: Pillow's names of the formats that are opened; none runs a program, or
#: reads another file
FORMATS = (
    'AVIF',
    'BMP',
    'DIB',
    'GIF',
    'HEIF',
    'ICO',
    'JPEG',
    'JPEG2000',
    'MPO',
    'PCX',
    'PNG',
    'PPM',
    'PSD',
    'QOI',
    'SGI',
    'SUN',
    'TGA',
    'TIFF',
    'WEBP',
)
#: how files begin that are of no raster format, and what they are
_OTHERS = (
    (b'%!', 'PostScript'),
    (b'\xc5\xd0\xd3\xc6', 'PostScript'),
    (b'%PDF', 'PDF'),
    (b'<svg', 'SVG'),
    (b'<?xml', 'XML, such as SVG'),
    (b'<', 'HTML or XML'),
    (b'version https://git-lfs', 'a Git LFS pointer: fetch the file with git lfs pull'),
)


class NoImageError(ImageError):
    """A file is of no raster format that is known."""


class _Counted:
    """A binary file that is read so many times, and no more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.left = file, _MOST_READS

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise OSError('its header has no end')
        return self._file.read(size)


def open_image(file: BinaryIO) -> Image.Image:
    """Open an image of a raster format; its pixels are not decoded yet.

    Args:
        file: A binary file, which stays open.

    Returns:
        Pillow's image, to be closed.

    Raises:
        UnidentifiedImageError: If it is of no known raster format.
        Image.DecompressionBombError: If it has too many pixels.
        OSError: If it cannot be read.
    """
    Image.init()
    counted = _Counted(file)
    image = Image.open(counted, formats=[name for name in FORMATS if name in Image.OPEN])
    counted.left = sys.maxsize  # of the pixels
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise Image.DecompressionBombError(
            f'it has {width} x {height} pixels: expected at most {MAX_PIXELS:,}'
        )
    return image


def read_image_bytes(path: str | PathLike) -> bytes:
    """The content of an image file.

    Args:
        path: Of a local file.

    Returns:
        All of it.

    Raises:
        DatasetError: If it is missing, no regular file, unreadable, or above
            `MAX_BYTES`.
    """
    name = fspath(path)
    try:
        with _open(path) as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise DatasetError(f'cannot read the image {name}: {reason(error)}') from error


def _open(path: str | PathLike) -> BinaryIO:
    """Open a regular file that is not too large."""
    file = open_regular(path, 'image')
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        file.close()
        raise DatasetError(
            f'cannot read the image {fspath(path)}: it has more than {MAX_BYTES:,} bytes'
        )
    return file


def check_image_file(path: str | PathLike) -> None:
    """Refuse a file that cannot be an image for the model, by its header.

    Args:
        path: Of a local file.

    Raises:
        NoImageError: If it is of no raster format that Pillow knows.
        DatasetError: If it cannot be read, or is too large.
    """
    try:
        with _open(path) as file, open_image(file) as image:
            size = image.size
    except UnidentifiedImageError as error:
        raise NoImageError(describe_unknown(path)) from error
    except DatasetError:
        raise
    except Exception as error:  # of any of Pillow's formats
        raise DatasetError(f'cannot read the image {fspath(path)}: {first_line(error)}') from error
    check_sides(fspath(path), *size)


def check_sides(name: str, width: int, height: int) -> None:
    """Refuse an image that OpenCV cannot cut crops out of.

    Args:
        name: Of the image, for the message.
        width, height: In pixels.

    Raises:
        ImageError: If a side is above `MAX_SIDE`.
    """
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            f'cannot use the image {name}: it has {width} x {height} pixels, '
            f'and OpenCV takes at most {MAX_SIDE:,} a side: cut it into '
            'parts'
        )


def describe_unknown(name: str | PathLike, start: bytes | None = None) -> str:
    """A message about a file that is of no raster format.

    Args:
        name: Of the file.
        start: Its first bytes; None: they are read.

    Returns:
        The message, with what it is, if that shows.
    """
    if start is None:
        with open_regular(name, 'image') as file:
            start = file.read(64)
    start = start.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    for mark, kind in _OTHERS:
        if start.startswith(mark.lower()):
            return (
                f'cannot read the image {fspath(name)}: it is no image '
                f'of a raster format, but {kind}'
            )
    return (
        f'cannot read the image {fspath(name)}: it is no picture of a '
        'format that Pillow knows; convert it to JPEG or PNG'
    )
