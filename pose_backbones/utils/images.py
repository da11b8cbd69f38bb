"""Read and write images: which files may be opened, EXIF orientation, bit depth, alpha, limits.

Only raster formats are opened, whatever the file name: Pillow passes PostScript (EPS) to
Ghostscript, which executes programs. Only regular files are opened, and none that would take too
much memory.

Pillow and OpenCV decode the files. Neither Pillow alone nor imageio is enough: both open any format
that they recognize, and leave orientation, alpha and bit depth to the caller.
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

#: maximum number of pixels of an image, which is Pillow's own limit
MAX_PIXELS = 178_956_970
#: maximum side in pixels that OpenCV can warp
MAX_SIDE = 32_766
#: maximum size of an image file in bytes
MAX_BYTES = 1 << 30
#: maximum number of reads for the header of an image: Pillow searches JPEG frames byte by byte
_MAX_READS = 100_000
#: Pillow's names of the formats that are opened. None of them executes a program or opens another
#: file.
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
#: first bytes of files in other formats, and the name of each format
_OTHER_FORMATS = (
    (b'%!', 'PostScript'),
    (b'\xc5\xd0\xd3\xc6', 'PostScript'),
    (b'%PDF', 'PDF'),
    (b'<svg', 'SVG'),
    (b'<?xml', 'XML, such as SVG'),
    (b'<', 'HTML or XML'),
    (b'version https://git-lfs', 'a Git LFS pointer: fetch the file with git lfs pull'),
)

#: Images that OpenCV decodes as image viewers show them: 8 bits, three channels or one.
_PLAIN_MODES = ('RGB', 'L')
_PLAIN_FORMATS = ('JPEG', 'MPO', 'PNG', 'BMP', 'WEBP')
#: descriptions of inputs without a name
UNNAMED = ('array', 'image', 'bytes')
_ORIENTATION = 0x0112  # EXIF tag
_ROTATED = (5, 6, 7, 8)  # orientations that exchange width and height
#: EXIF orientation → transform of the pixels
_UPRIGHT = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}
_COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_STRIP = 1 << 20  # pixels that are blended with white at once
#: JPEG markers for the start of a scan and the end of the image
_SCAN, _END = b'\xff\xda', b'\xff\xd9'
_TAIL = 1 << 16  # bytes in which the mark for the end of an image is, since data may follow it


# Pillow reads .heic only with its plug-in; otherwise such files are reported as unreadable.
IMAGE_SUFFIXES = frozenset(
    '.avif .bmp .dib .gif .heic .heif .jfif .jpe .jpeg .jpg .jp2 .pbm .pgm '
    '.png .pnm .ppm .tif .tiff .webp'.split()
)


class NoImageError(ImageError):
    """A file is not in a supported raster format."""


class _Counted:
    """A binary file that can be read at most `_MAX_READS` times."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.left = file, _MAX_READS

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise OSError('its header has no end')
        return self._file.read(size)


def open_image(file: BinaryIO) -> Image.Image:
    """Open an image in a raster format, without decoding its pixels.

    Args:
        file: Binary file, which is not closed.

    Returns:
        The Pillow image, which the caller must close.

    Raises:
        UnidentifiedImageError: If the file is not in a supported raster format.
        Image.DecompressionBombError: If the image has too many pixels.
        OSError: If the file cannot be read.
    """
    Image.init()
    counted = _Counted(file)
    image = Image.open(counted, formats=[name for name in FORMATS if name in Image.OPEN])
    counted.left = sys.maxsize  # no limit for the pixels
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise Image.DecompressionBombError(
            f'it has {width} x {height} pixels: expected at most {MAX_PIXELS:,}'
        )
    return image


