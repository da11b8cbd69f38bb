"""Tests of the journal: completeness, resuming and invalid lines."""

import errno
import json

import pytest

from pose_backbones.errors import WorkDirError
from pose_backbones.inference.journal import Journal
from tests.helpers.journal_cases import PERSON, SETTINGS, VIDEO, entry, failure, result


def lines(journal: Journal) -> list[dict]:
    return [json.loads(line) for line in journal.path.read_text().split('\n') if line]


def test_resume_after_complete_lines(tmp_path):
    journal = Journal(tmp_path, SETTINGS, 1)
    journal.add(result(0), 0)
    journal.add_failure(failure(1, 1))
    complete_bytes = journal.path.read_bytes()
    journal.add(result(2), 2)
    journal.close()
    data = journal.path.read_bytes()
    journal.path.write_bytes(data[:-1])  # without the line break
    resumed = Journal(tmp_path, SETTINGS, 1, resume=True)
    assert (resumed.next_part, resumed.next_index, resumed.failures) == (2, 2, 1)
    assert resumed.path.read_bytes() == complete_bytes
    resumed.add(result(2), 2)
    resumed.close()
    assert resumed.path.read_bytes() == data
    assert [item['index'] for item in resumed.entries()] == [0, 1, 2]


@pytest.mark.parametrize('damaged', [False, True])
def test_incomplete_videos_are_repeated(tmp_path, damaged):
    journal = Journal(tmp_path, VIDEO, 10)
    journal.add(result(0), 0)
    before = journal.path.read_bytes()
    for frame in range(3):
        journal.add(result(1 + frame, frame=frame), 1)
    if damaged:
        journal.add_failure(failure(4, 1, in_video=True))
    journal.close()
    resumed = Journal(tmp_path, VIDEO, 10, resume=True)
    assert (resumed.next_part, resumed.next_index, resumed.failures) == (1, 1, 0)
    assert resumed.path.read_bytes() == before
    for frame in range(3):
        resumed.add(result(1 + frame, frame=frame), 1)
    if damaged:
        resumed.add_failure(failure(4, 1, in_video=True))
    resumed.end_video(1, 3 + damaged)
    resumed.close()
    last = Journal(tmp_path, VIDEO, 10, resume=True)
    assert (last.next_part, last.next_index) == (2, 4 + damaged)
    assert last.failures == damaged
    assert len(list(last.entries())) == 4 + damaged
    last.close()


def frame(number: int, **more) -> dict:
    return entry(
        1, 1 + number, name=f'1.mp4, frame {number}', frame=number, time=number / 10, **more
    )


@pytest.mark.parametrize(
    ('settings', 'before', 'last', 'message'),
    [
        (SETTINGS, [], entry(1), 'expected part 0 and index 0: a line is'),
        (SETTINGS, [0], entry(2), 'expected part 1 and index 1'),
        (SETTINGS, [0], entry(1, 2), 'expected part 1 and index 1'),
        (SETTINGS, [0], entry(0), 'expected part 1 and index 1'),
        (SETTINGS, [0, 1, 2], entry(3), 'there are only 3 inputs'),
        (SETTINGS, [0], entry(1, name='9.png'), 'this input is "1.png"'),
        (SETTINGS, [0], entry(1, frame=0, time=0), '"1.png" is an image'),
        (
            SETTINGS,
            [0],
            entry(1, people=[dict(PERSON, keypoints=[1.0] * 6)]),
            'has 6 keypoint values: expected 3',
        ),
        (SETTINGS, [], entry(0, people=[dict(PERSON, keypoints=[1, 2])]), 'has 2 keypoint values'),
        (SETTINGS, [], entry(0, people=[dict(PERSON, keypoints=[])]), 'this tool'),
        (
            SETTINGS,
            [],
            entry(0, people=[dict(PERSON, image_id=True)]),
            'this tool did not write it',
        ),
        (SETTINGS, [], entry(0, error='broken'), 'this tool did not write it'),
        (SETTINGS, [0], dict(part=0, index=0, end=True), 'expected part 1'),
        (VIDEO, [0], entry(1, name='1.mp4'), '"1.mp4" is a video'),
        (VIDEO, [0], dict(part=1, index=0, end=True), 'expected part 1'),
        (VIDEO, [0, frame(0)], frame(2), 'expected part 1 and index 2'),
        (VIDEO, [0, frame(0)], frame(0), 'expected part 1 and index 2'),
        (VIDEO, [0, frame(0)], dict(part=1, index=2, end=True), 'expected part 1'),
        (VIDEO, [0], {**frame(0), 'frame': 3}, 'expected frame 0'),
    ],
)
def test_invalid_lines_raise(tmp_path, settings, before, last, message):
    Journal(tmp_path, settings, 1).close()
    path = tmp_path / 'journal.jsonl'
    before = [entry(item) if isinstance(item, int) else item for item in before]
    with open(path, 'a') as file:
        for item in (*before, last):
            file.write(json.dumps(item) + '\n')
    data = path.read_bytes()
    with pytest.raises(WorkDirError, match=f'line {len(before) + 2} of .*{message}'):
        Journal(tmp_path, settings, 1, resume=True)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (
            dict(SETTINGS, half=True),
            'is from a run with half false, but half is now '
            'true: use the same options, or choose another --out',
        ),
        (dict(SETTINGS, inputs=['x'] * 99), r'inputs \["0.png", .*\], but inputs is now'),
        (dict(model='a', half=False), r'inputs \[.*\], but inputs is now null'),
    ],
)
def test_other_settings_raise(tmp_path, settings, message):
    Journal(tmp_path, SETTINGS, 1).close()
    before = (tmp_path / 'journal.jsonl').read_bytes()
    with pytest.raises(WorkDirError, match=message):
        Journal(tmp_path, settings, 1, resume=True)
    assert (tmp_path / 'journal.jsonl').read_bytes() == before


def test_journal_without_settings_raises(tmp_path):
    (tmp_path / 'journal.jsonl').write_bytes(b'{"mod')
    with pytest.raises(WorkDirError, match='does not contain its settings'):
        Journal(tmp_path, SETTINGS, 1, resume=True)
    with pytest.raises(FileExistsError):
        Journal(tmp_path, SETTINGS, 1)


def test_incomplete_lines_are_removed_if_the_disk_is_full(tmp_path, monkeypatch):
    journal = Journal(tmp_path, SETTINGS, 10)
    journal.add(result(0), 0)
    file = journal._file

    class Full:
        """A file on a disk with ten free bytes."""

        room = 10

        def __getattr__(self, name):
            return getattr(file, name)

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, 'No space left on device')
            done, self.room = file.write(data[: self.room]), 0
            return done

    monkeypatch.setattr(journal, '_file', Full())
    with pytest.raises(OSError, match='No space left'):
        journal.add(result(1), 1)
    assert [item.get('index') for item in lines(journal)] == [None, 0]
    monkeypatch.undo()
    journal.add(result(1), 1)
    assert [item.get('index') for item in lines(journal)] == [None, 0, 1]
    journal.close()


def test_lines_are_synchronized_to_disk(tmp_path, monkeypatch):
    forced = []
    journal = Journal(tmp_path, SETTINGS, 3)
    monkeypatch.setattr('os.fsync', lambda number: forced.append(len(lines(journal)) - 1))
    for index in range(7):
        journal.add(result(index), index)
    assert forced == [3, 6]
    journal.close()
    journal.close()
    assert forced == [3, 6, 7]
