"""Tests of tools/infer.py: hostile files, outputs, locks and signals."""

import csv
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_backbones.cli import infer
from pose_backbones.errors import WorkDirError
from pose_backbones.inference.journal import JOURNAL
from pose_backbones.inference.video_writer import VideoWriter
from pose_backbones.utils import lock
from tests.helpers.hostile_images import write_hostile
from tests.helpers.pose_cases import make_image, model_options
from tests.helpers.tools import run_code, small_disk


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> list[str]:
    """Options that select a tiny model."""
    return model_options(tmp_path_factory.mktemp('model'))


@pytest.fixture
def good(tmp_path) -> Path:
    """Directory with one image."""
    folder = tmp_path / 'good'
    folder.mkdir()
    cv2.imwrite(str(folder / '1.png'), make_image(1))
    return folder


def journal(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()[1:]]


def test_hostile_files_are_skipped(model, tmp_path, capsys):
    folder = tmp_path / 'mixed'
    folder.mkdir()
    messages = write_hostile(folder)
    (folder / 'directory.jpg').mkdir()  # not an image, and not listed
    names = [
        'good.png',
        os.fsdecode(b'bad\xff\xfename.png'),
        'n' * 250 + '.webp',
        'line\nbreak.png',
    ]
    for name in names:
        (folder / name).write_bytes(cv2.imencode(Path(name).suffix, make_image(1))[1].tobytes())
    out = tmp_path / 'out'
    assert infer.main([str(folder), *model, '--out', str(out)]) == 1
    errors = {Path(line['name']).name: line['error'] for line in journal(out) if 'error' in line}
    assert set(errors) == set(messages)
    for name, message in messages.items():
        assert re.search(message, errors[name]), (name, errors[name])
    records = json.loads((out / 'predictions.json').read_text())
    assert {Path(record['file_name']).name for record in records} == set(names)
    with open(
        out / 'predictions.csv', encoding='utf-8', newline='', errors='surrogateescape'
    ) as file:
        rows = list(csv.DictReader(file))
    assert {Path(row['file_name']).name for row in rows} == set(names)
    assert b'/bad\xff\xfename.png,' in (out / 'predictions.csv').read_bytes()
    drawn = list((out / 'pictures').iterdir())
    assert len(drawn) == len(names)
    assert all(cv2.imdecode(np.fromfile(file, np.uint8), 1) is not None for file in drawn)
    assert f'{len(messages)} of the inputs could not be used' in (capsys.readouterr().err)


CONCAT = b"ffconcat version 1.0\nfile 'secret.mp4'\n"
HLS = (
    b'#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n'
    b'secret.mp4\n#EXT-X-ENDLIST\n'
)
MPD = (
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">'
    b'<Period><AdaptationSet><Representation id="1" bandwidth="1">'
    b'<BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet>'
    b'</Period></MPD>'
)
SDP = b'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n'


@pytest.mark.parametrize(
    'content',
    [
        CONCAT,
        HLS,
        MPD,
        SDP,
        b'ID3\x03\0\0\0\0\0\0' + HLS,
        b'\xef\xbb\xbf' + HLS,
        b"file 'secret.mp4'\n",
        b'[playlist]\n',
        # With the sync bytes of an MPEG transport stream.
        b'ID3\x03G\0\0\0\0\0' + HLS + b'#' + b'G' * 2000,
    ],
)
@pytest.mark.parametrize('name', ['list.mp4', 'list.ts', 'list.avi'])
def test_playlists_read_no_other_files(content, name, tmp_path):
    from pose_backbones.errors import DatasetError
    from pose_backbones.inference.video_reader import read_video

    writer = cv2.VideoWriter(
        str(tmp_path / 'secret.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10, (64, 48)
    )
    for _ in range(4):
        writer.write(np.full((48, 64, 3), 99, np.uint8))
    writer.release()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match='is not a video but a playlist|cannot be opened as a'):
        read_video(tmp_path / name)