def read_image_bytes(path: str | PathLike) -> bytes:
    """Return the content of an image file.

    Args:
        path: Path of a local file.

    Returns:
        The bytes of the file.

    Raises:
        DatasetError: If the file is missing, not a regular file, unreadable, or larger than
            `MAX_BYTES`.
    """
    name = fspath(path)
    try:
        with _open(path) as file:
            # For a larger number, Python would allocate that many bytes.
            return file.read(os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise DatasetError(f'cannot read the image {name}: {os_error_reason(error)}') from error


def _open(path: str | PathLike) -> BinaryIO:
    """Open a regular file that is not larger than `MAX_BYTES`."""
    file = open_regular(path, 'image')
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        file.close()
        raise DatasetError(
            f'cannot read the image {fspath(path)}: it has more than {MAX_BYTES:,} bytes'
        )
    return file


def check_image_file(path: str | PathLike) -> None:
    """Check by its header that a file is a supported image.

    Args:
        path: Path of a local file.

    Raises:
        NoImageError: If the file is not in a supported raster format.
        DatasetError: If the file cannot be read or is too large.
    """
    image_size(path)


def image_size(path: str | PathLike) -> tuple[int, int]:
    """Return the width and height of an image as `read_image` returns it, from its header.

    Args:
        path: Path of a local file.

    Raises:
        NoImageError, DatasetError: See `check_image_file`.
    """
    try:
        with _open(path) as file, open_image(file) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION, 1) in _ROTATED:
                width, height = height, width
    except UnidentifiedImageError as error:
        raise NoImageError(describe_unknown(path)) from error
    except DatasetError:
        raise
    except Exception as error:  # Pillow's decoders raise exceptions of any type
        raise DatasetError(f'cannot read the image {fspath(path)}: {first_line(error)}') from error
    check_sides(fspath(path), width, height)
    return width, height


def is_truncated(path: str | PathLike) -> bool:
    """Return whether a JPEG or PNG file lacks its end; the pixels are not decoded.

    Args:
        path: Path of a local file. A file in another format is not truncated.

    Raises:
        DatasetError: If the file cannot be read.
    """
    with _open(path) as file:
        start = file.read(8)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        end = file.read(_TAIL)
    for signature, mark in ((b'\xff\xd8', _END), (b'\x89PNG', b'IEND')):
        if start.startswith(signature):
            return mark not in end
    return False


def check_sides(name: str, width: int, height: int) -> None:
    """Check that OpenCV can cut crops from an image of this size.

    Args:
        name: Name of the image for the message.
        width: Width in pixels.
        height: Height in pixels.

    Raises:
        ImageError: If a side is larger than `MAX_SIDE`.
    """
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            f'cannot use the image {name}: it has {width} x {height} pixels, '
            f'and OpenCV supports at most {MAX_SIDE:,} per side: split the image'
        )


def describe_unknown(name: str | PathLike, start: bytes | None = None) -> str:
    """Return an error message for a file that is not in a supported raster format.

    Args:
        name: Name of the file.
        start: The first bytes of the file. Default: read from the file.

    Returns:
        The message, which names the format if it is recognized.
    """
    if start is None:
        with open_regular(name, 'image') as file:
            start = file.read(64)
    start = start.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    for mark, kind in _OTHER_FORMATS:
        if start.startswith(mark.lower()):
            return (
                f'cannot read the image {fspath(name)}: expected a raster '
                f'format, but the file is {kind}'
            )
    return (
        f'cannot read the image {fspath(name)}: not a format that Pillow '
        'supports; convert the file to JPEG or PNG'
    )


def read_image(source, rgb: bool = False) -> np.ndarray:
    """Read an image as an image viewer shows it.

    The EXIF orientation is applied; 16-bit values are reduced to their high byte; grey images are
    expanded to three channels; transparent parts become white; CMYK is converted to RGB; of
    several frames the first is used. For ordinary images the result equals that of `cv2.imread`.

    Args:
        source: A path; the bytes of a file, or a binary stream; a `PIL.Image`; or an array (H, W),
            (H, W, 1), (H, W, 3) or (H, W, 4), with alpha last, of the type uint8, uint16, bool, or
            float with values from 0 to 1.
        rgb: Whether the channels of an array are RGB. Default: BGR, as in OpenCV.

    Returns:
        (H, W, 3), uint8, BGR, contiguous.

    Raises:
        DatasetError: If a file is missing, not a regular file, truncated, not in a supported raster
            format, or too large, see `MAX_PIXELS`, `MAX_SIDE` and `MAX_BYTES`.
        TypeError, ValueError: If `source` has an unsupported type, or an array is invalid.
    """
    if isinstance(source, np.ndarray):
        return image_from_array(source, rgb)
    if isinstance(source, Image.Image):
        return _from_pil(source)
    return decode_image(_bytes(source), describe_source(source))


def _bytes(source) -> bytes:
    """Return the content of a file or stream."""
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
            f'{describe_source(source)} returns {type(data).__name__}: expected bytes; '
            "open files with the mode 'rb'"
        )
    return data


