"""Write frames to an MP4 file with the sound of another video, playable even after an error."""

import logging
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from heapq import merge
from itertools import takewhile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.logging import print_log

from ..errors import ConfigError, DatasetError, PoseBackbonesError, WorkDirError, first_line
from ..utils.arguments import check_flag, check_ints, is_number
from ..utils.files import FULL, check_not_input, check_regular_file, fsync
from .video_reader import import_av, open_container

_RESERVE = 16 << 20  # free bytes that are needed to finish a video
#: encoders in order of preference, each with its options for a rate in pixels per second
_ENCODERS = {
    'libx264': lambda rate: {'preset': 'veryfast', 'crf': '18', 'bf': '0'},
    'libopenh264': lambda rate: {'b': str(int(rate * 0.15))},
    'mpeg4': lambda rate: {'q': '3'},
}
#: audio codecs that MP4 players support; others are re-encoded as AAC
_COPIED = ('aac', 'mp3', 'mp2', 'ac3', 'eac3', 'alac', 'opus', 'flac')
#: fragments of a second without an index at the end, so that an incomplete file is playable
_FRAGMENTS = {'movflags': 'empty_moov+default_base_moof', 'frag_duration': '1000000'}
_TICKS = 100  # of the time base, per unit of the frame rate's numerator


class VideoError(PoseBackbonesError, OSError):
    """A video cannot be written."""


class DiskFullError(VideoError):
    """There is not enough disk space to finish a video."""


