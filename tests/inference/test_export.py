"""Files of results: whole at any time, and gone on with."""

import csv
import errno
import json

import numpy as np
import pytest

from pose_backbones.errors import WorkDirError
from pose_backbones.inference.export import Journal, write_predictions, write_table
from pose_backbones.inference.inputs import Failure
from pose_backbones.inference.pose_result import PoseResult
from pose_backbones.visualization.skeleton import Skeleton

SKELETON = Skeleton(('head', 'foot'), ((0, 1),))
SETTINGS = dict(model='a', inputs=['0.png', '1.png', '2.png'], half=False)
VIDEO = dict(SETTINGS, inputs=['0.png', '1.mp4'])


def result(index: int, people: int = 1, frame: int | None = None) -> PoseResult:
    base = np.arange(people * 4).reshape(people, 2, 2) + 10.0 * index
    return PoseResult(
        base + 0.25,
        np.full((people, 2), 0.5),
        np.tile((1, 2, 31, 42), (people, 1)),
        np.full(people, 0.8),
        SKELETON,
        (64, 48),
        f'{index}.png' if frame is None else f'1.mp4, frame {frame}',
        index,
        index + 1,
        track_ids=None if frame is None else range(7, 7 + people),
        frame=frame,
        time=None if frame is None else frame / 10,
    )


def failure(index: int, part: int, in_video: bool = False) -> Failure:
    return Failure(
        index, '1.mp4' if in_video else f'{index}.png', part, ValueError('broken'), in_video
    )


def lines(journal: Journal) -> list[dict]:
    return [json.loads(line) for line in journal.path.read_text().split('\n') if line]


