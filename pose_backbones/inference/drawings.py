"""Drawn poses in files that are like the inputs."""

import os
from os.path import commonpath
from pathlib import Path

import cv2
import numpy as np

from ..utils.files import is_url, replacing
from .paths import is_live, is_video
from .result import PoseResult
from .video import USUAL_FPS, VideoWriter, read_video

_PICTURES = ('.jpg', '.jpeg', '.png')  # endings that are kept
_VIDEOS = ('.mp4', )


class Drawings:
    """A picture for each picture, and a video with its sound for each video.

    A video that exists is replaced when the new one is whole.

    Args:
        folder: Where they are; it is made when there is something to put in.
        parts: Of the `Inputs`: files and cameras.
        what: `'all'`, `'videos'` or `'none'`.
        style: Arguments of `PoseResult.draw`.
    """

    def __init__(self, folder: Path, parts: list[str | int], what: str,
                 style: dict):
        self.folder, self.parts = folder, parts
        self.what, self.style = what, style
        self.names = picture_names(parts)
        self._writer: VideoWriter | None = None

    def __enter__(self) -> 'Drawings':
        return self

    def __exit__(self, *error) -> None:
        if self._writer is not None:
            self._writer.__exit__(*error)
            self._writer = None

    def close(self) -> None:
        """End the video, if there is one."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def add(self, result: PoseResult, part: int) -> None:
        """Draw a picture, or the next frame of a video.

        Args:
            result: With its image.
            part: Which of the inputs it is of.
        """
        in_video = result.frame is not None
        if self.what == 'none' or (self.what == 'videos' and not in_video):
            return
        path = self.folder / self.names[part]
        picture = result.draw(**self.style)
        if not in_video:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_picture(path, picture)
            return
        if self._writer is None:
            self._writer = _open(path, self.parts[part], result.size)
        self._writer.write(picture)


def _open(path: Path, source: str | int, size: tuple[int, int]
          ) -> VideoWriter:
    if is_live(source):
        return VideoWriter(path, size, USUAL_FPS, overwrite=True)
    with read_video(source) as video:
        rate = video.fps
    sound = None if is_url(source) else source
    return VideoWriter(path, size, rate, sound_from=sound, overwrite=True)


def picture_names(parts: list[str | int]) -> list[str]:
    """A name for the drawn file of each input, no two the same.

    Folders below the one that all files have in common are kept.

    Args:
        parts: Paths, URLs and numbers of cameras.

    Returns:
        Relative paths.
    """
    files = [os.path.abspath(part) for part in parts
             if not isinstance(part, int) and not is_url(part)]
    common = commonpath(map(os.path.dirname, files)) if files else ''
    used, names = set(), []
    for part in parts:
        if isinstance(part, int):
            path = Path(f'camera{part}.mp4')
        elif is_url(part):
            path = Path(part.split('?')[0].rstrip('/').split('/')[-1])
        else:
            path = Path(os.path.relpath(part, common))
        endings = _VIDEOS if is_video(part) else _PICTURES
        if path.suffix.lower() not in endings:
            path = path.with_name(path.name + endings[0])
        unique, number = path, 1
        while unique in used:
            number += 1
            unique = path.with_name(f'{path.stem}-{number}{path.suffix}')
        used.add(unique)
        names.append(str(unique))
    return names


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, whole or not at all.

    Args:
        path: With the ending of a format.
        picture: (H, W, 3), uint8, BGR.

    Raises:
        OSError: If there is no room.
    """
    _, data = cv2.imencode(path.suffix, picture)
    with replacing(path) as draft:
        draft.write_bytes(data.tobytes())
