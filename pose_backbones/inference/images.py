"""Any picture as an array of OpenCV's kind."""

import io
from os import PathLike, fspath
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import DatasetError
from ..utils.images import NoImageError, describe_unknown, open_image, read_image_bytes

#: What OpenCV reads as its viewers show it: 8 bits, three channels or one.
_PLAIN_MODES = ('RGB', 'L')
_PLAIN_FORMATS = ('JPEG', 'MPO', 'PNG', 'BMP', 'WEBP')
#: what inputs without a name are called
UNNAMED = ('array', 'image', 'bytes')
_ORIENTATION = 0x0112  # the EXIF tag
_STRIP = 1 << 20  # pixels that are made opaque at once
#: JPEG's markers of the start of a scan and the end of the image
_SCAN, _END = b'\xff\xda', b'\xff\xd9'


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
        return from_array(source, rgb)
    if isinstance(source, Image.Image):
        return _from_pil(source)
    return decode(_bytes(source), describe(source))


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
            f'{describe(source)} gives {type(data).__name__}: expected bytes; '
            "open files with the mode 'rb'"
        )
    return data


def describe(source) -> str:
    """What to call an input in a message."""
    if isinstance(source, (str, PathLike)):
        return fspath(source)
    name = getattr(source, 'filename', None) or getattr(source, 'name', None)
    if isinstance(name, str) and name:
        return name
    if isinstance(source, np.ndarray):
        return UNNAMED[0]
    return UNNAMED[1 if isinstance(source, Image.Image) else 2]


def decode(data: bytes, name: str) -> np.ndarray:
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
        return from_array(_to_unit(np.asarray(image), image.mode))
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or ('transparency' in image.info):
        return from_array(np.asarray(image.convert('RGBA')), rgb=True)
    return from_array(np.asarray(image.convert('RGB')), rgb=True)


def _to_unit(values: np.ndarray, mode: str) -> np.ndarray:
    """Grey values of more than 8 bits as uint16, or floats from 0 to 1."""
    if mode == 'F':  # as Pillow makes them of 8 bits, or as others do
        return values / (255 if np.nanmax(values, initial=0) > 1 else 1)
    if values.dtype != np.uint16:
        values = values.clip(0, 2**16 - 1).astype(np.uint16)
    return values


def from_array(image: np.ndarray, rgb: bool = False) -> np.ndarray:
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