def test_predictions_are_cocos_and_the_table_has_them_too(tmp_path):
    journal = Journal(tmp_path, SETTINGS, 2)
    journal.add(result(0, 2), 0)
    journal.add_failure(failure(1, 1))
    journal.add(result(2, 0), 2)
    journal.add(result(3, 1, frame=5), 3)
    journal.close()
    assert journal.failures == 1
    assert write_predictions(tmp_path / 'p.json', journal.entries()) == 3
    found = json.loads((tmp_path / 'p.json').read_text())
    expected = [dict(one, file_name='0.png') for one in result(0, 2).to_coco()]
    expected += [dict(one, file_name='1.mp4, frame 5', track_id=7) for one in result(3).to_coco()]
    assert found == expected
    write_table(tmp_path / 't.csv', journal.entries(), SKELETON.names)
    with open(tmp_path / 't.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['file_name'] for row in rows] == ['0.png', '0.png', '1.mp4, frame 5']
    assert [row['person'] for row in rows] == ['0', '1', '0']
    second = {name: value for name, value in rows[1].items() if name not in ('file_name', 'person')}
    assert {name: float(value) for name, value in second.items() if value} == pytest.approx(
        dict(
            image_id=1,
            score=0.4,
            left=1,
            top=2,
            width=30,
            height=40,
            head_x=4.25,
            head_y=5.25,
            head_score=0.5,
            foot_x=6.25,
            foot_y=7.25,
            foot_score=0.5,
        )
    )
    assert (rows[1]['track_id'], rows[1]['frame']) == ('', '')
    assert (rows[2]['track_id'], rows[2]['frame'], rows[2]['time']) == ('7', '5', '0.5')


def test_no_people_are_a_list(tmp_path):
    write_predictions(tmp_path / 'p.json', [])
    assert json.loads((tmp_path / 'p.json').read_text()) == []
    write_table(tmp_path / 't.csv', [], ('nose',))
    assert (tmp_path / 't.csv').read_text().strip().endswith('nose_x,nose_y,nose_score')


def test_going_on_behind_what_is_whole(tmp_path):
    journal = Journal(tmp_path, SETTINGS, 1)
    journal.add(result(0), 0)
    journal.add_failure(failure(1, 1))
    whole = journal.path.read_bytes()
    journal.add(result(2), 2)
    journal.close()
    data = journal.path.read_bytes()
    journal.path.write_bytes(data[:-1])  # without the end of the line
    again = Journal(tmp_path, SETTINGS, 1, resume=True)
    assert (again.next_part, again.next_index, again.failures) == (2, 2, 1)
    assert again.path.read_bytes() == whole
    again.add(result(2), 2)
    again.close()
    assert again.path.read_bytes() == data
    assert [one['index'] for one in again.entries()] == [0, 1, 2]


@pytest.mark.parametrize('damaged', [False, True])
def test_a_video_that_was_not_whole_is_done_again(tmp_path, damaged):
    journal = Journal(tmp_path, VIDEO, 10)
    journal.add(result(0), 0)
    before = journal.path.read_bytes()
    for frame in range(3):
        journal.add(result(1 + frame, frame=frame), 1)
    if damaged:
        journal.add_failure(failure(4, 1, in_video=True))
    journal.close()
    again = Journal(tmp_path, VIDEO, 10, resume=True)
    assert (again.next_part, again.next_index, again.failures) == (1, 1, 0)
    assert again.path.read_bytes() == before
    for frame in range(3):
        again.add(result(1 + frame, frame=frame), 1)
    if damaged:
        again.add_failure(failure(4, 1, in_video=True))
    again.end_video(1, 3 + damaged)
    again.close()
    last = Journal(tmp_path, VIDEO, 10, resume=True)
    assert (last.next_part, last.next_index) == (2, 4 + damaged)
    assert last.failures == damaged
    assert len(list(last.entries())) == 4 + damaged
    last.close()


PERSON = dict(image_id=1, bbox=[0, 0, 1, 1], keypoints=[1, 2, 0.5], score=1)


def entry(part: int, index: int | None = None, **more) -> dict:
    index = part if index is None else index
    return dict(dict(index=index, part=part, name=f'{part}.png', people=[PERSON]), **more)


def frame(number: int, **more) -> dict:
    return entry(
        1, 1 + number, name=f'1.mp4, frame {number}', frame=number, time=number / 10, **more
    )


@pytest.mark.parametrize(
    ('settings', 'before', 'last', 'message'),
    [
        (SETTINGS, [], entry(1), 'expected part 0 and index 0, as a line is'),
        (SETTINGS, [0], entry(2), 'expected part 1 and index 1'),
        (SETTINGS, [0], entry(1, 2), 'expected part 1 and index 1'),
        (SETTINGS, [0], entry(0), 'expected part 1 and index 1'),
        (SETTINGS, [0, 1, 2], entry(3), 'there are only 3 inputs'),
        (SETTINGS, [0], entry(1, name='9.png'), 'this input is "1.png"'),
        (SETTINGS, [0], entry(1, frame=0, time=0), '"1.png" is a picture'),
        (
            SETTINGS,
            [0],
            entry(1, people=[dict(PERSON, keypoints=[1.0] * 6)]),
            'has 6 values of key points: expected 3',
        ),
        (
            SETTINGS,
            [],
            entry(0, people=[dict(PERSON, keypoints=[1, 2])]),
            'has 2 values of key points',
        ),
        (SETTINGS, [], entry(0, people=[dict(PERSON, keypoints=[])]), 'this tool'),
        (SETTINGS, [], entry(0, people=[dict(PERSON, image_id=True)]), 'it is not of this tool'),
        (SETTINGS, [], entry(0, error='broken'), 'it is not of this tool'),
        (SETTINGS, [0], dict(part=0, index=0, end=True), 'expected part 1'),
        (VIDEO, [0], entry(1, name='1.mp4'), '"1.mp4" is a video'),
        (VIDEO, [0], dict(part=1, index=0, end=True), 'expected part 1'),
        (VIDEO, [0, frame(0)], frame(2), 'expected part 1 and index 2'),
        (VIDEO, [0, frame(0)], frame(0), 'expected part 1 and index 2'),
        (VIDEO, [0, frame(0)], dict(part=1, index=2, end=True), 'expected part 1'),
        (VIDEO, [0], {**frame(0), 'frame': 3}, 'expected frame 0'),
    ],
)
def test_lines_of_another_run_are_refused(tmp_path, settings, before, last, message):
    Journal(tmp_path, settings, 1).close()
    path = tmp_path / 'journal.jsonl'
    before = [entry(one) if isinstance(one, int) else one for one in before]
    with open(path, 'a') as file:
        for one in (*before, last):
            file.write(json.dumps(one) + '\n')
    data = path.read_bytes()
    with pytest.raises(WorkDirError, match=f'line {len(before) + 2} of .*{message}'):
        Journal(tmp_path, settings, 1, resume=True)
    assert path.read_bytes() == data


def test_half_of_a_pair_of_surrogates_is_written_in_the_table(tmp_path):
    write_table(
        tmp_path / 't.csv',
        [
            entry(0, name='a\ud800', people=[dict(PERSON, image_id='\udfff')]),
            entry(1, name='b\udcff'),
        ],
        ('nose',),
    )
    rows = (tmp_path / 't.csv').read_bytes().splitlines()[1:]
    assert [row.split(b',')[:2] for row in rows] == [[b'a\\ud800', b'\\udfff'], [b'b\xff', b'1']]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (
            dict(SETTINGS, half=True),
            'is of a run with half false, and now it is '
            'true: go on with the same options, or choose another --out',
        ),
        (dict(SETTINGS, inputs=['x'] * 99), r'inputs \["0.png", .*\], and now'),
        (dict(model='a', half=False), 'of another version'),
    ],
)
def test_other_settings_are_refused(tmp_path, settings, message):
    Journal(tmp_path, SETTINGS, 1).close()
    before = (tmp_path / 'journal.jsonl').read_bytes()
    with pytest.raises(WorkDirError, match=message):
        Journal(tmp_path, settings, 1, resume=True)
    assert (tmp_path / 'journal.jsonl').read_bytes() == before


