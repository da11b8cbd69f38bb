"""tools/infer.py: files in, files out, whatever happens in between."""

import csv
import json
import resource
import signal

import cv2
import numpy as np
import pytest

from pose_backbones import PoseInferencer
from pose_backbones.cli import entry_point as cli
from pose_backbones.cli import infer
from pose_backbones.errors import CheckpointError, ConfigError, DatasetError, WorkDirError
from pose_backbones.inference.journal import Journal
from tests.helpers.pose_cases import boxes_in, estimator, make_image, model_options

PEOPLE = (2, 0, 3, 1, 2, 1)


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> list[str]:
    """The options that choose a tiny model."""
    return model_options(tmp_path_factory.mktemp('model'))


@pytest.fixture
def photographs(tmp_path):
    """A folder of six pictures, and a file of their boxes."""
    folder = tmp_path / 'photographs'
    folder.mkdir()
    found = []
    for number, count in enumerate(PEOPLE):
        cv2.imwrite(str(folder / f'{number + 10}.png'), make_image(number))
        for x0, y0, x1, y1 in boxes_in(number, count).tolist():
            found.append(
                dict(
                    image_id=number + 10, category_id=1, score=0.75, bbox=[x0, y0, x1 - x0, y1 - y0]
                )
            )
    (tmp_path / 'boxes.json').write_text(json.dumps(found))
    return folder, ['--boxes', str(tmp_path / 'boxes.json')]


def read(out) -> list[dict]:
    return json.loads((out / 'predictions.json').read_text())


def whole(out) -> bool:
    """Whether nothing is left over or cut off."""
    for line in (out / 'journal.jsonl').read_bytes().splitlines(True):
        assert line.endswith(b'\n')
        json.loads(line)
    assert not list(out.rglob('*.part*'))
    return True