class VideoWriter:
    """Write frames to an H.264 MP4 file, with the sound of another video.

    The video is written to NAME.partPROCESS.mp4 and renamed by `close`. In a `with` statement, an
    error or Ctrl-C leaves a video of the frames written so far. Audio packets are copied without
    re-encoding if MP4 players support their codec.

    Args:
        path: Path of the file, with the suffix .mp4. Directories are created.
        size: Width and height of the frames in pixels. Codecs require even sizes: an odd size is
            padded by repeating the last column or row.
        fps: Frames per second, for example `Video.fps`.
        sound_from: File whose sound is added, up to the end of the video; None for no sound.
        overwrite: Whether to replace an existing file.

    Attributes:
        frames: Number of frames written.

    Raises:
        TypeError, ValueError: If an argument is invalid.
        ConfigError: If PyAV is not installed.
        DatasetError: If the file `sound_from` does not exist.
        WorkDirError: If the file exists and `overwrite` is not set, or it is `sound_from`.
        VideoError: If the file cannot be created or encoded.
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
                f'sound_from is {str(sound_from)!r}, which is not a file: expected a video or None'
            )
        if self._sound is not None:
            check_regular_file(self._sound, 'sound of')
            check_not_input(self.path, 'path', [self._sound])
        self._av = import_av()
        self._size, self._fps, self.frames = tuple(size), fps, 0
        self._part = self.path.with_suffix(f'.part{os.getpid()}.mp4')
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._output: Any = None
        self._last: int
        self._open()

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.close()
        except PoseBackbonesError as problem:
            if error is None:
                raise
            print_log(str(problem), 'current', logging.WARNING)

    def write(self, frame: np.ndarray, time: float | None = None) -> None:
        """Add a frame.

        Args:
            frame: (H, W, 3), uint8, BGR, with the size of the video.
            time: Time of the frame in seconds from the first frame, later than that of the
                previous frame. None: the time of the previous frame plus 1 / `fps`.

        Raises:
            ValueError: If the shape or type is invalid, or the writer is closed.
            DiskFullError: If the disk is nearly full, but has enough space to finish the video.
            VideoError: If the frame cannot be encoded or written.
        """
        width, height = self._size
        if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f'frame has the shape {frame.shape} and the type {frame.dtype}: expected '
                f'({height}, {width}, 3) and uint8'
            )
        if self._output is None:
            raise ValueError(f'{self.path} is closed: no frame can be added')
        free = shutil.disk_usage(self._part.parent).free
        if free < _RESERVE:
            raise DiskFullError(
                f'{self._part.parent} has {free >> 10} KiB left, but finishing {self.path} needs '
                f'{_RESERVE >> 10} KiB: free up disk space'
            )
        if width % 2 or height % 2:
            frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        coded = self._av.VideoFrame.from_ndarray(frame, format='bgr24')
        step = self._step if self.frames else 0
        ticks = self._last + step if time is None else round(time / self._time_base)
        self._last = coded.pts = max(ticks, self._last + 1)
        coded.time_base = self._time_base
        self._encode(coded)
        self.frames += 1

    def close(self) -> Path | None:
        """Finish the file; may be called more than once.

        Returns:
            The path; None if no frames were written, in which case there is no file.

        Raises:
            WorkDirError: If another process has created a file with this name.
            VideoError: If the file could not be finished.
        """
        if self._output is not None:
            problem = self._finish()
            if not self.frames:
                self._part.unlink(missing_ok=True)
            elif problem is not None:
                raise VideoError(
                    f'{self.path} could not be finished: {first_line(problem)}. The incomplete '
                    f'video is {self._part}'
                ) from problem
            else:
                self._deliver()
        return self.path if self.frames else None

    def discard(self) -> None:
        """Remove the unfinished file, if any."""
        self._part.unlink(missing_ok=True)

    def _check_path(self) -> None:
        if self.path.suffix.lower() != '.mp4':
            raise ConfigError(
                f'path is {str(self.path)!r}: expected an MP4 file with the suffix .mp4'
            )
        if self.path.exists() and not self._overwrite:
            raise WorkDirError(
                f'{self.path} already exists: choose another name, or set overwrite=True'
            )

    def _open(self) -> None:
        """Start the encoder and its file."""
        av = self._av
        width, height = (length + length % 2 for length in self._size)
        rate = max(Fraction(self._fps).limit_denominator(1001), Fraction(1, 1001))
        self._time_base = Fraction(1, rate.numerator * _TICKS)
        self._step, self._last = rate.denominator * _TICKS, -1
        codec = next(name for name in _ENCODERS if name in av.codecs_available)
        self._file = open(self._part, 'wb', buffering=0)
        try:
            self._output = av.open(self._file, 'w', format='mp4', options=_FRAGMENTS)
            options = _ENCODERS[codec](width * height * self._fps)
            self._stream = self._output.add_stream(codec, rate=rate, options=options)
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = 'yuv420p'
            self._stream.codec_context.time_base = self._time_base
            self._output.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            self._file.close()
            self.discard()
            raise VideoError(
                f'{self.path} cannot be written: {codec} does not support {width} x {height} '
                f'pixels at {self._fps:g} frames per second ({first_line(error)}); write images '
                'instead of a video'
            ) from error

    def _encode(self, frame: Any) -> None:
        """Encode a frame (None flushes the encoder), and write the finished packets."""
        try:
            self._output.mux(self._stream.encode(frame))
        except (self._av.FFmpegError, OSError) as error:
            kind = DiskFullError if getattr(error, 'errno', None) in FULL else VideoError
            raise kind(f'{self.path} cannot be written: {first_line(error)}') from error

    def _finish(self) -> Exception | None:
        """Flush the encoder and close the file; return the exception if this failed."""
        problem: Exception | None = None
        try:
            if self.frames:
                self._encode(None)
        except VideoError as error:
            problem = error
        output, self._output = self._output, None
        try:
            output.close()
        except (self._av.FFmpegError, OSError) as error:
            problem = problem or error
        self._file.close()
        return problem

    def _deliver(self) -> None:
        """Convert the fragments to an ordinary file with sound, and rename it to its path."""
        problem = self._remux(self._sound)
        if problem is not None and self._sound is not None:
            print_log(
                f'{self.path} has no sound: {first_line(problem)}', 'current', logging.WARNING
            )
            self._remux(None)  # if this fails as well, the fragmented file is kept
        if self.path.exists() and not self._overwrite:
            raise WorkDirError(
                f'{self.path} was created by another process: the video is {self._part}'
            )
        fsync(self._part)
        os.replace(self._part, self.path)
        fsync(self.path.parent)

    def _remux(self, sound: Path | None) -> Exception | None:
        """Copy the fragments to a file with its index in front; return the exception if any."""
        remuxed = self._part.with_suffix('.whole.mp4')
        try:
            with open(self._part, 'rb') as source, open(remuxed.absolute(), 'w+b') as target:
                self._copy(source, target, sound)
            os.replace(remuxed, self._part)
        except (self._av.FFmpegError, PoseBackbonesError, OSError, ValueError) as error:
            return error
        finally:
            remuxed.unlink(missing_ok=True)
        return None

    def _copy(self, source: Any, target: Any, sound: Path | None) -> None:
        with (
            self._av.open(source) as video,
            self._av.open(target, 'w', format='mp4', options={'movflags': 'faststart'}) as output,
            ExitStack() as stack,
        ):
            frames = video.streams.video[0]
            copy = output.add_stream_from_template(frames)
            packets = [_shifted(_packets(video, frames), copy, _start(frames))]
            if sound is not None:
                file, container = open_container(str(sound))
                stack.enter_context(file)
                stack.enter_context(container)
                length = (self._last + self._step) * self._time_base
                packets.append(
                    takewhile(lambda packet: _seconds(packet) < length, _audio(container, output))
                )
            for packet in merge(*packets, key=_seconds):
                output.mux(packet)


def _audio(container: Any, output: Any) -> Iterator[Any]:
    """Add the audio stream of a container to an output; return its packets from time 0 on."""
    if not container.streams.audio:
        return iter(())
    source = container.streams.audio[0]
    start = _start(container.streams.video[0] if container.streams.video else source)
    if source.codec_context.name.removesuffix('float') in _COPIED:
        target = output.add_stream_from_template(source)
        packets = _packets(container, source)
    else:
        rate = source.codec_context.sample_rate
        rates = import_av().Codec('aac', 'w').audio_rates
        target = output.add_stream('aac', rate=rate if rate in rates else 48_000)
        target.layout = 'mono' if source.codec_context.channels == 1 else 'stereo'
        packets = _encoded(container, source, target)
    return (packet for packet in _shifted(packets, target, start) if packet.pts >= 0)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream that have time stamps, up to the first error."""
    with suppress(import_av().FFmpegError):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                yield packet


def _encoded(container: Any, source: Any, target: Any) -> Iterator[Any]:
    """Re-encode a stream for another stream, and yield the packets."""
    for frame in _decoded(container, source):
        yield from target.encode(frame)
    yield from target.encode(None)


def _decoded(container: Any, source: Any) -> Iterator[Any]:
    with suppress(import_av().FFmpegError):
        yield from container.decode(source)


def _shifted(packets: Iterator[Any], stream: Any, start: Fraction) -> Iterator[Any]:
    """Assign packets to another stream, with times relative to `start` in seconds."""
    for packet in packets:
        offset = round(start / packet.time_base)
        packet.pts -= offset
        packet.dts -= offset
        packet.stream = stream
        yield packet


def _start(stream: Any) -> Fraction:
    """Return the time of a stream's first packet, in seconds."""
    return (stream.start_time or 0) * stream.time_base


def _seconds(packet: Any) -> Fraction:
    """Return the time at which a packet is decoded, in seconds."""
    return packet.dts * packet.time_base