def test_a_journal_without_a_head(tmp_path):
    (tmp_path / 'journal.jsonl').write_bytes(b'{"mod')
    with pytest.raises(WorkDirError, match='does not say what it is of'):
        Journal(tmp_path, SETTINGS, 1, resume=True)
    with pytest.raises(FileExistsError):
        Journal(tmp_path, SETTINGS, 1)


def test_a_line_that_found_no_room_is_taken_away(tmp_path, monkeypatch):
    journal = Journal(tmp_path, SETTINGS, 10)
    journal.add(result(0), 0)
    file = journal._file

    class Full:
        """Has room for ten more bytes."""

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
    assert [one.get('index') for one in lines(journal)] == [None, 0]
    monkeypatch.undo()
    journal.add(result(1), 1)
    assert [one.get('index') for one in lines(journal)] == [None, 0, 1]
    journal.close()


def test_lines_are_forced_to_the_disk_every_so_often(tmp_path, monkeypatch):
    forced = []
    journal = Journal(tmp_path, SETTINGS, 3)
    monkeypatch.setattr('os.fsync', lambda number: forced.append(len(lines(journal)) - 1))
    for index in range(7):
        journal.add(result(index), index)
    assert forced == [3, 6]
    journal.close()
    journal.close()
    assert forced == [3, 6, 7]


def test_files_are_replaced_when_the_new_ones_are_whole(tmp_path):
    path = tmp_path / 'p.json'
    path.write_text('old')

    def entries():
        yield dict(name='a', people=[dict(image_id=1)])
        raise OSError(errno.ENOSPC, 'No space left on device')

    for write in (
        lambda: write_predictions(path, entries()),
        lambda: write_table(path, entries(), ()),
    ):
        with pytest.raises((OSError, KeyError)):
            write()
        assert path.read_text() == 'old'
        assert list(tmp_path.iterdir()) == [path]
