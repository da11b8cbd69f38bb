"""`tools/infer.py`: outputs, resuming, and errors."""

import csv
import errno
import json
import re
import resource
import signal
from pathlib import Path

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
    """Return the options that select a tiny model."""
    return model_options(tmp_path_factory.mktemp('model'))


@pytest.fixture
def image_folder(tmp_path):
    """Write six images and a file of their bounding boxes."""
    folder = tmp_path / 'images'
    folder.mkdir()
    people = []
    for index, count in enumerate(PEOPLE):
        cv2.imwrite(str(folder / f'{index + 10}.png'), make_image(index))
        for x0, y0, x1, y1 in boxes_in(index, count).tolist():
            people.append(
                dict(
                    image_id=index + 10, category_id=1, score=0.75, bbox=[x0, y0, x1 - x0, y1 - y0]
                )
            )
    (tmp_path / 'boxes.json').write_text(json.dumps(people))
    return folder, ['--boxes', str(tmp_path / 'boxes.json')]


def test_processes_that_start_in_the_same_new_directory(tmp_path, monkeypatch):
    """The other process creates the directory first, and then removes it while it is empty."""
    out = tmp_path / 'results' / 'out'
    mkdir, calls = Path.mkdir, []

    def raced(self, *args, **kwargs):
        calls.append(self)
        if calls == [out]:
            raise FileExistsError(errno.EEXIST, 'File exists', str(out))
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, 'mkdir', raced)
    with infer._lock_output(out):
        assert [file.name for file in out.iterdir()] == ['.lock']
        (out / 'write-test.123.part').write_text('')  # of the other process
        infer._check_out(out, resume=False)
        (out / 'write-test.123.part').unlink()
        (out / 'photo.jpg').write_text('')
        with pytest.raises(WorkDirError, match='out is not empty: choose another directory'):
            infer._check_out(out, resume=False)
        (out / 'photo.jpg').unlink()
    assert len(calls) > 1
    assert list(tmp_path.iterdir()) == []


def read(out) -> list[dict]:
    return json.loads((out / 'predictions.json').read_text())


def check_complete(out) -> bool:
    """Return True if the journal has only complete lines and no temporary file is left."""
    for line in (out / 'journal.jsonl').read_bytes().splitlines(True):
        assert line.endswith(b'\n')
        json.loads(line)
    assert not list(out.rglob('*.part*'))
    return True


def test_reason_of_empty_results_is_printed(image_folder, model, tmp_path, capsys):
    folder, (_, boxes) = image_folder
    content = json.loads(open(boxes).read())

    def run(name, change, *options):
        changed = json.loads(json.dumps(content))
        change(changed)
        path = tmp_path / f'{name}.json'
        path.write_text(json.dumps(changed))
        arguments = [str(folder), '--boxes', str(path), *model, *options]
        assert infer.main([*arguments, '--out', str(tmp_path / name)]) == 0
        printed = capsys.readouterr()
        assert f'0 people in {tmp_path / name}/predictions.json' in printed.out
        (line,) = [line for line in printed.err.splitlines() if line.startswith('warning: ')]
        return line.replace(str(path), 'FILE')

    def far_away(content):
        for entry in content:
            entry['bbox'][0] += 10**6

    def crowds(content):
        for entry in content:
            entry['iscrowd'] = 1

    assert run('score', lambda _: None, '--min-score', '2') == (
        'warning: all 9 boxes of FILE have scores below --min-score 2; the highest is 0.75'
    )
    assert run('crowds', crowds) == 'warning: FILE has no boxes of single people'
    assert run('outside', far_away).startswith('warning: none of the 9 boxes of FILE is inside an')


def test_boxes_of_another_format_raise_before_the_model_is_used(image_folder, model, tmp_path):
    folder, (_, boxes) = image_folder
    content = json.loads(open(boxes).read())
    for entry in content:
        x, y, width, height = entry['bbox']
        entry['bbox'] = [x / 80, y / 60, width / 80, height / 60]
    path = tmp_path / 'relative.json'
    path.write_text(json.dumps(content))
    out = tmp_path / 'out'
    with pytest.raises(DatasetError, match=r'relative\.json: .* which is smaller than a pixel'):
        infer.main([str(folder), '--boxes', str(path), *model, '--out', str(out)])
    assert not out.exists()