def describe_source(source) -> str:
    """Return the name of an input for messages."""
    if isinstance(source, (str, PathLike)):
        return fspath(source)
    name = getattr(source, 'filename', None) or getattr(source, 'name', None)
    if isinstance(name, str) and name:
        return name
    if isinstance(source, np.ndarray):
        return UNNAMED[0]
    return UNNAMED[1 if isinstance(source, Image.Image) else 2]


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode the content of an image file.

    Args:
        data: The bytes of the file.
        name: Name of the file for messages.

    Returns:
        (H, W, 3), uint8, BGR, contiguous, see `read_image`.

    Raises:
        DatasetError: See `read_image`.
    """
    if not data:
        raise DatasetError(f'cannot read the image {name}: it is empty')
    try:
        with open_image(io.BytesIO(data)) as image:
            if _is_plain(image, data):
                decoded = cv2.imdecode(np.frombuffer(data, np.uint8), _COLOR)
                if decoded is not None:
                    return _upright(decoded, image.getexif().get(_ORIENTATION, 1))
            return _from_pil(image)
    except UnidentifiedImageError as error:
        raise NoImageError(describe_unknown(name, data[:64])) from error
    except Exception as error:  # Pillow and OpenCV raise exceptions of any type
        raise DatasetError(f'cannot read the image {name}: {first_line(error)}') from error


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Return whether OpenCV decodes this file completely and as image viewers show it."""
    if (
        image.mode not in _PLAIN_MODES
        or image.format not in _PLAIN_FORMATS
        or 'transparency' in image.info
    ):
        return False
    if image.format in ('JPEG', 'MPO'):  # OpenCV also accepts truncated files
        end = data.rfind(_END)
        return end >= 0 and data.find(_SCAN, end) < 0
    return image.getexif().get(_ORIENTATION, 1) == 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Apply the orientation of the EXIF data, as Pillow has read it.

    OpenCV reads damaged EXIF data in another way than Pillow, from which `image_size` is.
    """
    transform = _UPRIGHT.get(orientation)
    return image if transform is None else np.ascontiguousarray(transform(image))


def _from_pil(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I') or image.mode == 'F':
        return image_from_array(_to_unit(np.asarray(image), image.mode))
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or ('transparency' in image.info):
        return image_from_array(np.asarray(image.convert('RGBA')), rgb=True)
    return image_from_array(np.asarray(image.convert('RGB')), rgb=True)


def _to_unit(values: np.ndarray, mode: str) -> np.ndarray:
    """Convert grey values of more than 8 bits to uint16, or to floats from 0 to 1."""
    if mode == 'F':  # values from 0 to 255 if Pillow converted them from 8 bits, or from 0 to 1
        return values / (255 if np.nanmax(values, initial=0) > 1 else 1)
    if values.dtype != np.uint16:
        values = values.clip(0, 2**16 - 1).astype(np.uint16)
    return values


def image_from_array(image: np.ndarray, rgb: bool = False) -> np.ndarray:
    """Convert an array to (H, W, 3), uint8, BGR.

    Args:
        image: See `read_image`.
        rgb: See `read_image`.

    Returns:
        The converted array, or `image` itself if it already has this format.

    Raises:
        ValueError: If the shape or type is unsupported, or floats are not from 0 to 1.
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
    """Blend with white in strips, so that floats of a large image do not fill the memory."""
    blended = np.empty(colours.shape, np.uint8)
    rows = max(1, _STRIP // colours.shape[1])
    for top in range(0, len(colours), rows):
        strip = slice(top, top + rows)
        share = alpha[strip].astype(np.float32) / 255
        blended[strip] = np.rint(colours[strip] * share + 255 * (1 - share))
    return blended


def _to_bytes(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    if image.dtype == bool:
        return image.astype(np.uint8) * 255
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(
            f'an image has the type {image.dtype}: expected uint8, uint16, bool, or '
            'floats from 0 to 1; for values from 0 to 255, use image.astype(numpy.uint8)'
        )
    image = np.nan_to_num(image)
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        raise ValueError(
            f'an image of floats has values from {low:g} to {high:g}: expected '
            '0 to 1; for values from 0 to 255, use image.astype(numpy.uint8)'
        )
    return np.rint(image * 255).astype(np.uint8)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image atomically.

    Args:
        path: Path of the file, whose suffix determines the format.
        image: (H, W, 3), uint8, BGR.

    Raises:
        OSError: If the file cannot be written, for example because the disk is full.
        ValueError, cv2.error: If the format does not support the image.
    """
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError(
            f'OpenCV cannot write {image.shape[1]} x {image.shape[0]} pixels as {path.suffix}'
        )
    with atomic_write(path) as draft:
        draft.write_bytes(data.tobytes())
