"""Export results: COCO results, a table of keypoints, and annotated images and videos."""

import csv
import errno
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os.path import commonpath
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.logging import print_log

from ..errors import DatasetError, first_line
from ..utils.files import atomic_write, is_url, shorten_name
from ..utils.images import write_image
from .pose_result import PoseResult
from .video_reader import DEFAULT_FPS, import_av, is_live, is_video, read_video
from .video_writer import DiskFullError, VideoError, VideoWriter

_IMAGES = ('.jpg', '.jpeg', '.png')  # suffixes that are kept
_VIDEOS = ('.mp4',)


class AnnotatedOutputs:
    """Write an annotated image for each image, and an annotated video with sound for each video.

    An existing video is replaced once the new one is complete. If an input cannot be drawn, for
    example a video whose frames are too large for the codec, a warning is logged and its poses
    are still estimated.

    Args:
        folder: Output directory, which is created when the first file is written.
        parts: `Inputs.parts`: files and camera numbers.
        what: `'all'`, `'videos'` or `'none'`.
        style: Arguments of `PoseResult.draw`.

    Attributes:
        names: Names of the output files, one for each part.
        failures: Number of images and videos that could not be drawn.
        keypoints: Number of keypoints of the results that were drawn, with those below the
            threshold.
        drawn: Number of keypoints that are not below the threshold.

    Raises:
        ConfigError: If a video is to be drawn and PyAV is not installed.
    """

    def __init__(self, folder: Path, parts: list[str | int], what: str, style: dict):
        self.folder, self.parts = folder, parts
        self.what, self.style = what, style
        self.names = output_names(parts)
        self.failures = self.keypoints = self.drawn = 0
        self._writer: VideoWriter | None = None
        self._failed: int | None = None  # part of the video that cannot be drawn
        if self._is_drawn(in_video=True) and any(map(is_video, parts)):
            import_av()  # fail before any pose is estimated

    def __enter__(self) -> 'AnnotatedOutputs':
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None:
            self._writer.__exit__(*error)
            self._writer.discard()
            self._writer = None

    @property
    def paths(self) -> list[Path]:
        """Paths of all files that may be written."""
        return [
            self.folder / name
            for part, name in zip(self.parts, self.names)
            if self._is_drawn(is_video(part))
        ]

    def _is_drawn(self, in_video: bool) -> bool:
        return self.what == 'all' or (self.what == 'videos' and in_video)

    def close(self) -> None:
        """Finish the current video, if any."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._failing(writer.path):
                try:
                    writer.close()
                finally:
                    writer.discard()

    def add(self, result: PoseResult, part: int) -> None:
        """Draw an image, or the next frame of a video.

        Args:
            result: The poses, with the image.
            part: Index of the input in `parts`.
        """
        in_video = result.frame is not None
        if not self._is_drawn(in_video) or (in_video and self._failed == part):
            return
        path = self.folder / self.names[part]
        with self._failing(path):
            drawn = result.draw(**self.style)
            self.keypoints += result.scores.size
            self.drawn += int(np.sum(result.scores >= self.style['threshold']))
            if not in_video:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(path, drawn)
                return
            self._failed = part  # reset once the frame is written
            if self._writer is None:
                self._writer = _open(path, self.parts[part], result.size)
            self._writer.write(drawn, result.time)
            self._failed = None

    @contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        """Log and count what cannot be drawn; raise if the disk is full."""
        try:
            yield
        except DiskFullError:
            raise
        except (VideoError, DatasetError, ValueError, cv2.error) as error:
            problem: Exception = error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            problem = error
        else:
            return
        self.failures += 1
        print_log(f'not drawn: {path}: {first_line(problem)}', 'current', logging.WARNING)


def _open(path: Path, source: str | int, size: tuple[int, int]) -> VideoWriter:
    if is_live(source):
        return VideoWriter(path, size, DEFAULT_FPS, overwrite=True)
    with read_video(source) as video:
        rate = video.fps
    sound = source if isinstance(source, str) and not is_url(source) else None
    return VideoWriter(path, size, rate, sound_from=sound, overwrite=True)


def output_names(parts: list[str | int]) -> list[str]:
    """Return a unique output file name for each input.

    The directory structure below the common parent directory of all files is kept.

    Args:
        parts: Paths, URLs and camera numbers.

    Returns:
        Relative paths.
    """
    files = [
        os.path.abspath(part) for part in parts if not isinstance(part, int) and not is_url(part)
    ]
    common = commonpath(map(os.path.dirname, files)) if files else ''
    used, names = set(), []
    for part in parts:
        if isinstance(part, int):
            path = Path(f'camera{part}.mp4')
        elif is_url(part):
            path = Path(part.split('?')[0].rstrip('/').split('/')[-1] or 'image')
        else:
            path = Path(os.path.relpath(part, common))
        suffixes = _VIDEOS if is_video(part) else _IMAGES
        if path.suffix.lower() not in suffixes:
            path = path.with_name(path.name + suffixes[0])
        path = unique = shorten_name(path)
        number = 1
        while unique in used:
            number += 1
            unique = shorten_name(path, f'-{number}')
        used.add(unique)
        names.append(str(unique))
    return names


def write_predictions(path: Path, entries: Iterable[dict]) -> int:
    """Write COCO results, with the file name of the image in each record.

    Args:
        path: Path of the file. An existing file is replaced once the new one is complete.
        entries: Entries of `Journal.entries`.

    Returns:
        The number of people.
    """
    count = 0
    with atomic_write(path) as draft, open(draft, 'w', newline='', encoding='utf-8') as file:
        file.write('[')
        for entry in entries:
            for person in entry.get('people', ()):
                record = {**person, 'file_name': entry['name']}
                file.write((',\n' if count else '\n') + json.dumps(record))
                count += 1
        file.write('\n]\n')
    return count


def write_table(path: Path, entries: Iterable[dict], names: Sequence[str]) -> None:
    """Write the keypoints as a CSV table, one row per person.

    File names that are not valid UTF-8 are written with their original bytes. Lone surrogates are
    escaped, for example as `\\ud800`.

    Args:
        path: See `write_predictions`.
        entries: See `write_predictions`.
        names: Names of the keypoints.
    """
    columns = [
        'file_name',
        'image_id',
        'person',
        'track_id',
        'frame',
        'time',
        'score',
        'left',
        'top',
        'width',
        'height',
    ]
    for name in names:
        columns += [f'{name}_x', f'{name}_y', f'{name}_score']
    with (
        atomic_write(path) as draft,
        open(draft, 'w', newline='', encoding='utf-8', errors='surrogateescape') as file,
    ):
        table = csv.writer(file)
        table.writerow(columns)
        for entry in entries:
            for number, person in enumerate(entry.get('people', ())):
                table.writerow(
                    [
                        _text(entry['name']),
                        _text(person['image_id']),
                        number,
                        person.get('track_id'),
                        entry.get('frame'),
                        entry.get('time'),
                        person['score'],
                        *person['bbox'],
                        *person['keypoints'],
                    ]
                )


def _text(value: object) -> object:
    """Escape a string that cannot be encoded; return any other value unchanged."""

    if isinstance(value, str):
        try:
            value.encode(errors='surrogateescape')
        except UnicodeEncodeError:
            return value.encode(errors='backslashreplace').decode()
    return value
