"""Write damaged, oversized and special image files."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.pose_cases import make_image

EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%touch RAN) (w) file\nshowpage\n'


def png(width: int, height: int, rows: int | None = None) -> bytes:
    """Return a black 1-bit PNG file whose header contains the given size.

    Args:
        width, height: Size in pixels.
        rows: Number of rows in the file. Default: all.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    packer = zlib.compressobj(1)
    row = bytes(1 + (width + 7) // 8)
    count = height if rows is None else rows
    data = b''.join(packer.compress(row) for _ in range(count))
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0))
        + chunk(b'IDAT', data + packer.flush())
        + chunk(b'IEND', b'')
    )


def write_hostile(folder: Path) -> dict[str, str]:
    """Write hostile files to a directory.

    Args:
        folder: An empty directory.

    Returns:
        File name → pattern of the error message.
    """
    files = {
        'wide.png': (
            png(65500, 40),
            '65500 x 40 pixels, and OpenCV supports at most 32,766 per side',
        ),
        'high.png': (png(40, 65500), '40 x 65500 pixels'),
        'bomb.png': (png(20000, 20000), 'decompression bomb|pixels'),
        'lie.png': (png(2**31 - 1, 2**31 - 1, 1), 'pixels|cannot read'),
        'lie2.png': (png(2**20, 2**20, 1), 'decompression bomb'),
        'cut.jpg': (cv2.imencode('.jpg', make_image(0))[1].tobytes()[:400], '[Tt]runcated'),
        'empty.jpg': (b'', 'it is empty|not a format'),
        'text.jpg': (b'hello', 'not a format that Pillow supports'),
        'eps.jpg': (EPS, 'expected a raster format, but the file is PostScript'),
        'eps.eps.png': (b'\xc5\xd0\xd3\xc6' + bytes(30) + EPS, 'but the file is PostScript'),
        'svg.jpg': (b'\n<svg xmlns="http://www.w3.org/2000/svg"/>', 'but the file is SVG'),
        'page.jpg': (b'<!DOCTYPE html><html>', 'but the file is HTML'),
        'pdf.jpg': (b'%PDF-1.7\n', 'but the file is PDF'),
        'pointer.jpg': (b'version https://git-lfs.github.com/spec/v1\n', 'a Git LFS pointer'),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / 'fifo.jpg')
    (folder / 'to_fifo.jpg').symlink_to('fifo.jpg')
    (folder / 'loop.jpg').symlink_to('loop.jpg')
    (folder / 'dangling.jpg').symlink_to('nowhere.jpg')
    (folder / 'device.jpg').symlink_to('/dev/zero')
    for name, size in (('sparse.jpg', 5 << 30), ('endless.jpg', 1 << 28)):
        with open(folder / name, 'wb') as file:
            file.write(b'\xff\xd8\xff')
            file.truncate(size)
    return {name: message for name, (_, message) in files.items()} | {
        'fifo.jpg': 'named pipe',
        'to_fifo.jpg': 'named pipe',
        'loop.jpg': 'Too many levels',
        'dangling.jpg': 'it is a symbolic link to nowhere.jpg, which does not exist',
        'device.jpg': 'character device',
        'sparse.jpg': 'more than 1,073,741,824 bytes',
        'endless.jpg': 'its header has no end',
    }


def large(height: int, width: int) -> np.ndarray:
    """Return an image with some content."""
    return np.resize(make_image(1), (height, width, 3))
