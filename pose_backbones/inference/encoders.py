"""Frames to an MP4 file: by ffmpeg where there is one, else by OpenCV."""

import subprocess
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ..errors import PoseBackbonesError

#: demuxers for sound: none of them opens a file that another one names
_SOUND = (
    'mov,matroska,webm,avi,flv,mpeg,mpegts,asf,ogg,mxf,dv,rm,mp3,wav,'
    'flac,aac,ac3,amr,aiff,au,w64,caf,gif,h264,hevc,m4v,mpegvideo,ivf'
)
_QUIET = ('-hide_banner', '-loglevel', 'error', '-y')


class VideoError(PoseBackbonesError, OSError):
    """A video cannot be written."""


class DiskFullError(VideoError):
    """There is too little room to finish a video."""


class FFmpegEncoder:
    """Frames to a fragmented MP4 file through a pipe to ffmpeg.

    Fragments of a second make a file that plays however it ends. ffmpeg runs
    in a session of its own, so that Ctrl-C does not reach it; when this
    process is killed it finishes the file and ends.

    Args:
        ffmpeg: The program.
        codec: One that `find_codec` has found.
        path: Of the file.
        size: Width and height in pixels, both even.
        fps: Frames a second.
    """

    def __init__(
        self, ffmpeg: str, codec: str, path: Path, size: tuple[int, int], fps: float
    ) -> None:
        rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
        quality = {
            'libx264': ('-preset', 'veryfast', '-crf', '18'),
            'libopenh264': ('-b:v', str(int(size[0] * size[1] * fps * 0.15))),
            'mpeg4': ('-q:v', '3'),
        }[codec]
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [
                ffmpeg,
                *_QUIET,
                *_raw(size),
                '-r',
                str(rate),
                '-i',
                'pipe:0',
                '-c:v',
                codec,
                *quality,
                '-pix_fmt',
                'yuv420p',
                '-movflags',
                '+empty_moov+default_base_moof',
                '-frag_duration',
                '1000000',
                '-f',
                'mp4',
                f'file:{path.absolute()}',
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
        )

    def write(self, frame: np.ndarray) -> None:
        """Add a frame.

        Args:
            frame: (H, W, 3), uint8, BGR.

        Raises:
            VideoError: If ffmpeg has stopped, with what it said.
        """
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            raise VideoError(f'ffmpeg has stopped: {self._said()}') from None

    def finish(self) -> str | None:
        """End the file; returns what went wrong, if anything did."""
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # its exit status tells
        failed = self._process.wait()
        said = self._said() if failed else None
        self._log.close()
        return said

    def _said(self) -> str:
        """The last of ffmpeg's messages."""
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors='replace').split('\n')
        lines = [line.strip() for line in lines if line.strip()]
        return lines[-1] if lines else (f'exit status {self._process.returncode}')


class OpenCVEncoder:
    """Frames to an MP4 file with the codecs that OpenCV was built with.

    Args:
        path, size, fps: See `FFmpegEncoder`; the rate is rounded to 0.01,
            since MPEG-4 counts time in less than 65,536 ticks a second.

    Raises:
        VideoError: If there is no codec or the file cannot be made.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        for codec in ('mp4v', 'avc1'):
            self._writer = cv2.VideoWriter(
                str(path.absolute()), cv2.VideoWriter_fourcc(*codec), max(round(fps, 2), 0.01), size
            )
            if self._writer.isOpened():
                return
        raise VideoError(
            f'{path} cannot be written: OpenCV has neither of the codecs '
            'mp4v and avc1, or refuses '
            f'{size[0]} x {size[1]} pixels at {fps:g} frames a second; '
            'install ffmpeg, or write pictures instead of a video'
        )

    def write(self, frame: np.ndarray) -> None:
        """Add a frame.

        Args:
            frame: (H, W, 3), uint8, BGR.
        """
        self._writer.write(frame)

    def finish(self) -> None:
        """End the file."""
        self._writer.release()


@cache
def find_codec(ffmpeg: str) -> str | None:
    """The best codec that a program ffmpeg has, tried on one frame.

    Args:
        ffmpeg: The program.

    Returns:
        One of H.264, else MPEG-4; None if the program does not work.
    """
    for codec in ('libx264', 'libopenh264', 'mpeg4'):
        try:
            run = subprocess.run(
                [
                    ffmpeg,
                    *_QUIET,
                    *_raw((64, 64)),
                    '-i',
                    'pipe:0',
                    '-c:v',
                    codec,
                    '-pix_fmt',
                    'yuv420p',
                    '-f',
                    'null',
                    '-',
                ],
                input=bytes(64 * 64 * 3),
                capture_output=True,
                timeout=30,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if not run.returncode:
            return codec
    return None


def remux(ffmpeg: str, video: Path, sound: Path | None, seconds: float, out: Path) -> str | None:
    """Copy a video to an MP4 file with its index in front, and add sound.

    The sound becomes AAC, which is what players of MP4 files know.

    Args:
        ffmpeg: The program.
        video: With the frames.
        sound: File of whose sound the beginning is taken; one without sound
            does no harm.
        seconds: The video's length.
        out: The new file; it is not left behind if that fails.

    Returns:
        What ffmpeg had to say if it failed.
    """
    inputs = ['-i', f'file:{video.absolute()}']
    if sound is not None:
        inputs += [
            '-protocol_whitelist',
            'file',
            '-format_whitelist',
            _SOUND,
            '-i',
            f'file:{sound.absolute()}',
            '-map',
            '0:v',
            '-map',
            '1:a?',
            '-c:a',
            'aac',
            '-b:a',
            '192k',
        ]
    done = False
    try:
        run = subprocess.run(
            [
                ffmpeg,
                *_QUIET,
                '-nostdin',
                *inputs,
                '-c:v',
                'copy',
                '-t',
                f'{seconds:.6f}',
                '-movflags',
                '+faststart',
                '-f',
                'mp4',
                f'file:{out.absolute()}',
            ],
            capture_output=True,
            start_new_session=True,
        )
        done = not run.returncode
    finally:
        if not done:
            out.unlink(missing_ok=True)
    lines = run.stderr.decode(errors='replace').strip().split('\n')
    return None if done else lines[-1]


def plays(path: Path) -> bool:
    """Whether a file can be opened as a video and has a frame."""
    capture = cv2.VideoCapture(str(path.absolute()))
    try:
        return capture.grab()
    finally:
        capture.release()


def _raw(size: tuple[int, int]) -> tuple[str, ...]:
    """How ffmpeg is told of frames in OpenCV's layout."""
    return ('-f', 'rawvideo', '-pix_fmt', 'bgr24', '-video_size', f'{size[0]}x{size[1]}')