def test_images_with_boxes(image_folder, model, tmp_path, capsys):
    folder, boxes = image_folder
    out = tmp_path / 'out'
    assert (
        infer.main([str(folder), *boxes, *model, '--out', str(out), '--draw-boxes', '--draw-ids'])
        == 0
    )
    assert f'9 people in {out}/predictions.json' in capsys.readouterr().out
    people = read(out)
    expected = []
    for result in PoseInferencer(estimator())(folder, boxes[1]):
        expected += [dict(person, file_name=result.name) for person in result.to_coco()]
    assert [person['image_id'] for person in people] == [10, 10, 12, 12, 12, 13, 14, 14, 15]
    assert len(people) == len(expected) == 9
    for person, expected_person in zip(people, expected):
        for name, value in expected_person.items():
            if isinstance(value, (str, int)):
                assert person[name] == value
            else:
                np.testing.assert_allclose(person[name], value, atol=1e-3)
    with open(out / 'predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    for row, person in zip(rows, people):
        assert row['file_name'] == person['file_name']
        values = [
            float(row[f'{name}_{what}'])
            for name in ('nose', 'right_ankle')
            for what in ('x', 'y', 'score')
        ]
        assert values == person['keypoints'][:3] + person['keypoints'][-3:]
        assert float(row['score']) == person['score']
    for index in range(6):
        drawn = cv2.imread(str(out / f'pictures/{index + 10}.png'))
        assert drawn.shape == (60, 80, 3)
        changed = (drawn != make_image(index)).any()
        assert changed == (PEOPLE[index] > 0)
    assert check_complete(out)


def test_number_of_drawn_keypoints_is_printed(image_folder, model, tmp_path, capsys):
    """If most keypoints are below the threshold, the drawings look empty."""
    folder, boxes = image_folder
    out = tmp_path / 'out'
    assert infer.main([str(folder), *boxes, *model, '--out', str(out), '--threshold', '-5']) == 0
    assert 'were drawn' not in capsys.readouterr().out
    scores = np.ravel([np.reshape(person['keypoints'], (-1, 3))[:, 2] for person in read(out)])
    threshold = float(np.quantile(scores, 0.75))
    options = ['--threshold', f'{threshold:.6f}', '--out', str(tmp_path / 'high')]
    assert infer.main([str(folder), *boxes, *model, *options]) == 0
    message = re.search(
        r'(\d+) of (\d+) keypoints were drawn; '
        r'the scores of the others are below --threshold (\S+)',
        capsys.readouterr().out,
    )
    assert int(message[1]) == pytest.approx(len(scores) / 4, abs=2)
    assert (int(message[2]), float(message[3])) == (len(scores), pytest.approx(threshold, abs=1e-5))


def test_predictions_can_be_used_as_boxes(image_folder, model, tmp_path):
    """The predictions of the tool are a valid file for --boxes."""
    folder, boxes = image_folder
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
        [person['keypoints'] for person in read(first)],
        [person['keypoints'] for person in read(second)],
        atol=1e-3,
    )


def truncate_image(folder) -> str:
    path = folder / '12.png'
    path.write_bytes(path.read_bytes()[:100])
    return str(path)


def test_unreadable_image_is_skipped_and_reported(image_folder, model, tmp_path, capsys):
    folder, boxes = image_folder
    path, out = truncate_image(folder), tmp_path / 'out'
    assert infer.main([str(folder), *boxes, *model, '--out', str(out), '--draw', 'none']) == 1
    assert [person['image_id'] for person in read(out)] == [10, 10, 13, 14, 14, 15]
    assert '1 of the inputs could not be used' in capsys.readouterr().err
    journal = [json.loads(line) for line in open(out / 'journal.jsonl')]
    (failure,) = (entry for entry in journal if 'error' in entry)
    assert (failure['name'], failure['index']) == (path, 2)
    assert 'cannot read the image' in failure['error']
    assert (
        infer.main([str(folder), *boxes, *model, '--out', str(out), '--draw', 'none', '--resume'])
        == 1
    )


