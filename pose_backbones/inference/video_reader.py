"""Read the frames of video files, streams and cameras one at a time.

Files and URLs are decoded by PyAV (the extra `pose_backbones[video]`), cameras by OpenCV.
"""

import errno
import logging
import math
import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import cv2
import numpy as np
from mmengine.logging import print_log

from ..errors import ConfigError, DatasetError
from ..utils.files import is_url, open_regular
from ..utils.images import MAX_PIXELS, MAX_SIDE

DEFAULT_FPS = 25.0  # for sources that do not state their frame rate
VIDEO_SUFFIXES = frozenset(
    '.avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv'.split()
)
#: URL schemes of live streams
STREAM_SCHEMES = frozenset('mms rtmp rtmps rtp rtsp rtsps srt tcp udp'.split())

#: FFmpeg demuxers that may open a local file. None of them opens other files that are named in
#: the file, unlike the demuxers of playlists and scripts (HLS, DASH, SDP, ffconcat).
_FORMATS = (
    'mov,matroska,webm,avi,flv,mpeg,mpegts,asf,ogg,mxf,dv,rm,mp3,wav,flac,aac,ac3,amr,aiff,au,'
    'w64,caf,gif,h264,hevc,m4v,mpegvideo,ivf,yuv4mpegpipe'
)
#: FFmpeg protocols for URLs and for the entries of playlists at URLs; local files are excluded
_PROTOCOLS = 'http,https,httpproxy,tls,tcp,udp,rtp,rtsp,rtsps,rtmp,rtmps,mms,mmsh,srt,crypto,data'
#: demuxers of formats with a stated duration, not one that is estimated from the file size
_STATED_DURATION = ('mov', 'matroska', 'flv', 'asf', 'avi')
_TIMEOUT = 30.0  # seconds to wait for an answer from a server
_SLACK = 0.25  # seconds by which a complete Matroska file may be shorter than stated
_COMPLETE = 0.9  # fraction of the announced frames below which a warning is logged


def import_av() -> ModuleType:
    """Import PyAV.

    Raises:
        ConfigError: If it is not installed. The message contains the command to install it.
    """
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            f"reading and writing videos needs PyAV: pip install 'pose_backbones[video]' ({error})"
        ) from error
    return av


def _metadata_options(av: ModuleType) -> dict[str, str]:
    """Return the option with which metadata that is not UTF-8 raises no error before PyAV 19."""
    return {} if int(av.__version__.partition('.')[0]) >= 19 else {'metadata_errors': 'replace'}


def is_live(source: Any) -> bool:
    """Return whether an input is a camera number or the URL of a live stream."""
    return isinstance(source, int) or (
        is_url(source) and source.partition('://')[0].lower() in STREAM_SCHEMES
    )


def is_video(source: Any) -> bool:
    """Return whether an input is live or has the file suffix of a video."""
    if is_live(source):
        return True
    path = urlsplit(source).path if is_url(source) else source
    return isinstance(path, str) and Path(path).suffix.lower() in VIDEO_SUFFIXES


def open_container(path: str) -> tuple[BinaryIO, Any]:
    """Open a local media file with PyAV, without access to any other file.

    Args:
        path: Path of a regular file.

    Returns:
        The open file and PyAV's input container on it. The caller must close both.

    Raises:
        ConfigError: If PyAV is not installed.
        DatasetError: If it is not a regular file, or not a container of a supported format.
    """
    av = import_av()
    file = open_regular(path, 'video')
    options = {'fd': str(file.fileno()), 'format_whitelist': _FORMATS, 'protocol_whitelist': 'fd'}
    try:
        return file, av.open('fd:', options=options, **_metadata_options(av))
    except (av.FFmpegError, OSError, ValueError) as error:
        file.close()
        if getattr(error, 'errno', None) == errno.EINVAL and os.path.getsize(path):
            # FFmpeg knows the format, but it is not one of `_FORMATS`.
            raise DatasetError(
                f'{path} is not a video but a playlist, a script, or another type of file: '
                'pass the videos themselves'
            ) from error
        raise DatasetError(
            f'{path} cannot be opened as a video: it is not a video, or its end with the '
            f'index is missing: {_advice(path)}'
        ) from error


def _open_url(url: str) -> Any:
    """Open a URL with PyAV, without access to local files."""
    av = import_av()
    options = {'protocol_whitelist': _PROTOCOLS, 'rtsp_transport': 'tcp'}
    try:
        return av.open(url, options=options, timeout=_TIMEOUT, **_metadata_options(av))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DatasetError(f'{url} cannot be opened as a video: {_advice(url)}') from error


