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
from mmengine.logging import print_log

from ..errors import DatasetError, first_line
from ..utils.files import atomic_write, is_url, shorten_name
from ..utils.images import write_image
from .pose_result import PoseResult
from .video_reader import DEFAULT_FPS, import_av, is_live, is_video, read_video
from .video_writer import DiskFullError, VideoError, VideoWriter

PREDICTIONS = 'predictions.json'
TABLE = 'predictions.csv'
_IMAGES = ('.jpg', '.jpeg', '.png')  # endings that are kept
_VIDEOS = ('.mp4',)


class AnnotatedOutputs:
    """A picture for each picture, and a video with its sound for each video.

    A video that exists is replaced when the new one is whole. What cannot be
    drawn, such as a video whose frames are too large for the codec, is named
    in the log, and its poses are found all the same.

    Args:
        folder: Where they are; it is made when there is something to put in.
        parts: Of the `Inputs`: files and cameras.
        what: `'all'`, `'videos'` or `'none'`.
        style: Arguments of `PoseResult.draw`.

    Attributes:
        names: Of the files, one for each part.
        failures: How many could not be drawn.

    Raises:
        ConfigError: If a video is to be drawn and PyAV is not installed.
    """

    def __init__(self, folder: Path, parts: list[str | int], what: str, style: dict):
        self.folder, self.parts = folder, parts
        self.what, self.style = what, style
        self.names = output_names(parts)
        self.failures = 0
        self._writer: VideoWriter | None = None
        self._failed: int | None = None  # the video that is not drawn
        if self._is_drawn(in_video=True) and any(map(is_video, parts)):
            import_av()  # fails before anything is done

    def __enter__(self) -> 'AnnotatedOutputs':
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None:
            self._writer.__exit__(*error)
            self._writer.discard()
            self._writer = None

    @property
    def paths(self) -> list[Path]:
        """The files that will be written, if there is something to draw."""
        return [
            self.folder / name
            for part, name in zip(self.parts, self.names)
            if self._is_drawn(is_video(part))
        ]

    def _is_drawn(self, in_video: bool) -> bool:
        return self.what == 'all' or (self.what == 'videos' and in_video)

    def close(self) -> None:
        """End the video, if there is one."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._failing(writer.path):
                try:
                    writer.close()
                finally:
                    writer.discard()

    def add(self, result: PoseResult, part: int) -> None:
        """Draw a picture, or the next frame of a video.

        Args:
            result: With its image.
            part: Which of the inputs it is of.
        """
        in_video = result.frame is not None
        if not self._is_drawn(in_video) or (in_video and self._failed == part):
            return
        path = self.folder / self.names[part]
        with self._failing(path):
            picture = result.draw(**self.style)
            if not in_video:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(path, picture)
                return
            self._failed = part  # until the frame is written
            if self._writer is None:
                self._writer = _open(path, self.parts[part], result.size)
            self._writer.write(picture, result.time)
            self._failed = None

    @contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        """Note what cannot be drawn; a full disk is an error."""
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
    """A name for the drawn file of each input, no two the same.

    Folders below the one that all files have in common are kept.

    Args:
        parts: Paths, URLs and numbers of cameras.

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
            path = Path(part.split('?')[0].rstrip('/').split('/')[-1] or 'picture')
        else:
            path = Path(os.path.relpath(part, common))
        endings = _VIDEOS if is_video(part) else _IMAGES
        if path.suffix.lower() not in endings:
            path = path.with_name(path.name + endings[0])
        path = unique = shorten_name(path)
        number = 1
        while unique in used:
            number += 1
            unique = shorten_name(path, f'-{number}')
        used.add(unique)
        names.append(str(unique))
    return names


def write_predictions(path: Path, entries: Iterable[dict]) -> int:
    """Write COCO results, with the name of the file in each.

    Args:
        path: The file; an earlier one is replaced when the new one is whole.
        entries: Of `Journal.entries`.

    Returns:
        How many people.
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
    """Write a table (CSV), one line for each person.

    A name that is not UTF-8 is written as it is, byte by byte; what is no
    text at all (half of a surrogate pair), as `\\ud800`.

    Args:
        path, entries: As for `write_predictions`.
        names: Of the key points.
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
    """A text as it can be written; anything else as it is."""
    if isinstance(value, str):
        try:
            value.encode(errors='surrogateescape')
        except UnicodeEncodeError:
            return value.encode(errors='backslashreplace').decode()
    return value
