"""Journal of an inference run on disk, from which the run can be resumed.

jsonlines was considered, but it only reads and writes lines of JSON. The journal also synchronizes
lines to disk, removes a line that was cut off, and resumes a run.
"""

import json
import os
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

from ..errors import WorkDirError, shorten
from ..utils.arguments import is_number
from ..utils.files import fsync
from ..utils.option_values import JOURNAL
from .inputs import Failure, input_name
from .pose_result import PoseResult
from .video_reader import is_video

_KINDS = ('an image', 'a video')


class Journal:
    """JSON Lines file with one line for each processed image, in the order of the inputs.

    A line that is cut off by a full disk is removed at once. A line that is cut off because the
    process was stopped is removed when the journal is opened again.

    Args:
        folder: Directory of the file.
        settings: JSON-serializable settings that determine the results. `inputs` is
            `Inputs.parts`.
        save_every: Number of lines after which the file is synchronized to disk.
        resume: Whether to continue the journal of an earlier run.

    Attributes:
        next_part: Part to continue with, see `Inputs.iterate_from`.
        next_index: Index to continue with, see `Inputs.iterate_from`.
        failures: Number of images that could not be read, including earlier runs.

    Raises:
        FileExistsError: If the file exists and `resume` is not set.
        WorkDirError: If the existing journal has other settings or invalid lines.
    """

    def __init__(self, folder: Path, settings: dict, save_every: int, resume: bool = False):
        self.path = folder / JOURNAL
        self.save_every = save_every
        self.next_part = self.next_index = self.failures = 0
        self._unsaved = 0
        if resume:
            self._reopen(settings)
            return
        self._file = open(self.path, 'xb', buffering=0)
        self._append(settings)
        self.save()
        fsync(folder)  # makes the file name durable

    def _reopen(self, settings: dict) -> None:
        """Check an existing journal, and truncate it after the last complete input."""
        with open(self.path, 'rb') as file:
            _compare(_parse_line(file.readline()), settings, self.path)
            end, failures = file.tell(), 0
            order = _Order(settings['inputs'])
            for number, line in enumerate(iter(file.readline, b''), 2):
                entry = _parse_line(line)
                if entry is None:
                    break
                problem = order.problem(entry) if _is_entry(entry) else 'this tool did not write it'
                if problem:
                    raise WorkDirError(
                        f'--resume: line {number} of {self.path} is invalid: {problem} '
                        f'({_as_json(entry)}): choose another --out'
                    )
                failures += 'error' in entry
                # An incomplete video is written again from its start, and so are its lines.
                if 'frame' not in entry:
                    end, self.failures = file.tell(), failures
                    self.next_part = entry['part'] + 1
                    self.next_index = entry['index'] + 1
        self._file = open(self.path, 'r+b', buffering=0)
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, result: PoseResult, part: int) -> None:
        """Add an image.

        Args:
            result: Poses of the people in the image.
            part: See `Frame`.
        """
        people = result.to_coco()
        entry: dict[str, Any] = dict(index=result.index, part=part, name=result.name, people=people)
        if result.track_ids is not None:
            for person, track in zip(people, result.track_ids):
                person['track_id'] = int(track)
        if result.frame is not None:
            entry.update(frame=result.frame, time=result.time)
        self._append(entry)

    def add_failure(self, failure: Failure) -> None:
        """Add an image, or the rest of a video, that could not be read."""
        self.failures += 1
        entry = dict(
            index=failure.index, part=failure.part, name=failure.name, error=str(failure.error)
        )
        if failure.in_video:
            entry.update(frame=None)
        self._append(entry)

    def end_video(self, part: int, index: int) -> None:
        """Mark a video as complete.

        Args:
            part: Part of the video.
            index: Index of its last image.
        """
        self._append(dict(index=index, part=part, end=True))

    def _append(self, entry: dict) -> None:
        line = json.dumps(entry, allow_nan=False).encode() + b'\n'
        start = self._file.tell()
        try:
            while line:  # a write may end early
                line = line[self._file.write(line) :]
        except BaseException:
            self._file.truncate(start)
            self._file.seek(start)
            raise
        self._unsaved += 1
        if self._unsaved >= self.save_every:
            self.save()

    def save(self) -> None:
        """Synchronize the file to disk."""
        os.fsync(self._file.fileno())
        self._unsaved = 0

    def close(self) -> None:
        """Save and close the file; may be called more than once."""
        if not self._file.closed:
            self.save()
            self._file.close()

    def entries(self) -> Iterator[dict]:
        """Yield the images in the file, including those of earlier runs."""
        with open(self.path, 'rb') as file:
            file.readline()
            for line in file:
                entry = _parse_line(line)
                if entry is not None and not entry.get('end'):
                    yield entry