def read_video(source: str | os.PathLike | int) -> 'Video':
    """Open a video file, a stream or a camera.

    Args:
        source: A path, a URL, or a camera number, from 0.

    Returns:
        The video, which can be iterated over once.

    Raises:
        TypeError: If `source` has another type.
        ConfigError: If PyAV is needed and not installed.
        DatasetError: If the source cannot be opened or has no frames.
    """
    if isinstance(source, bool) or not isinstance(source, (str, os.PathLike, int)):
        raise TypeError(
            f'source is {source!r}: expected the path or URL of a video, or a camera number'
        )
    return _Camera(source) if isinstance(source, int) else Video(os.fspath(source))


class Video:
    """Iterator over the upright frames of a video file, stream or camera.

    Iteration yields tuples (index, time, frame). `index` counts from 0. `time` is in seconds and
    always increases: the time stamp in the file, or for live sources the time since the first
    frame. `frame` is (H, W, 3), uint8, BGR. The source is closed at the end of the iteration and
    after an error. Use a `with` statement to stop earlier.

    Attributes:
        name: The path or URL, or 'camera 0'.
        size: Width and height of the frames in pixels.
        fps: Frames per second; the mean if the rate varies.
        frame_count: Number of frames according to the file, which may be inexact; None if it is
            unknown.

    Raises:
        DatasetError: See `read_video`. Iteration raises it after the last readable frame if the
            file is truncated or a live source stops.
    """

    def __init__(self, source: str | int) -> None:
        self._source, self._live = source, is_live(source)
        self.name = f'camera {source}' if isinstance(source, int) else source
        self._advice = _advice(source)
        self.fps, self.frame_count = math.nan, None
        self._closed = False
        self._undecodable = 0
        self._is_cut = self._demux_failed = False
        self._end = -math.inf  # seconds, of the last packet of any stream
        try:
            self._open()
            self._frames = self._read()
            self._first = next(self._frames, None)
            if self._first is None:
                raise DatasetError(f'{self.name} has no frames: {self._advice}')
        except BaseException:
            self.close()
            raise
        self._opened = time.monotonic()
        self.size = self._first[1].shape[1::-1]
        if not (math.isfinite(self.fps) and self.fps > 0):
            self.fps = DEFAULT_FPS
            self._warn(f'does not state its frame rate: assuming {DEFAULT_FPS:g} frames per second')

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        item, self._first = self._first, None
        if item is None:
            raise RuntimeError(
                f'{self.name} has already been read or closed: open it again with read_video'
            )
        index, now = 0, -math.inf
        with self:
            while item is not None:
                stamp, frame = item
                if self._live:
                    stamp = time.monotonic() - self._opened if index else 0.0
                now = increasing_time(stamp, now, self.fps)
                yield index, now, frame
                if self._closed:
                    return
                item = next(self._frames, None)
                index += 1
            self._check_end(index, now)

    def __enter__(self) -> 'Video':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file or release the camera; may be called more than once."""
        self._first, self._closed = None, True
        for resource in (self._container, self._file):
            if resource is not None:
                resource.close()

    _container: Any = None
    _file: BinaryIO | None = None

    def _open(self) -> None:
        """Open the source, and check the size of its frames before the first is decoded."""
        source = str(self._source)  # cameras override this method
        if is_url(source):
            self._container = _open_url(source)
        else:
            self._file, self._container = open_container(source)
        streams = self._container.streams.video
        context = streams[0].codec_context if streams else None
        if context is None:
            raise DatasetError(
                f'{self.name} cannot be opened as a video: it has no video stream with a known '
                f'codec, or its end with the index is missing: {self._advice}'
            )
        self._stream = streams[0]
        width, height = context.width, context.height
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            raise DatasetError(
                f'{self.name} has frames of {width} x {height} pixels: expected at most '
                f'{MAX_PIXELS:,} pixels, and {MAX_SIDE:,} per side'
            )
        # Frames may be larger than stated in the header. FFmpeg also counts their padding.
        context.options = {'max_pixels': str(MAX_PIXELS + 256 * MAX_SIDE)}
        if self._live:
            self.fps = float(self._stream.guessed_rate or math.nan)
            return
        self._stream.thread_type = 'AUTO'  # frame threads, which would delay a live stream
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or math.nan)
        self._seconds = None
        if self._container.format.name.startswith(_STATED_DURATION) and self._container.duration:
            self._seconds = self._container.duration / 1e6
        self.frame_count = self._stream.frames or None
        if self.frame_count is None and self._seconds and math.isfinite(self.fps):
            self.frame_count = round(self._seconds * self.fps)

    def _read(self) -> Iterator[tuple[float | None, np.ndarray]]:
        """Yield times in seconds and frames (H, W, 3), uint8, BGR; skip undecodable packets."""
        av = import_av()
        start = self._stream.start_time or 0
        for packet in chain(self._packets(), [None]):  # None flushes the decoder
            try:
                for frame in self._stream.decode(packet):
                    stamp = None if frame.pts is None else frame.pts - start
                    seconds = stamp and float(stamp * self._stream.time_base)
                    yield seconds, np.ascontiguousarray(_upright(frame))
            except av.FFmpegError:
                self._undecodable += 1
                self._is_cut = True
            else:
                self._is_cut = self._is_cut and packet is None

    def _packets(self) -> Iterator[Any]:
        """Yield the packets of the video stream, except an incomplete last one."""
        av = import_av()
        packets, held = self._container.demux(), None
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # a part of the file that is in the index is missing
                packet, self._demux_failed = None, True
            if packet is None:
                self._demux_failed |= held is not None
                return
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self._end = max(self._end, end)
            if packet.stream.index == self._stream.index and packet.size:
                if held is not None:
                    yield held
                held = packet if packet.is_corrupt else None
                if held is None:
                    yield packet

    def _check_end(self, count: int, now: float) -> None:
        """Raise an exception or log a warning if frames are missing at the end."""
        if self._live:
            raise DatasetError(f'{self.name} stopped after {count} frames: {self._advice}')
        read = f'{count} of {self.frame_count}' if self.frame_count else f'{count}'
        # The end of a Matroska file may be missing without any error.
        is_matroska = self._container.format.name.startswith('matroska')
        missing_seconds = (self._seconds or -math.inf) - self._end if is_matroska else 0
        if self._is_cut or self._demux_failed or missing_seconds > max(_SLACK, 2 / self.fps):
            raise DatasetError(
                f'{self.name}: read {read} frames, up to {now:.2f} s, because the end of the file '
                f'is missing or damaged: {self._advice}'
            )
        if self._undecodable:
            read += f' frames, and {self._undecodable} packets could not be decoded'
        elif count < _COMPLETE * (self.frame_count or 0):
            read += ' frames'
        else:
            return
        self._warn(f'may be damaged: read {read}')

    def _warn(self, text: str) -> None:
        print_log(f'{self.name} {text}', 'current', logging.WARNING)


class _Camera(Video):
    """The frames of a camera, read by OpenCV."""

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(self._source)
        if not self._capture.isOpened():
            raise DatasetError(f'{self.name} cannot be opened as a video: {self._advice}')
        self.fps = self._capture.get(cv2.CAP_PROP_FPS)

    def _read(self) -> Iterator[tuple[float | None, np.ndarray]]:
        while (read := self._capture.read())[0]:
            yield None, read[1]

    def close(self) -> None:
        super().close()
        self._capture.release()


def increasing_time(stamp: float | None, before: float, fps: float) -> float:
    """Return the time stamp of a frame, or if it does not increase, the estimated time.

    Args:
        stamp: Time stamp in seconds; None or not finite if the file has none.
        before: Time of the previous frame in seconds; minus infinity for the first frame.
        fps: Frames per second. The estimated time is one frame after the previous one.
    """
    if stamp is not None and math.isfinite(stamp) and stamp > before:
        return stamp
    return max(before + 1 / fps, 0.0)


def _upright(frame: Any) -> np.ndarray:
    """Convert a frame to BGR, rotated and mirrored by its display matrix.

    The matrix (ISO/IEC 14496-12, 6.2.2) maps x, y to a x + c y, b x + d y; only multiples of 90
    degrees are applied.
    """
    image = frame.to_ndarray(format='bgr24')
    matrix = frame.side_data.get('DISPLAYMATRIX')
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if b and c and not a and not d:
        image, a, d = image.transpose(1, 0, 2), c, b
    elif b or c or not a or not d:
        return image
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _advice(source: str | int) -> str:
    if isinstance(source, int):
        return 'check that it is connected and not in use by another program'
    if is_url(source):
        return 'check that the URL is correct and reachable'
    return 'get the file again, or convert it with ffmpeg'