def test_pictures_with_boxes(photographs, model, tmp_path, capsys):
    folder, boxes = photographs
    out = tmp_path / 'out'
    assert (
        infer.main([str(folder), *boxes, *model, '--out', str(out), '--draw-boxes', '--draw-ids'])
        == 0
    )
    assert f'9 people in {out}/predictions.json' in capsys.readouterr().out
    found = read(out)
    expected = []
    for result in PoseInferencer(estimator())(folder, boxes[1]):
        expected += [dict(one, file_name=result.name) for one in result.to_coco()]
    assert [one['image_id'] for one in found] == [10, 10, 12, 12, 12, 13, 14, 14, 15]
    assert len(found) == len(expected) == 9
    for one, other in zip(found, expected):
        for name, value in other.items():
            if isinstance(value, (str, int)):
                assert one[name] == value
            else:
                np.testing.assert_allclose(one[name], value, atol=1e-3)
    with open(out / 'predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    for row, one in zip(rows, found):
        assert row['file_name'] == one['file_name']
        values = [
            float(row[f'{name}_{what}'])
            for name in ('nose', 'right_ankle')
            for what in ('x', 'y', 'score')
        ]
        assert values == one['keypoints'][:3] + one['keypoints'][-3:]
        assert float(row['score']) == one['score']
    for number in range(6):
        drawn = cv2.imread(str(out / f'pictures/{number + 10}.png'))
        assert drawn.shape == (60, 80, 3)
        changed = (drawn != make_image(number)).any()
        assert changed == (PEOPLE[number] > 0)
    assert whole(out)


def test_the_results_are_boxes_again(photographs, model, tmp_path):
    """What the tool has written is a file for --boxes."""
    folder, boxes = photographs
    first, second = tmp_path / 'first', tmp_path / 'second'
    infer.main([str(folder), *boxes, *model, '--out', str(first), '--draw', 'none'])
    assert not (first / 'pictures').exists()
    infer.main(
        [
            str(folder),
            '--boxes',
            str(first / 'predictions.json'),
            *model,
            '--out',
            str(second),
            '--draw',
            'none',
        ]
    )
    np.testing.assert_allclose(
        [one['keypoints'] for one in read(first)],
        [one['keypoints'] for one in read(second)],
        atol=1e-3,
    )


def break_one(folder) -> str:
    path = folder / '12.png'
    path.write_bytes(path.read_bytes()[:100])
    return str(path)


def test_one_file_of_several_cannot_be_read(photographs, model, tmp_path, capsys):
    folder, boxes = photographs
    path, out = break_one(folder), tmp_path / 'out'
    assert infer.main([str(folder), *boxes, *model, '--out', str(out), '--draw', 'none']) == 1
    assert [one['image_id'] for one in read(out)] == [10, 10, 13, 14, 14, 15]
    assert '1 of the inputs could not be read' in capsys.readouterr().err
    journal = [json.loads(line) for line in open(out / 'journal.jsonl')]
    (failed,) = (one for one in journal if 'error' in one)
    assert (failed['name'], failed['index']) == (path, 2)
    assert 'cannot read the image' in failed['error']
    assert (
        infer.main([str(folder), *boxes, *model, '--out', str(out), '--draw', 'none', '--resume'])
        == 1
    )


def test_strict_stops_and_keeps_what_is_done(photographs, model, tmp_path):
    folder, boxes = photographs
    path, out = break_one(folder), tmp_path / 'out'
    options = [str(folder), *boxes, *model, '--out', str(out), '--draw', 'none']
    with pytest.raises(DatasetError, match=f'cannot read the image {path}'):
        infer.main([*options, '--strict'])
    assert [one['image_id'] for one in read(out)] == [10, 10]
    assert whole(out)
    cv2.imwrite(path, make_image(2))
    assert infer.main([*options, '--strict', '--resume']) == 0
    assert [one['image_id'] for one in read(out)] == [10, 10, 12, 12, 12, 13, 14, 14, 15]


def test_the_status_is_the_commands(monkeypatch):
    with pytest.raises(SystemExit) as left:
        cli.run(lambda argv: 130)
    assert left.value.code == 130
    assert cli.run(lambda argv: None) is None


def test_a_full_disk(photographs, model, tmp_path, monkeypatch):
    """Files may not grow beyond a size for a while."""
    folder, boxes = photographs
    options = [str(folder), *boxes, *model, '--draw', 'none']
    out, unbroken = tmp_path / 'out', tmp_path / 'unbroken'
    assert infer.main([*options, '--out', str(unbroken)]) == 0
    size = (unbroken / 'journal.jsonl').stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def small(*args):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size // 3, before[1]))
        return Journal(*args)

    monkeypatch.setattr(infer, 'Journal', small)
    try:
        with pytest.raises(
            WorkDirError,
            match=f'cannot write to {out}: File too large.*free up disk space, '
            'and continue with --resume',
        ):
            infer.main([*options, '--out', str(out)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    monkeypatch.undo()
    assert whole(out)
    done = len((out / 'journal.jsonl').read_text().splitlines()) - 1
    assert 0 < done < 6
    assert infer.main([*options, '--out', str(out), '--resume']) == 0
    found, expected = read(out), read(unbroken)
    assert [one['image_id'] for one in found] == [one['image_id'] for one in expected]
    for one, other in zip(found, expected):  # of other batches
        np.testing.assert_allclose(one['keypoints'], other['keypoints'], atol=1e-3)


@pytest.fixture
def many(tmp_path):
    """Pictures enough to be stopped in the middle."""
    folder = tmp_path / 'many'
    folder.mkdir()
    data = [cv2.imencode('.png', make_image(k))[1].tobytes() for k in range(5)]
    for number in range(200):
        (folder / f'{number}.png').write_bytes(data[number % 5])
    return folder


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on(server, many, model, tmp_path, number):
    out, unbroken = tmp_path / 'out', tmp_path / 'unbroken'
    options = [
        str(many),
        *model,
        '--draw',
        'none',
        '--batch-size',
        '4',
        '--whole-image',
        '--save-every',
        '3',
    ]
    process = server.start('infer.py', *options, '--out', out)
    lines = out / 'journal.jsonl'
    process.wait_until(lambda: lines.is_file() and lines.read_bytes().count(b'\n') >= 20)
    process.send(number)
    status, output = process.wait(), process.output
    journal = (out / 'journal.jsonl').read_bytes()
    assert 20 <= journal.count(b'\n') < 200
    if number == signal.SIGINT:
        assert status == 130, output
        assert 'stopped; continue with --resume' in output
        assert len(read(out)) == journal.count(b'\n') - 1
        assert whole(out)
    else:
        assert status == -signal.SIGKILL
        assert not (out / 'predictions.json').exists()
    assert infer.main([*options, '--out', str(out), '--resume']) == 0
    again = (out / 'journal.jsonl').read_bytes()
    assert again.startswith(journal[: journal.rindex(b'\n') + 1])
    assert infer.main([*options, '--out', str(unbroken)]) == 0
    found, expected = read(out), read(unbroken)
    assert [one['image_id'] for one in found] == list(range(200))
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one['keypoints'], other['keypoints'], atol=1e-3)


def make_clip(path, count: int = 12):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10.0, (96, 64))
    for number in range(count):
        writer.write(make_image(number // 4, 96, 64))
    writer.release()
    return path


def count_frames(path) -> int:
    video = cv2.VideoCapture(str(path))
    count = 0
    while video.grab():
        count += 1
    video.release()
    return count


def test_a_video_among_pictures(model, tmp_path):
    clip = make_clip(tmp_path / 'clip.mp4')
    photo = tmp_path / 'photo.png'
    cv2.imwrite(str(photo), make_image(0))
    out = tmp_path / 'out'
    assert (
        infer.main(
            [
                str(clip),
                str(photo),
                *model,
                '--out',
                str(out),
                '--track',
                '--smooth',
                '--draw-ids',
                '--draw-boxes',
            ]
        )
        == 0
    )
    assert count_frames(out / 'pictures/clip.mp4') == 12
    assert (out / 'pictures/photo.png').is_file()
    found = read(out)
    assert [one['image_id'] for one in found] == list(range(1, 14))
    assert [one.get('track_id') for one in found] == [1] * 12 + [None]
    assert found[3]['file_name'] == f'{clip}, frame 3'
    with open(out / 'predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['frame'] for row in rows] == [*map(str, range(12)), '']
    np.testing.assert_allclose(
        [float(row['time']) for row in rows[:12]], np.arange(12) / 10, atol=1e-6
    )
    assert whole(out)


def test_a_video_that_was_stopped_is_done_again(model, tmp_path, monkeypatch):
    clips = [str(make_clip(tmp_path / f'{name}.mp4')) for name in 'ab']
    options = [*clips, *model, '--track']
    out, unbroken = tmp_path / 'out', tmp_path / 'unbroken'
    infer.main([*options, '--out', str(unbroken)])
    add, left = Journal.add, 17

    def stop(self, result, part):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        add(self, result, part)

    monkeypatch.setattr(Journal, 'add', stop)
    with pytest.raises(KeyboardInterrupt):
        infer.main([*options, '--out', str(out)])
    monkeypatch.undo()
    assert len(read(out)) == 17
    assert count_frames(out / 'pictures/a.mp4') == 12
    assert 0 < count_frames(out / 'pictures/b.mp4') < 12
    assert infer.main([*options, '--out', str(out), '--resume']) == 0
    assert count_frames(out / 'pictures/b.mp4') == 12
    found, expected = read(out), read(unbroken)
    assert [one['file_name'] for one in found] == [one['file_name'] for one in expected]
    assert [one['track_id'] for one in found] == [1] * 24
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one['keypoints'], other['keypoints'], atol=1e-3)


def test_a_broken_video_among_pictures(model, tmp_path):
    (tmp_path / 'no.mp4').write_bytes(b'nothing')
    cv2.imwrite(str(tmp_path / 'a.png'), make_image(0))
    out = tmp_path / 'out'
    options = [
        str(tmp_path / 'no.mp4'),
        str(tmp_path / 'a.png'),
        str(tmp_path / 'gone.png'),
        *model,
        '--out',
        str(out),
    ]
    assert infer.main(options) == 1
    assert [one['image_id'] for one in read(out)] == [2]
    assert infer.main([*options, '--resume']) == 1
    journal = [json.loads(line) for line in open(out / 'journal.jsonl')]
    assert [one['index'] for one in journal if 'error' in one] == [0, 2]


@pytest.mark.parametrize(
    ('more', 'error', 'message'),
    [
        (['--smooth'], ConfigError, '--smooth requires --track'),
        (['--batch-size', '0'], ConfigError, '--batch-size 0: expected at least'),
        (['--save-every', '-1'], ConfigError, '--save-every -1: expected'),
        (['--boxes', 'nowhere.json'], ConfigError, 'nowhere.json: the file does not exist'),
        (['--detector-weights', 'w.pth'], ConfigError, 'requires --detector'),
        (['--detector', 'rtmdet-n'], ConfigError, "unknown detector 'rtmdet-n'"),
        (['--device', 'tpu9'], ConfigError, "device is 'tpu9'"),
        (['--min-score', 'nan'], ConfigError, 'min_score is nan'),
        (['--weights', 'nowhere.pth'], CheckpointError, 'checkpoint not found'),
        (['--model', 'moganet-z'], ConfigError, "unknown model 'moganet-z'"),
        (['nowhere.png'], DatasetError, 'no such file or directory: .*nowhere.png'),
        (['--resume'], WorkDirError, '--resume: .*journal.jsonl does not exist'),
    ],
)
def test_what_cannot_work_leaves_nothing(photographs, model, tmp_path, more, error, message):
    folder, _ = photographs
    out = tmp_path / 'out'
    inputs = [] if more == ['nowhere.png'] else [str(folder)]
    with pytest.raises(error, match=message):
        infer.main([*inputs, *model, '--out', str(out), *more])
    assert not out.exists()


def test_nothing_of_the_users_is_overwritten(photographs, model, tmp_path):
    folder, boxes = photographs
    options = [str(folder), *boxes, *model, '--draw', 'none', '--out']
    with pytest.raises(WorkDirError, match='is not empty: choose another'):
        infer.main([*options, str(folder)])
    with pytest.raises(WorkDirError, match='is a file: expected a '):
        infer.main([*options, boxes[1]])
    out = tmp_path / 'out'
    infer.main([*options, str(out)])
    before = (out / 'journal.jsonl').read_bytes()
    with pytest.raises(WorkDirError, match='with half false, but half is now true'):
        infer.main([*options, str(out), '--resume', '--half'])
    (folder / '20.png').write_bytes((folder / '10.png').read_bytes())
    with pytest.raises(WorkDirError, match='is from a run with inputs'):
        infer.main([*options, str(out), '--resume'])
    assert (out / 'journal.jsonl').read_bytes() == before
