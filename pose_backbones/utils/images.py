"""Read and write images: which files may be opened, EXIF orientation, bit depth, alpha, limits.

Only raster formats are opened, whatever a file's name says: Pillow hands PostScript (EPS) to
Ghostscript, which runs programs. Only regular files are opened, and none that would take too
much memory.
"""

import io
import os
import sys
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import DatasetError, ImageError, first_line
from .files import atomic_write, open_regular, os_error_reason

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

#: What OpenCV reads as its viewers show it: 8 bits, three channels or one.
_PLAIN_MODES = ('RGB', 'L')
_PLAIN_FORMATS = ('JPEG', 'MPO', 'PNG', 'BMP', 'WEBP')
#: what inputs without a name are called
UNNAMED = ('array', 'image', 'bytes')
_ORIENTATION = 0x0112  # the EXIF tag
_STRIP = 1 << 20  # pixels that are made opaque at once
#: JPEG's markers of the start of a scan and the end of the image
_SCAN, _END = b'\xff\xda', b'\xff\xd9'


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
        raise DatasetError(f'cannot read the image {name}: {os_error_reason(error)}') from error


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


def read_image(source, rgb: bool = False) -> np.ndarray:
    """Read a picture as a viewer would show it.

    Turned as its EXIF tag says; of 16 bits, the high ones; grey in three
    channels; transparent parts white; CMYK as RGB; the first of several
    frames. The pixels of an ordinary picture are those of `cv2.imread`.

    Args:
        source: A path; the bytes of a file, or a binary stream; a
            `PIL.Image`; or an array (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4), with alpha last: uint8, uint16, bool, or of floats
            from 0 to 1.
        rgb: Whether the colours of an array are red, green, blue; else they
            are blue, green, red, as in OpenCV.

    Returns:
        (H, W, 3), uint8, BGR, contiguous.

    Raises:
        DatasetError: If a file is missing, no regular file, truncated, no
            picture of a raster format, or too large: see `utils.images`.
        TypeError, ValueError: For an array or object of another kind.
    """
    if isinstance(source, np.ndarray):
        return image_from_array(source, rgb)
    if isinstance(source, Image.Image):
        return _from_pil(source)
    return decode_image(_bytes(source), describe_source(source))


def _bytes(source) -> bytes:
    """Of a file or stream."""
    if isinstance(source, (str, PathLike)):
        return read_image_bytes(Path(source).expanduser())
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if not hasattr(source, 'read'):
        raise TypeError(
            f'the input is a {type(source).__name__}: expected a path, an '
            'array, a PIL image, bytes or a binary stream'
        )
    data = source.read()
    if not isinstance(data, bytes):
        raise TypeError(
            f'{describe_source(source)} gives {type(data).__name__}: expected bytes; '
            "open files with the mode 'rb'"
        )
    return data


def describe_source(source) -> str:
    """What to call an input in a message."""
    if isinstance(source, (str, PathLike)):
        return fspath(source)
    name = getattr(source, 'filename', None) or getattr(source, 'name', None)
    if isinstance(name, str) and name:
        return name
    if isinstance(source, np.ndarray):
        return UNNAMED[0]
    return UNNAMED[1 if isinstance(source, Image.Image) else 2]


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of a file.

    Args:
        data: All of them.
        name: Of the file, for messages.

    Returns, Raises:
        See `read_image`.
    """
    if not data:
        raise DatasetError(f'cannot read the image {name}: it is empty')
    try:
        with open_image(io.BytesIO(data)) as image:
            if _is_plain(image, data):
                found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
                if found is not None:
                    return found
            return _from_pil(image)
    except UnidentifiedImageError as error:
        raise NoImageError(describe_unknown(name, data[:64])) from error
    except Exception as error:  # of any of Pillow's formats, and OpenCV's
        raise DatasetError(
            f'cannot read the image {name}: {error or type(error).__name__}'
        ) from error


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Whether OpenCV reads this file as a viewer shows it, and whole."""
    if (
        image.mode not in _PLAIN_MODES
        or image.format not in _PLAIN_FORMATS
        or 'transparency' in image.info
    ):
        return False
    if image.format in ('JPEG', 'MPO'):  # OpenCV takes half a file as well
        return data.rfind(_END) > data.rfind(_SCAN)
    return image.getexif().get(_ORIENTATION, 1) == 1


def _from_pil(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I') or image.mode == 'F':
        return image_from_array(_to_unit(np.asarray(image), image.mode))
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or ('transparency' in image.info):
        return image_from_array(np.asarray(image.convert('RGBA')), rgb=True)
    return image_from_array(np.asarray(image.convert('RGB')), rgb=True)


def _to_unit(values: np.ndarray, mode: str) -> np.ndarray:
    """Grey values of more than 8 bits as uint16, or floats from 0 to 1."""
    if mode == 'F':  # as Pillow makes them of 8 bits, or as others do
        return values / (255 if np.nanmax(values, initial=0) > 1 else 1)
    if values.dtype != np.uint16:
        values = values.clip(0, 2**16 - 1).astype(np.uint16)
    return values


def image_from_array(image: np.ndarray, rgb: bool = False) -> np.ndarray:
    """An array of `read_image` as (H, W, 3), uint8, BGR.

    Args:
        image, rgb: As there.

    Returns:
        The array itself, if it is like that already.

    Raises:
        ValueError: For another shape, another type, or floats beyond 0 to 1.
    """
    shape = image.shape
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
        hint = (
            ' (channels come last: use image.transpose(1, 2, 0))'
            if len(shape) == 3 and shape[0] in (1, 3, 4)
            else ''
        )
        raise ValueError(
            f'an image has the shape {shape}: expected (H, W), (H, W, 3) or '
            f'(H, W, 4), with at least one pixel{hint}'
        )
    image = _to_bytes(image)
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    colours, alpha = image[..., :3], image[..., 3:]
    if rgb:
        colours = colours[..., ::-1]
    if alpha.size:
        return _on_white(colours, alpha)
    return np.ascontiguousarray(colours)


def _on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Row by row, so that floats of a large image do not fill the memory."""
    found = np.empty(colours.shape, np.uint8)
    rows = max(1, _STRIP // colours.shape[1])
    for top in range(0, len(colours), rows):
        part = slice(top, top + rows)
        share = alpha[part].astype(np.float32) / 255
        found[part] = np.rint(colours[part] * share + 255 * (1 - share))
    return found


def _to_bytes(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    if image.dtype == bool:
        return image.astype(np.uint8) * 255
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(
            f'an image is of {image.dtype}: expected uint8, uint16, bool, or '
            'floats from 0 to 1; of 0 to 255, use image.astype(numpy.uint8)'
        )
    image = np.nan_to_num(image)
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        raise ValueError(
            f'an image of floats has values from {low:g} to {high:g}: '
            'expected 0 to 1; of 0 to 255, use image.astype(numpy.uint8)'
        )
    return np.rint(image * 255).astype(np.uint8)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image; the file is complete or not there.

    Args:
        path: With the suffix of a format.
        image: (H, W, 3), uint8, BGR.

    Raises:
        OSError: If there is no space.
        ValueError, cv2.error: If the format cannot hold such an image.
    """
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError(
            f'OpenCV cannot write {image.shape[1]} x {image.shape[0]} pixels as {path.suffix}'
        )
    with atomic_write(path) as draft:
        draft.write_bytes(data.tobytes())
