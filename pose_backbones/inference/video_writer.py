"""Frames to a video file that is whole whatever happens."""

import logging
import math
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log

from ..errors import ConfigError, DatasetError, PoseBackbonesError, WorkDirError
from ..utils.arguments import check_flag, check_ints, is_number
from ..utils.files import check_no_input, check_regular_file, force
from .encoders import (
    DiskFullError,
    FFmpegEncoder,
    OpenCVEncoder,
    VideoError,
    find_codec,
    plays,
    remux,
)

# OpenCV does not tell of a full disk, and a video ends with its index.
_RESERVE = 16 << 20


class VideoWriter:
    """Frames to an MP4 file, with the sound of another video.

    With ffmpeg on the PATH the video is H.264 (MPEG-4 if ffmpeg lacks that)
    with sound; else it is OpenCV's MPEG-4 without. It is written as
    NAME.partPROCESS.mp4 and renamed by `close`. In a `with` statement an
    error or Ctrl-C leaves a video of the frames so far.

    Args:
        path: Of the file, ending in .mp4; folders are made.
        size: Width and height of the frames in pixels; the video repeats the
            last column or row where it is odd, as codecs need even ones.
        fps: Frames a second, for example `Video.fps`.
        sound_from: File whose sound is added, from its beginning and for as
            long as there are frames; None for no sound.
        overwrite: Whether an existing file is replaced.

    Attributes:
        frames: How many have been written.

    Raises:
        TypeError, ValueError: If an argument cannot be right.
        DatasetError: If there is no file `sound_from`.
        WorkDirError: If the file exists and `overwrite` is not set, or it is
            `sound_from`.
        VideoError: If no codec works.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size: tuple[int, int],
        fps: float,
        sound_from: str | os.PathLike | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        check_flag('overwrite', overwrite)
        check_ints('size', size, 2, each='width and height')
        if not is_number(fps) or not 0 < fps < math.inf:
            raise ValueError(f'fps is {fps!r}: expected a positive number')
        self.path, self._overwrite = Path(path), overwrite
        self._check_path()
        self._sound = None if sound_from is None else Path(sound_from)
        if self._sound is not None and not self._sound.is_file():
            raise DatasetError(
                f'sound_from is {str(sound_from)!r}, which is no file: expected a video, or None'
            )
        if self._sound is not None:
            check_regular_file(self._sound, 'sound of')
            check_no_input(self.path, 'path', [self._sound])
        self._size, self._fps, self.frames = tuple(size), fps, 0
        self._spare = self.path.with_suffix(f'.part{os.getpid()}.mp4')
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._encoder = self._make_encoder()

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            self.close()
        except PoseBackbonesError as problem:
            if error is None:
                raise
            print_log(str(problem), 'current', logging.WARNING)

    def write(self, frame: np.ndarray) -> None:
        """Add a frame.

        Args:
            frame: (H, W, 3), uint8, BGR, of the size given.

        Raises:
            ValueError: For another shape or type, or if it is closed.
            DiskFullError: If the disk is nearly full, while there is room to
                finish the video.
            VideoError: If ffmpeg has stopped.
        """
        width, height = self._size
        if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f'frame has the shape {frame.shape} and the type '
                f'{frame.dtype}: expected ({height}, {width}, 3) and uint8'
            )
        if self._encoder is None:
            raise ValueError(f'{self.path} is closed: no frame can be added')
        free = shutil.disk_usage(self._spare.parent).free
        if free < _RESERVE:
            raise DiskFullError(
                f'{self._spare.parent} has {free >> 10} KiB left, but '
                f'{self.path} needs {_RESERVE >> 10} to be finished: make '
                'room'
            )
        if width % 2 or height % 2:
            frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        self._encoder.write(frame)
        self.frames += 1

    def close(self) -> Path | None:
        """Finish the file; more often than once is fine.

        Returns:
            The path; None if there was no frame, which leaves no file.

        Raises:
            WorkDirError: If another file took the name meanwhile.
            VideoError: If the file could not be finished.
        """
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            problem = encoder.finish()
            if not self.frames:
                self._spare.unlink(missing_ok=True)
            else:
                self._deliver()
            if problem:
                raise VideoError(
                    f'{self.path} holds the frames so far, since ffmpeg has stopped: {problem}'
                )
        return self.path if self.frames else None

    def discard(self) -> None:
        """Remove what could not be finished, if there is anything."""
        self._spare.unlink(missing_ok=True)

    def _check_path(self) -> None:
        if self.path.suffix.lower() != '.mp4':
            raise ConfigError(
                f'path is {str(self.path)!r}: expected the name of an MP4 file, ending in .mp4'
            )
        if self.path.exists() and not self._overwrite:
            raise WorkDirError(
                f'{self.path} exists: choose another name, or set overwrite to replace it'
            )

    def _make_encoder(self) -> FFmpegEncoder | OpenCVEncoder:
        size = tuple(length + length % 2 for length in self._size)
        self._ffmpeg = shutil.which('ffmpeg')
        codec = self._ffmpeg and find_codec(self._ffmpeg)
        if codec:
            return FFmpegEncoder(self._ffmpeg, codec, self._spare, size, self._fps)
        if self._sound is not None:
            why = f'{self._ffmpeg} does not work' if self._ffmpeg else 'ffmpeg is not on the PATH'
            print_log(f'{self.path} gets no sound: {why}', 'current', logging.WARNING)
        self._ffmpeg = None
        return OpenCVEncoder(self._spare, size, self._fps)

    def _deliver(self) -> None:
        """From the spare file to the file asked for."""
        if self._ffmpeg:
            self._add_sound()
        if not plays(self._spare):
            raise VideoError(
                f'{self.path} could not be finished: is the disk '
                f'full? What there is of it is {self._spare}'
            )
        if self.path.exists() and not self._overwrite:
            raise WorkDirError(
                f'{self.path} was made by something else meanwhile: the video is {self._spare}'
            )
        force(self._spare)
        os.replace(self._spare, self.path)
        force(self.path.parent)

    def _add_sound(self) -> None:
        """Make the fragments an ordinary file, with sound where there is."""
        out = self._spare.with_suffix('.whole.mp4')
        length = self.frames / self._fps
        problem = remux(self._ffmpeg, self._spare, self._sound, length, out)
        if problem and self._sound is not None:
            print_log(f'{self.path} gets no sound: {problem}', 'current', logging.WARNING)
            problem = remux(self._ffmpeg, self._spare, None, length, out)
        if problem is None:
            os.replace(out, self._spare)
