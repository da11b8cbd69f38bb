"""Videos for tests, written by OpenCV."""

import struct
from pathlib import Path

import cv2
import numpy as np

COLOURS = ((0, 0, 220), (0, 200, 0), (220, 0, 0), (230, 230, 230))


def make_frame(index: int, width: int = 96, height: int = 64) -> np.ndarray:
    """Four coloured quarters and, in the middle, a grey of 8 × the index."""
    frame = np.zeros((height, width, 3), np.uint8)
    x, y = width // 2, height // 2
    for number, colour in enumerate(COLOURS):
        rows = slice(y) if number < 2 else slice(y, None)
        frame[rows, slice(x, None) if number % 2 else slice(x)] = colour
    frame[y - 16 : y + 16, x - 16 : x + 16] = 8 * index
    return frame


def read_index(frame: np.ndarray) -> int:
    """The number that `make_frame` has put into a frame."""
    y, x = frame.shape[0] // 2, frame.shape[1] // 2
    return round(frame[y - 8 : y + 8, x - 8 : x + 8].mean() / 8)


def make_video(path: Path, count: int = 30, fps: float = 29.97, codec: str = 'mp4v') -> Path:
    """A video of `make_frame`'s frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (96, 64))
    for index in range(count):
        writer.write(make_frame(index))
    writer.release()
    return path


def rotate(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Set a, b, c, d of the matrix in an MP4 file's track header."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    # Version and flags, times, track, duration, layer, group and volume.
    start = data.index(b'tkhd') + 4 + 40
    plain = struct.pack('>9i', 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    assert data[start : start + 36] == plain
    data[start : start + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