def test_playlist_at_a_url_reads_no_local_files(tmp_path):
    """The package relies on this rule of FFmpeg."""
    import functools
    import http.server

    from pose_backbones.errors import DatasetError
    from pose_backbones.inference.video_reader import read_video

    writer = cv2.VideoWriter(
        str(tmp_path / 'secret.ts'), cv2.VideoWriter_fourcc(*'mpg2'), 25, (64, 48)
    )
    for _ in range(10):
        writer.write(np.full((48, 64, 3), 99, np.uint8))
    writer.release()
    for name, line in (
        ('own.m3u8', 'secret.ts'),
        ('local.m3u8', f'file://{tmp_path}/secret.ts'),
        ('path.m3u8', f'file:{tmp_path}/secret.ts'),
    ):
        (tmp_path / name).write_bytes(HLS.replace(b'secret.mp4', line.encode()))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f'http://127.0.0.1:{server.server_port}'
        with read_video(f'{root}/own.m3u8') as video:
            assert video.size == (64, 48)
        for name in ('local', 'path'):
            with pytest.raises(DatasetError, match='cannot be opened'):
                read_video(f'{root}/{name}.m3u8')
        server.shutdown()


def test_outputs_are_checked_before_loading_the_model(good, tmp_path, monkeypatch):
    monkeypatch.setattr(infer, 'PoseInferencer', None)
    options = [str(good), '--model', 'none', '--out']
    file = tmp_path / 'file'
    file.write_text('mine')
    (tmp_path / 'loop').symlink_to('loop')
    for out, message in (
        (file, 'is a file: expected a '),
        (file / 'out', 'file is not a directory'),
        (tmp_path / 'loop', 'symbolic links'),
        ('/proc/out', 'cannot create a directory in /proc'),
        (tmp_path / ('n' * 256), 'File name too long'),
    ):
        with pytest.raises(WorkDirError, match=message):
            infer.main([*options, str(out)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'good', 'loop']


HOLD = """
import sys, time
from pose_backbones.utils.lock import lock_directory
with lock_directory(sys.argv[1]):
    print('held', flush=True)
    time.sleep(600)
"""


def test_output_directory_is_locked(server, good, model, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    monkeypatch.setattr(lock, '_TIMEOUT', 0.0)
    holder = server.start_code(HOLD, out)
    holder.wait_for('held')
    with pytest.raises(
        WorkDirError,
        match=f'another run is writing to {out} .process {holder.pid} .*choose another --out',
    ):
        infer.main([str(good), *model, '--out', str(out)])
    holder.send(signal.SIGKILL)
    holder.wait()
    assert infer.main([str(good), *model, '--out', str(out)]) == 0


def test_inputs_are_not_overwritten(good, model, tmp_path):
    """A resumed run, in a directory whose drawn images are the inputs."""
    out = tmp_path / 'out'
    options = [str(good), *model, '--out', str(out)]
    assert infer.main(options) == 0
    (out / 'pictures/1.png').unlink()
    (out / 'pictures').rmdir()
    (out / 'pictures').symlink_to(good)
    text = (out / JOURNAL).read_text().splitlines(True)
    (out / JOURNAL).write_text(text[0])
    before = (good / '1.png').read_bytes()
    with pytest.raises(WorkDirError, match=r'1\.png is an input of this'):
        infer.main([*options, '--resume'])
    assert (good / '1.png').read_bytes() == before


def test_resumed_run_removes_partial_files(good, model, tmp_path):
    out = tmp_path / 'out'
    options = [str(good), *model, '--out', str(out)]
    assert infer.main(options) == 0
    left = [
        out / 'predictions.json.77.part',
        out / 'write-test.77.part',
        out / 'pictures/1.png.77.part',
    ]
    mine = [out / 'movie.part1.mp4', out / 'movie.1.part', out / 'pictures/a.png.77.part']
    for path in left + mine:
        path.touch()
    assert infer.main([*options, '--resume']) == 0
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in mine)


def test_images_are_not_written_through_links(good, model, tmp_path):
    out, other = tmp_path / 'out', tmp_path / 'other'
    options = [str(good), *model, '--out', str(out)]
    assert infer.main(options) == 0
    (out / 'pictures').rename(other)
    (other / '1.png').write_bytes(b'a photograph')
    (other / '1.png.77.part').touch()
    (out / 'pictures').symlink_to(other)
    text = (out / JOURNAL).read_text().splitlines(True)
    (out / JOURNAL).write_text(text[0])
    with pytest.raises(WorkDirError, match='out/pictures is a link to '):
        infer.main([*options, '--resume'])
    assert (other / '1.png').read_bytes() == b'a photograph'
    assert (other / '1.png.77.part').exists()


@pytest.mark.parametrize(
    'line',
    [
        '[]',
        '7',
        '"a"',
        'null',
        '{}',
        '{"part": 0}',
        '{"part": "0", "index": 0, "name": "a", "people": []}',
        '{"part": true, "index": 0, "name": "a", "people": []}',
        '{"part": 0, "index": -1, "name": "a", "people": []}',
        '{"part": 0, "index": 1e999, "name": "a", "people": []}',
        '{"part": 0, "index": 0, "people": []}',
        '{"part": 0, "index": 0, "name": ["a"], "people": []}',
        '{"part": 0, "index": 0, "name": "a", "people": {}}',
        '{"part": 0, "index": 0, "name": "a", "people": [{}]}',
        '{"part": 0, "index": 0, "name": "a", "people": [{"image_id": 1, '
        '"bbox": [0, 0, 1, NaN], "keypoints": [], "score": 1}]}',
        '{"part": 0, "index": 0, "name": "a", "people": [{"image_id": 1, '
        '"bbox": [0, 0, 1, 1], "keypoints": [[1]], "score": 1}]}',
        '{"part": 0, "index": 0, "name": "a", "error": 7}',
        '{"part": 0, "index": 0, "name": "a", "people": [], "frame": "x"}',
    ],
)
def test_invalid_journal_lines(good, model, tmp_path, monkeypatch, line):
    out = tmp_path / 'out'
    out.mkdir()
    options = [str(good), *model, '--out', str(out), '--resume']
    args = infer.parse_args(options)
    settings = infer._settings(args, [str(good / '1.png')])
    (out / JOURNAL).write_text(f'{json.dumps(settings)}\n{line}\n')
    monkeypatch.setattr(
        infer,
        '_results',
        lambda *_: type('Results', (), dict(skeleton=type('Skeleton', (), dict(names=('nose',))))),
    )
    with pytest.raises(
        WorkDirError, match='--resume: line 2 of .* is invalid: this tool did not write it'
    ):
        infer.main(options)
    assert (out / JOURNAL).read_text().endswith(f'\n{line}\n')


def test_images_that_cannot_be_drawn_are_counted(good, model, tmp_path, monkeypatch, capsys):
    def refuse(path, image):
        raise cv2.error('too large')

    monkeypatch.setattr('pose_backbones.inference.export.write_image', refuse)
    out = tmp_path / 'out'
    assert infer.main([str(good), *model, '--out', str(out)]) == 1
    assert len(json.loads((out / 'predictions.json').read_text())) == 1
    assert '1 of the inputs could not be drawn' in capsys.readouterr().err


def test_video_output_must_differ_from_the_audio_source(tmp_path):
    path = tmp_path / 'a.mp4'
    path.write_bytes(b'mine')
    with pytest.raises(WorkDirError, match='is an input of this command'):
        VideoWriter(path, (64, 48), 10, sound_from=path, overwrite=True)
    assert path.read_bytes() == b'mine'


SLOW = """
import sys, time
from pose_backbones.inference import inputs
from pose_backbones.cli import infer
from pose_backbones.cli import entry_point as cli

class Camera:
    '''Gives one frame, and then nothing for ever.'''
    fps, frame_count = 25, None
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def __iter__(self):
        import numpy as np
        yield 0, 0., np.zeros((48, 64, 3), np.uint8)
        print('waiting', flush=True)
        while True:
            # Like a call into a library that never returns.
            time.sleep(600)

real = inputs._read
def read(source, rgb):
    if 'slow' in str(source):
        print('waiting', flush=True)
        time.sleep(600)
    return real(source, rgb)

inputs._read = read
inputs.read_video = lambda source: Camera()
if 'load' in sys.argv[1]:
    def build(*args, **options):
        print('waiting', flush=True)
        time.sleep(600)
    infer.PoseInferencer = build
del sys.argv[1]
cli.run(infer.main)
"""


@pytest.mark.parametrize(
    ('kind', 'number'),
    [('file', signal.SIGTERM), ('camera', signal.SIGINT), ('load', signal.SIGTERM)],
)
def test_signal_ends_a_waiting_run(server, good, model, tmp_path, kind, number):
    cv2.imwrite(str(good / '2-slow.png'), make_image(1))
    out = tmp_path / 'out'
    source = ['0'] if kind == 'camera' else [str(good)]
    options = ('--out', out, '--draw', 'none', '--batch-size', '1')
    process = server.start_code(SLOW, kind, *source, *model, *options)
    process.wait_for('waiting')
    time.sleep(0.5)
    start = time.monotonic()
    process.send(number)
    status = process.wait()
    assert time.monotonic() - start < 20
    assert status == 128 + number
    assert 'Traceback' not in process.output
    lines = [line for line in process.output.splitlines() if 'stopped' in line]
    assert len(lines) == 1
    if kind == 'load':
        assert not out.exists() or not list(out.iterdir())
    else:
        assert lines == ['stopped; continue with --resume']
        assert len(json.loads((out / 'predictions.json').read_text())) == 1
        assert not list(out.rglob('*.part'))


def test_full_disk(good, model, tmp_path):
    """A separate process; the run continues once there is free space."""
    for number in range(2, 60):
        os.link(good / '1.png', good / f'{number}.png')
    with small_disk(tmp_path / 'disk', '96k') as disk:
        out = disk / 'out'
        options = [str(good), *model, '--out', str(out)]
        with pytest.raises(
            WorkDirError,
            match=(
                f'cannot write to {out}: No space left on device. Images '
                'listed in journal.jsonl are finished: free up disk space, and'
            ),
        ):
            infer.main(options)
        done = journal(out)
        assert 0 < len(done) < 59
        assert not list(out.rglob('*.part*'))
        drawn = list((out / 'pictures').iterdir())
        assert all(cv2.imread(str(file)) is not None for file in drawn)
        subprocess.run(['mount', '-o', 'remount,size=8m', disk], check=True)
        assert infer.main([*options, '--resume']) == 0
        assert journal(out)[: len(done)] == done
        assert [line['index'] for line in journal(out)] == list(range(59))
        assert len(list((out / 'pictures').iterdir())) == 59
        assert len(json.loads((out / 'predictions.json').read_text())) == 59


@pytest.mark.parametrize('encoding', ['utf-8', 'ascii'])
def test_unencodable_file_names(encoding, tmp_path):
    """The last line of a tool contains the path of its output."""
    folder = tmp_path / os.fsdecode('\u00fc'.encode() + b'\xff')
    code = (
        'import sys\nfrom pose_backbones.cli.entry_point import run\n'
        f'sys.stdout.reconfigure(encoding="{encoding}", errors="strict")\n'
        'run(lambda argv: print(f"the page is {sys.argv[1]}"))'
    )
    done = run_code(code, folder / 'page.html')
    assert done.returncode == 0, done.stdout
    name = '\\xfc' if encoding == 'ascii' else '\u00fc'
    assert done.stdout == f'the page is {tmp_path}/{name}\\udcff/page.html\n'