def test_strict_stops_and_keeps_earlier_results(image_folder, model, tmp_path):
    folder, boxes = image_folder
    path, out = truncate_image(folder), tmp_path / 'out'
    options = [str(folder), *boxes, *model, '--out', str(out), '--draw', 'none']
    with pytest.raises(DatasetError, match=f'cannot read the image {path}'):
        infer.main([*options, '--strict'])
    assert [person['image_id'] for person in read(out)] == [10, 10]
    assert check_complete(out)
    cv2.imwrite(path, make_image(2))
    assert infer.main([*options, '--strict', '--resume']) == 0
    assert [person['image_id'] for person in read(out)] == [10, 10, 12, 12, 12, 13, 14, 14, 15]


def test_exit_status_is_the_return_value(monkeypatch):
    with pytest.raises(SystemExit) as exit_info:
        cli.run(lambda argv: 130)
    assert exit_info.value.code == 130
    assert cli.run(lambda argv: None) is None


def test_full_disk_raises_and_can_be_resumed(image_folder, model, tmp_path, monkeypatch):
    """A limit of the file size simulates the full disk."""
    folder, boxes = image_folder
    options = [str(folder), *boxes, *model, '--draw', 'none']
    out, uninterrupted = tmp_path / 'out', tmp_path / 'uninterrupted'
    assert infer.main([*options, '--out', str(uninterrupted)]) == 0
    size = (uninterrupted / 'journal.jsonl').stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited_journal(*args):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size // 3, limits[1]))
        return Journal(*args)

    monkeypatch.setattr(infer, 'Journal', limited_journal)
    try:
        with pytest.raises(
            WorkDirError,
            match=f'cannot write to {out}: File too large.*free up disk space, '
            'and continue with --resume',
        ):
            infer.main([*options, '--out', str(out)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.undo()
    assert check_complete(out)
    num_finished = len((out / 'journal.jsonl').read_text().splitlines()) - 1
    assert 0 < num_finished < 6
    assert infer.main([*options, '--out', str(out), '--resume']) == 0
    people, expected = read(out), read(uninterrupted)
    assert [person['image_id'] for person in people] == [person['image_id'] for person in expected]
    for person, expected_person in zip(people, expected):  # the batches differ
        np.testing.assert_allclose(person['keypoints'], expected_person['keypoints'], atol=1e-3)


@pytest.fixture
def many_images(tmp_path):
    """Write enough images to stop the run before it ends."""
    folder = tmp_path / 'many'
    folder.mkdir()
    encoded = [cv2.imencode('.png', make_image(k))[1].tobytes() for k in range(5)]
    for index in range(200):
        (folder / f'{index}.png').write_bytes(encoded[index % 5])
    return folder


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGKILL])
def test_stopped_run_is_resumed(server, many_images, model, tmp_path, signal_number):
    out, uninterrupted = tmp_path / 'out', tmp_path / 'uninterrupted'
    options = [
        str(many_images),
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
    process.send(signal_number)
    status, output = process.wait(), process.output
    journal = (out / 'journal.jsonl').read_bytes()
    assert 20 <= journal.count(b'\n') < 200
    if signal_number == signal.SIGINT:
        assert status == 130, output
        assert 'stopped; continue with --resume' in output
        assert len(read(out)) == journal.count(b'\n') - 1
        assert check_complete(out)
    else:
        assert status == -signal.SIGKILL
        assert not (out / 'predictions.json').exists()
    assert infer.main([*options, '--out', str(out), '--resume']) == 0
    resumed_journal = (out / 'journal.jsonl').read_bytes()
    assert resumed_journal.startswith(journal[: journal.rindex(b'\n') + 1])
    assert infer.main([*options, '--out', str(uninterrupted)]) == 0
    people, expected = read(out), read(uninterrupted)
    assert [person['image_id'] for person in people] == list(range(200))
    for person, expected_person in zip(people, expected):
        np.testing.assert_allclose(person['keypoints'], expected_person['keypoints'], atol=1e-3)


def make_clip(path, count: int = 12):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10.0, (96, 64))
    for index in range(count):
        writer.write(make_image(index // 4, 96, 64))
    writer.release()
    return path


def count_frames(path) -> int:
    video = cv2.VideoCapture(str(path))
    count = 0
    while video.grab():
        count += 1
    video.release()
    return count


def test_video_and_image(model, tmp_path):
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
    people = read(out)
    assert [person['image_id'] for person in people] == list(range(1, 14))
    assert [person.get('track_id') for person in people] == [1] * 12 + [None]
    assert people[3]['file_name'] == f'{clip}, frame 3'
    with open(out / 'predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['frame'] for row in rows] == [*map(str, range(12)), '']
    np.testing.assert_allclose(
        [float(row['time']) for row in rows[:12]], np.arange(12) / 10, atol=1e-6
    )
    assert check_complete(out)


def test_stopped_video_is_written_again(model, tmp_path, monkeypatch):
    clips = [str(make_clip(tmp_path / f'{name}.mp4')) for name in 'ab']
    options = [*clips, *model, '--track']
    out, uninterrupted = tmp_path / 'out', tmp_path / 'uninterrupted'
    infer.main([*options, '--out', str(uninterrupted)])
    add_result, num_left = Journal.add, 17

    def stop(self, result, part):
        nonlocal num_left
        num_left -= 1
        if num_left < 0:
            raise KeyboardInterrupt
        add_result(self, result, part)

    monkeypatch.setattr(Journal, 'add', stop)
    with pytest.raises(KeyboardInterrupt):
        infer.main([*options, '--out', str(out)])
    monkeypatch.undo()
    assert len(read(out)) == 17
    assert count_frames(out / 'pictures/a.mp4') == 12
    assert 0 < count_frames(out / 'pictures/b.mp4') < 12
    assert infer.main([*options, '--out', str(out), '--resume']) == 0
    assert count_frames(out / 'pictures/b.mp4') == 12
    people, expected = read(out), read(uninterrupted)
    assert [person['file_name'] for person in people] == [
        person['file_name'] for person in expected
    ]
    assert [person['track_id'] for person in people] == [1] * 24
    for person, expected_person in zip(people, expected):
        np.testing.assert_allclose(person['keypoints'], expected_person['keypoints'], atol=1e-3)


def test_unreadable_video_is_skipped_and_reported(model, tmp_path):
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
    assert [person['image_id'] for person in read(out)] == [2]
    assert infer.main([*options, '--resume']) == 1
    journal = [json.loads(line) for line in open(out / 'journal.jsonl')]
    assert [entry['index'] for entry in journal if 'error' in entry] == [0, 2]


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (['--smooth'], ConfigError, '--smooth requires --track'),
        (['--batch-size', '0'], ConfigError, '--batch-size 0: expected at least'),
        (['--save-every', '-1'], ConfigError, '--save-every -1: expected'),
        (['--boxes', 'nowhere.json'], ConfigError, 'nowhere.json: there is no such file'),
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
def test_invalid_options_raise_before_writing(
    image_folder, model, tmp_path, options, error, message
):
    folder, _ = image_folder
    out = tmp_path / 'out'
    inputs = [] if options == ['nowhere.png'] else [str(folder)]
    with pytest.raises(error, match=message):
        infer.main([*inputs, *model, '--out', str(out), *options])
    assert not out.exists()


def test_existing_files_are_not_overwritten(image_folder, model, tmp_path):
    folder, boxes = image_folder
    options = [str(folder), *boxes, *model, '--draw', 'none', '--out']
    with pytest.raises(WorkDirError, match='is not empty: choose another'):
        infer.main([*options, str(folder)])
    with pytest.raises(WorkDirError, match='is a file: expected a '):
        infer.main([*options, boxes[1]])
    out = tmp_path / 'out'
    infer.main([*options, str(out)])
    journal = (out / 'journal.jsonl').read_bytes()
    with pytest.raises(WorkDirError, match='with half false, but half is now true'):
        infer.main([*options, str(out), '--resume', '--half'])
    (folder / '20.png').write_bytes((folder / '10.png').read_bytes())
    with pytest.raises(WorkDirError, match='is from a run with inputs'):
        infer.main([*options, str(out), '--resume'])
    assert (out / 'journal.jsonl').read_bytes() == journal
