"""Videos for tests, written by OpenCV or PyAV, whose frames encode their index."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

COLOURS = ((0, 0, 220), (0, 200, 0), (220, 0, 0), (230, 230, 230))


def make_frame(index: int, width: int = 96, height: int = 64) -> np.ndarray:
    """Draw four coloured quarters, and a grey value of 8 × the index in the centre."""
    frame = np.zeros((height, width, 3), np.uint8)
    x, y = width // 2, height // 2
    for number, colour in enumerate(COLOURS):
        rows = slice(y) if number < 2 else slice(y, None)
        frame[rows, slice(x, None) if number % 2 else slice(x)] = colour
    frame[y - 16 : y + 16, x - 16 : x + 16] = 8 * index
    return frame


def read_index(frame: np.ndarray) -> int:
    """Read the index from a frame of `make_frame`."""
    y, x = frame.shape[0] // 2, frame.shape[1] // 2
    return round(frame[y - 8 : y + 8, x - 8 : x + 8].mean() / 8)


def make_video(path: Path, count: int = 30, fps: float = 29.97, codec: str = 'mp4v') -> Path:
    """Write the frames of `make_frame` with OpenCV."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (96, 64))
    for index in range(count):
        writer.write(make_frame(index))
    writer.release()
    return path


def encode_video(
    path: Path,
    codec: str = 'libx264',
    *,
    times: Sequence[float] = tuple(np.arange(30) / 25),
    size: tuple[int, int] = (96, 64),
    pix_fmt: str = 'yuv420p',
    sound: str | None = None,
    seconds: float = 4.0,
    sample_rate: int = 44_100,
    container: dict[str, str] | None = None,
    stream: dict[str, str] | None = None,
) -> Path:
    """Write the frames of `make_frame` with PyAV.

    Args:
        path: Path of the file.
        codec: Name of the encoder in FFmpeg.
        times: Time of each frame in seconds.
        size: Width and height of the frames.
        pix_fmt: Name of the pixel format in FFmpeg.
        sound: Audio encoder for a tone; None for no sound.
        seconds: Duration of the sound.
        sample_rate: Samples per second.
        container: Options of the container.
        stream: Options of the video encoder.
    """
    with av.open(str(path), 'w', options=container or {}) as output:
        video = output.add_stream(codec, rate=25, options=stream or {})
        video.width, video.height = size
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = Fraction(1, 1000 if codec == 'libx264' else 25)
        if sound is not None:
            audio = output.add_stream(sound, rate=sample_rate, layout='mono')
            for frame in _tone(seconds, sample_rate):
                output.mux(audio.encode(frame))
            output.mux(audio.encode(None))
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(make_frame(index, *size), format='bgr24')
            frame.time_base = video.codec_context.time_base
            frame.pts = round(time / frame.time_base)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


def _tone(seconds: float, rate: int):
    samples = np.sin(np.arange(round(rate * seconds)) * 2 * np.pi * 440 / rate)
    samples = (8000 * samples).astype(np.int16)[None]
    for start in range(0, samples.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, start : start + 1024]), format='s16', layout='mono'
        )
        frame.sample_rate, frame.pts = rate, start
        frame.time_base = Fraction(1, rate)
        yield frame


def rotate(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Set a, b, c, d of the display matrix in the track header of an MP4 file."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    # Version and flags, times, track, duration, layer, group and volume.
    start = data.index(b'tkhd') + 4 + 40
    plain = struct.pack('>9i', 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    assert data[start : start + 36] == plain
    data[start : start + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
