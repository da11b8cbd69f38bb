"""Videos, streams and cameras frame by frame, and frames to a video."""

import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log

from ..errors import DatasetError
from ..utils.files import check_regular_file, is_url
from ..utils.images import MAX_PIXELS, MAX_SIDE
from .containers import is_container, is_playlist, missing_bytes
from .encoders import VideoError
from .paths import is_live
from .video_writer import VideoWriter

__all__ = ['USUAL_FPS', 'Video', 'VideoError', 'VideoWriter', 'read_video']

USUAL_FPS = 25.0  # where a source does not say
_ATTEMPTS = 64  # frames looked for behind one that cannot be decoded
_WHOLE = 0.9  # part of the frames that a file has announced: not worth a note


def read_video(source: str | os.PathLike | int) -> 'Video':
    """Open a video file, a stream or a camera.

    Args:
        source: A path, a URL, or a camera's number, from 0.

    Returns:
        The video, to be iterated once.

    Raises:
        TypeError: If `source` is neither.
        DatasetError: If it cannot be opened or gives no frame.
    """
    if isinstance(source, bool) or not isinstance(source, (str, os.PathLike, int)):
        raise TypeError(
            f"source is {source!r}: expected the path or URL of a video or a camera's number"
        )
    return Video(source)


class Video:
    """The frames of a file, stream or camera, one at a time, upright.

    Iterating gives (index, time, frame): the number from 0; seconds since
    the first frame of what is live, else the file's own time stamp, always
    rising; (H, W, 3), uint8, BGR. It closes at the end and on an error; use
    it in a `with` statement where iterating may stop earlier.

    Frames are turned as the file says. Deviations: OpenCV takes a mirrored
    video for one that stands upside down.

    Attributes:
        name: The file, or 'camera 0'.
        size: Width and height of the frames in pixels.
        fps: Frames a second; their mean where the rate varies.
        frame_count: How many frames the file says it has, which some files
            do not know exactly; None if it does not say.

    Raises:
        DatasetError: See `read_video`; when iterating, after the frames that
            could be read, if the file is cut off or damaged or what is live
            gives no more.
    """

    def __init__(self, source: str | os.PathLike | int) -> None:
        self._source = source if isinstance(source, int) else os.fspath(source)
        self._live = is_live(self._source)
        self.name = f'camera {source}' if isinstance(source, int) else self._source
        self._capture = _open_capture(self._source, self.name)
        self._check_size()
        frame = self._read()
        if frame is None:
            self.close()
            raise DatasetError(
                f'{self.name} gives no frame{_cut(self._source)}: {_advice(self._source)}'
            )
        self._first: np.ndarray | None = frame
        self._began = time.monotonic()
        self.size = (frame.shape[1], frame.shape[0])
        self.fps = self._find_fps()
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        known = not self._live and 0 < count < math.inf
        self.frame_count = int(count) if known else None

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        frame, self._first = self._first, None
        if frame is None:
            raise RuntimeError(
                f'{self.name} has been read or closed: open it again with read_video'
            )
        index, now = 0, -math.inf
        with self:
            while frame is not None:
                now = self._time(now)
                yield index, now, frame
                if not self._capture.isOpened():
                    return
                frame = self._read()
                index += 1
            self._check_end(index, now)

    def __enter__(self) -> 'Video':
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file or the camera; more often than once is fine."""
        self._first = None
        self._capture.release()

    def _read(self) -> np.ndarray | None:
        return self._capture.read()[1]

    def _check_size(self) -> None:
        """Refuse frames that take too much memory, before one is decoded."""
        width, height = (
            int(size) if 0 < size < math.inf else 0
            for size in (
                self._capture.get(cv2.CAP_PROP_FRAME_WIDTH),
                self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT),
            )
        )
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            self._capture.release()
            raise DatasetError(
                f'{self.name} has frames of {width} x {height} pixels: '
                f'expected at most {MAX_PIXELS:,} pixels, and {MAX_SIDE:,} a '
                'side'
            )

    def _time(self, before: float) -> float:
        """Of the frame that was read last, in seconds."""
        if self._live:
            now = 0 if before < 0 else time.monotonic() - self._began
        else:
            now = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if math.isfinite(now) and now > before:
            return now
        return max(before + 1 / self.fps, 0.0)

    def _find_fps(self) -> float:
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        if math.isfinite(fps) and fps > 0:
            return fps
        print_log(
            f'{self.name} does not say how many frames a second it has: {USUAL_FPS:g} are assumed',
            'current',
            logging.WARNING,
        )
        return USUAL_FPS

    def _check_end(self, count: int, now: float) -> None:
        """See whether these were all frames."""
        if self._live:
            raise DatasetError(
                f'{self.name} gave no more frames after {count}: {_advice(self._source)}'
            )
        announced = self.frame_count or math.inf
        of = f'{count}' + (f' of {announced}' if self.frame_count else '')
        if any(self._capture.grab() for _ in range(_ATTEMPTS)):
            raise DatasetError(
                f'{self.name} is damaged after {of} frames, at {now:.2f} s: {_advice(self._source)}'
            )
        cut = _cut(self._source)
        if cut and count < announced:
            raise DatasetError(f'{self.name} gave {of} frames{cut}: {_advice(self._source)}')
        if count < _WHOLE * (self.frame_count or 0):
            print_log(
                f'{self.name} gave {of} frames: it may be damaged', 'current', logging.WARNING
            )


def _open_capture(source: str | int, name: str) -> cv2.VideoCapture:
    """OpenCV's reader of a file, a stream or a camera."""
    if isinstance(source, int):
        capture = cv2.VideoCapture(source)
    else:
        if not is_url(source):
            path = Path(source)
            _check_file(path, name)
            source = str(path.absolute())
        backends = cv2.videoio_registry.getStreamBackends()
        ffmpeg = cv2.CAP_FFMPEG in backends
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG if ffmpeg else cv2.CAP_ANY)
    if not capture.isOpened():
        raise DatasetError(f'{name} cannot be opened as a video{_cut(source)}: {_advice(source)}')
    # On by default up to OpenCV 4.10, off in 4.11.
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def _check_file(path: Path, name: str) -> None:
    """Refuse what is no video file by itself, without FFmpeg."""
    if not path.is_file():
        what = (
            'a folder' if path.is_dir() else 'not there' if not path.exists() else 'no regular file'
        )
        raise DatasetError(f'{name} is {what}: expected a video file')
    check_regular_file(path, 'video')
    if not path.stat().st_size or is_container(path):
        return  # of an empty file, OpenCV says what is to be said
    if is_playlist(path):
        raise DatasetError(
            f'{name} is a playlist or script that names other files: give the videos themselves'
        )
    raise DatasetError(f'{name} cannot be opened as a video: {_advice(str(path))}')


def _cut(source: str | int) -> str:
    """Says so if a file is cut off."""
    if isinstance(source, int) or is_url(source):
        return ''
    missing = missing_bytes(Path(source))
    return f', for its last {missing} bytes are missing' if missing else ''


def _advice(source: str | int) -> str:
    if isinstance(source, int):
        return 'is it connected, and free of other programs?'
    if is_url(source):
        return 'is the address right, and in reach?'
    return 'get the file again, or convert it with ffmpeg'