class _Order:
    """Checks that lines are in order: none is missing, duplicated or from another run.

    Args:
        inputs: `Inputs.parts`.
    """

    def __init__(self, inputs: Sequence[str | int]):
        self._inputs = inputs
        self._part = self._index = 0  # of the next line
        self._first = 0  # index of the first image of the part
        self._values: int | None = None  # number of keypoint values of each person

    def problem(self, entry: dict) -> str | None:
        """Return what is wrong with the next line, or None."""
        if self._part == len(self._inputs):
            return f'there are only {self._part} inputs'
        source, end = self._inputs[self._part], 'end' in entry
        if (entry['part'], entry['index']) != (self._part, self._index - end) or (
            end and self._index == self._first
        ):
            return (
                f'expected part {self._part} and index {self._index}: '
                'a line is missing, duplicated or from another run'
            )
        if not end:
            if ('frame' in entry) != is_video(source):
                return f'{_as_json(source)} is {_KINDS[is_video(source)]}'
            name = input_name(source, entry['index'])
            frame = self._index - self._first
            names = [name, f'{name}, frame {frame}']
            if entry['name'] not in names[: 1 + ('frame' in entry)]:
                return f'the name of this input is {_as_json(name)}'
            if 'frame' in entry and entry['frame'] != (None if 'error' in entry else frame):
                return f'expected frame {frame}'
            for person in entry.get('people', ()):
                count = len(person['keypoints'])
                self._values = self._values or count
                if count % 3 or count != self._values:
                    return (
                        f'a person has {count} keypoint values: '
                        f'expected {self._values}, 3 for each keypoint'
                    )
            self._index += 1
        if end or 'frame' not in entry:
            self._part, self._first = self._part + 1, self._index
        return None


def _parse_line(line: bytes) -> Any:
    """Parse a line; return None if it was cut off."""
    if not line.endswith(b'\n'):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return 'null' if entry is None else entry


def _is_entry(entry: Any) -> bool:
    """Return whether the content of a line has the format that `Journal` writes."""
    if not isinstance(entry, dict) or not all(
        type(entry.get(key)) is int and 0 <= entry[key] < 2**53 for key in ('part', 'index')
    ):
        return False
    if 'end' in entry:
        return entry['end'] is True and len(entry) == 3
    people = entry.get('people', [])
    return (
        isinstance(entry.get('name'), str)
        and isinstance(people, list)
        and ('people' in entry) != isinstance(entry.get('error'), str)
        and (entry.get('frame') is None or type(entry['frame']) is int)
        and (entry.get('time') is None or _are_numbers([entry['time']]))
        and all(map(_is_person, people))
    )


def _is_person(person: Any) -> bool:
    return (
        isinstance(person, dict)
        and type(person.get('image_id')) in (int, str)
        and type(person.get('track_id', 0)) is int
        and _are_numbers(person.get('bbox'), 4)
        and _are_numbers(person.get('keypoints'))
        and len(person['keypoints']) > 0
        and _are_numbers([person.get('score')])
    )


def _are_numbers(values: Any, count: int | None = None) -> bool:
    """Return whether a value is a list of finite numbers, `count` of them if it is given."""
    return (
        isinstance(values, list)
        and count in (None, len(values))
        and all(is_number(value) and -inf < value < inf for value in values)
    )


def _compare(entry: dict | None, settings: dict, path: Path) -> None:
    """Check that the first line of a journal contains the same settings."""
    expected = json.loads(json.dumps(settings))
    if entry == expected:
        return
    if not isinstance(entry, dict):
        raise WorkDirError(f'--resume: {path} does not contain its settings: choose another --out')
    for key in {**expected, **entry}:  # options that are left out if they have their default, too
        value = expected.get(key)
        if entry.get(key) != value:
            raise WorkDirError(
                f'--resume: {path} is from a run with {key} {_as_json(entry.get(key))}, '
                f'but {key} is now {_as_json(value)}: use the same options, or choose another --out'
            )
    raise WorkDirError(
        f'--resume: {path} is from another version of this tool: choose another --out'
    )


def _as_json(value: object) -> str:
    return shorten(json.dumps(value))
