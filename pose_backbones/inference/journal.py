"""Keep a journal of a run on the disk, from which it can be resumed.

jsonlines was considered, but it only reads and writes lines of JSON. The journal also synchronizes
each line to the disk, removes a line that was cut off, and resumes a run.
"""

import json
import os
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

from ..errors import WorkDirError
from ..utils.arguments import is_number
from ..utils.files import fsync
from .inputs import Failure, input_name
from .pose_result import PoseResult
from .video_reader import is_video

JOURNAL = 'journal.jsonl'
_KINDS = ('a picture', 'a video')


class Journal:
    """A line of JSON for each picture that is done, in their order.

    What is on the disk is whole at any time: a line that was cut off by a
    stop or a full disk is taken away when the journal is opened again, or at
    once.

    Args:
        folder: Where it is.
        settings: What the lines depend on, for `json.dumps`; `inputs` are
            the parts of the `Inputs`.
        save_every: After how many lines they are forced to the disk.
        resume: Whether to go on behind the lines of an earlier run.

    Attributes:
        next_part, next_index: Where to go on, see `Inputs.iterate_from`.
        failures: How many pictures could not be read, of all runs.

    Raises:
        FileExistsError: If there is one, and `resume` is not set.
        WorkDirError: If the one to go on with is of other settings, or has
            lines that such a run would not have written.
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
        fsync(folder)  # the name, too

    def _reopen(self, settings: dict) -> None:
        """Check the settings, and cut off what is to be done again."""
        with open(self.path, 'rb') as file:
            _compare(_parse_line(file.readline()), settings, self.path)
            end, failures = file.tell(), 0
            order = _Order(settings['inputs'])
            for number, line in enumerate(iter(file.readline, b''), 2):
                entry = _parse_line(line)
                if entry is None:
                    break
                problem = 'it is not of this tool' if not _is_entry(entry) else order.problem(entry)
                if problem:
                    raise WorkDirError(
                        f'--resume: line {number} of {self.path} cannot be '
                        f'gone on with: {problem} ({_short(entry)}): choose '
                        'another --out'
                    )
                failures += 'error' in entry
                # A video is written anew, so that its lines are as well.
                if 'frame' not in entry:
                    end, self.failures = file.tell(), failures
                    self.next_part = entry['part'] + 1
                    self.next_index = entry['index'] + 1
        self._file = open(self.path, 'r+b', buffering=0)
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, result: PoseResult, part: int) -> None:
        """Add a picture.

        Args:
            result: Its people.
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
        """Add a picture, or the rest of a video, that could not be read."""
        self.failures += 1
        entry = dict(
            index=failure.index, part=failure.part, name=failure.name, error=str(failure.error)
        )
        if failure.in_video:
            entry.update(frame=None)
        self._append(entry)

    def end_video(self, part: int, index: int) -> None:
        """Note that a video is whole.

        Args:
            part: The video.
            index: Of its last picture.
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
        """Force the lines to the disk."""
        os.fsync(self._file.fileno())
        self._unsaved = 0

    def close(self) -> None:
        """Save and close; more often than once is fine."""
        if not self._file.closed:
            self.save()
            self._file.close()

    def entries(self) -> Iterator[dict]:
        """The pictures on the disk, of all runs."""
        with open(self.path, 'rb') as file:
            file.readline()
            for line in file:
                entry = _parse_line(line)
                if entry is not None and not entry.get('end'):
                    yield entry


class _Order:
    """Whether lines are those of a run: none missing, double or of another.

    Args:
        inputs: Parts of the `Inputs`.
    """

    def __init__(self, inputs: Sequence[str | int]):
        self._inputs = inputs
        self._part = self._index = 0  # what comes next
        self._first = 0  # picture of the part
        self._values: int | None = None  # of each person's key points

    def problem(self, entry: dict) -> str | None:
        """What is wrong with a line behind those before it, if anything."""
        if self._part == len(self._inputs):
            return f'there are only {self._part} inputs'
        source, end = self._inputs[self._part], 'end' in entry
        if (entry['part'], entry['index']) != (self._part, self._index - end) or (
            end and self._index == self._first
        ):
            return (
                f'expected part {self._part} and index {self._index}, as '
                'a line is missing, double, or of another run'
            )
        if not end:
            if ('frame' in entry) != is_video(source):
                return f'{_short(source)} is {_KINDS[is_video(source)]}'
            name = input_name(source, entry['index'])
            frame = self._index - self._first
            names = [name, f'{name}, frame {frame}']
            if entry['name'] not in names[: 1 + ('frame' in entry)]:
                return f'the name of this input is {_short(name)}'
            if 'frame' in entry and entry['frame'] != (None if 'error' in entry else frame):
                return f'expected frame {frame}'
            for person in entry.get('people', ()):
                count = len(person['keypoints'])
                self._values = self._values or count
                if count % 3 or count != self._values:
                    return (
                        f'a person has {count} values of key points: '
                        f'expected {self._values}, 3 for each'
                    )
            self._index += 1
        if end or 'frame' not in entry:
            self._part, self._first = self._part + 1, self._index
        return None


def _parse_line(line: bytes) -> Any:
    """A line's content; None if it was cut off."""
    if not line.endswith(b'\n'):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return 'null' if found is None else found


def _is_entry(entry: Any) -> bool:
    """Whether a line's content is as `Journal` writes it."""
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
    """Whether it is a list of so many finite numbers."""
    return (
        isinstance(values, list)
        and count in (None, len(values))
        and all(is_number(value) and -inf < value < inf for value in values)
    )


def _compare(found: dict | None, settings: dict, path: Path) -> None:
    expected = json.loads(json.dumps(settings))
    if found == expected:
        return
    if not isinstance(found, dict):
        raise WorkDirError(f'--resume: {path} does not say what it is of: choose another --out')
    for key, value in expected.items():
        if found.get(key) != value:
            raise WorkDirError(
                f'--resume: {path} is of a run with {key} '
                f'{_short(found.get(key))}, and now it is {_short(value)}: '
                'go on with the same options, or choose another --out'
            )
    raise WorkDirError(f'--resume: {path} is of another version of this tool: choose another --out')


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f'{text[:77]}…'
