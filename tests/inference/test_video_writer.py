"""Writing videos, with and without ffmpeg."""

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple

import cv2
import numpy as np
import pytest

from pose_backbones.errors import ConfigError, DatasetError, WorkDirError
from pose_backbones.inference import encoders
from pose_backbones.inference.video import VideoError, VideoWriter, read_video
from tests.helpers.video_cases import make_frame, make_video, read_index

FFMPEG = shutil.which('ffmpeg')
needs_ffmpeg = pytest.mark.skipif(not FFMPEG, reason='ffmpeg is not there')


@pytest.fixture
def no_ffmpeg(monkeypatch):
    monkeypatch.setenv('PATH', '')


def fake_ffmpeg(monkeypatch, folder, script: str) -> None:
    """Put a shell script named ffmpeg alone on the PATH."""
    folder.mkdir()
    program = folder / 'ffmpeg'
    program.write_text(f'#!/bin/sh\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(folder))


def fill(writer: VideoWriter, count: int, width=96, height=64) -> None:
    for index in range(count):
        writer.write(make_frame(index, width, height))


def break_off(writer: VideoWriter, count: int, error) -> None:
    """Write some frames and fail."""
    fill(writer, count)
    raise error


def indices(path) -> list[int]:
    return [read_index(frame) for _, _, frame in read_video(path)]


@pytest.mark.parametrize('fps', [29.97, 119.8765, 12])
@pytest.mark.usefixtures('no_ffmpeg')
def test_by_opencv(tmp_path, fps):
    path = tmp_path / 'new' / 'out.mp4'
    with VideoWriter(path, (96, 64), fps) as writer:
        fill(writer, 20)
        assert not path.exists()
    assert writer.frames == 20
    assert writer.close() == path
    with read_video(path) as video:
        assert video.fps == pytest.approx(fps, rel=1e-3)
        assert video.size == (96, 64)
        assert [read_index(frame) for _, _, frame in video] == list(range(20))
    assert list(path.parent.iterdir()) == [path]


def check_odd(tmp_path):
    path = tmp_path / 'out.mp4'
    frame = make_frame(0, 97, 65)
    with VideoWriter(path, (97, 65), 25) as writer:
        writer.write(frame)
    ((_, _, read),) = read_video(path)
    assert read.shape == (66, 98, 3)
    assert np.abs(read[:65, :97].astype(int) - frame).mean() < 8
    assert np.abs(read[4, -3:].astype(int) - frame[4, -1]).max() < 25
    assert np.abs(read[-3:, 4].astype(int) - frame[-1, 4]).max() < 25


@pytest.mark.usefixtures('no_ffmpeg')
def test_odd_sizes_lose_nothing(tmp_path):
    check_odd(tmp_path)


@pytest.mark.usefixtures('no_ffmpeg')
def test_a_users_file_is_kept(tmp_path):
    path = tmp_path / 'mine.mp4'
    path.write_bytes(b'mine')
    with pytest.raises(
        WorkDirError, match='mine.mp4 exists: choose another name, or set overwrite'
    ):
        VideoWriter(path, (96, 64), 25)
    with VideoWriter(path, (96, 64), 25, overwrite=True) as writer:
        fill(writer, 3)
        assert path.read_bytes() == b'mine'
    assert indices(path) == [0, 1, 2]


@pytest.mark.usefixtures('no_ffmpeg')
def test_a_file_that_came_meanwhile_is_kept(tmp_path):
    path = tmp_path / 'out.mp4'
    writer = VideoWriter(path, (96, 64), 25)
    fill(writer, 3)
    path.write_bytes(b'mine')
    with pytest.raises(
        WorkDirError, match='out.mp4 was made by something else meanwhile: the video is '
    ) as error:
        writer.close()
    assert path.read_bytes() == b'mine'
    assert indices(str(error.value).split(' is ')[-1]) == [0, 1, 2]


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
@pytest.mark.usefixtures('no_ffmpeg')
def test_an_error_leaves_the_frames_so_far(tmp_path, error):
    path = tmp_path / 'out.mp4'
    with pytest.raises(error), VideoWriter(path, (96, 64), 25) as writer:
        break_off(writer, 4, error)
    assert indices(path) == [0, 1, 2, 3]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures('no_ffmpeg')
def test_a_full_disk_leaves_the_frames_so_far(tmp_path, monkeypatch):
    path = tmp_path / 'out.mp4'
    usage = namedtuple('usage', 'free')
    with VideoWriter(path, (96, 64), 25) as writer:
        fill(writer, 4)
        monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(1 << 20))
        with pytest.raises(
            VideoError,
            match='has 1024 KiB left, but .*out.mp4 needs 16384 to be finished: make room',
        ):
            fill(writer, 1)
    assert writer.frames == 4
    assert indices(path) == [0, 1, 2, 3]


@pytest.mark.usefixtures('no_ffmpeg')
def test_a_file_that_does_not_play_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr('pose_backbones.inference.video_writer.plays', lambda path: False)
    writer = VideoWriter(tmp_path / 'out.mp4', (96, 64), 25)
    fill(writer, 1)
    with pytest.raises(VideoError, match='out.mp4 could not be finished: is the disk full'):
        writer.close()


def test_what_plays(tmp_path):
    path = make_video(tmp_path / 'clip.mp4', 3)
    assert encoders.plays(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert not encoders.plays(path)


@pytest.mark.usefixtures('no_ffmpeg')
def test_no_frames_no_file(tmp_path):
    with VideoWriter(tmp_path / 'out.mp4', (96, 64), 25) as writer:
        pass
    assert writer.close() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        ({'path': 'out.avi'}, ConfigError, "path is 'out.avi': expected the name"),
        ({'size': (96, 0)}, ValueError, r'size is \(96, 0\): expected 2 whole'),
        ({'size': (96.0, 64)}, TypeError, 'width and height'),
        ({'fps': 0}, ValueError, 'fps is 0: expected a positive number'),
        ({'fps': float('nan')}, ValueError, 'fps is nan: expected a positive'),
        ({'fps': '25'}, ValueError, "fps is '25': expected a positive"),
        (
            {'sound_from': 'none.mp4'},
            DatasetError,
            "sound_from is 'none.mp4', which is no file: expected a video, or None",
        ),
        ({'overwrite': 1}, TypeError, 'overwrite is 1: expected True or False'),
    ],
)
def test_bad_arguments(tmp_path, monkeypatch, changes, error, message):
    monkeypatch.chdir(tmp_path)
    arguments = {'path': 'new/out.mp4', 'size': (96, 64), 'fps': 25}
    with pytest.raises(error, match=message):
        VideoWriter(**{**arguments, **changes})
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures('no_ffmpeg')
def test_bad_frames(tmp_path):
    writer = VideoWriter(tmp_path / 'out.mp4', (96, 64), 25)
    with pytest.raises(
        ValueError,
        match=r'shape \(96, 64, 3\) and the type '
        r'uint8: expected \(64, 96, 3\) and uint8',
    ):
        writer.write(np.zeros((96, 64, 3), np.uint8))
    with pytest.raises(ValueError, match='type float32: expected'):
        writer.write(np.zeros((64, 96, 3), np.float32))
    writer.close()
    with pytest.raises(ValueError, match='closed: no frame can be added'):
        fill(writer, 1)


@pytest.mark.usefixtures('no_ffmpeg')
def test_codecs_in_turn(tmp_path, monkeypatch):
    asked = []

    class Writer:
        def __init__(self, path, code, fps, size):
            asked.append(code.to_bytes(4, 'little').decode())

        def isOpened(self):
            return asked[-1] == works

        def release(self):
            pass

    monkeypatch.setattr(cv2, 'VideoWriter', Writer)
    works = 'avc1'
    monkeypatch.setattr(
        cv2,
        'VideoWriter_fourcc',
        lambda *letters: int.from_bytes(''.join(letters).encode(), 'little'),
    )
    VideoWriter(tmp_path / 'out.mp4', (96, 64), 25).close()
    assert asked == ['mp4v', 'avc1']
    works = ''
    with pytest.raises(
        VideoError,
        match='cannot be written: OpenCV has '
        'neither of the codecs mp4v and avc1, or refuses 96 x '
        '64 pixels at 25 frames a second; install ffmpeg',
    ):
        VideoWriter(tmp_path / 'out.mp4', (96, 64), 25)


@pytest.mark.parametrize(
    ('script', 'reason'), [(None, 'ffmpeg is not on the PATH'), ('exit 1', 'ffmpeg does not work')]
)
def test_one_note_that_there_is_no_sound(tmp_path, monkeypatch, notes, script, reason):
    source = make_video(tmp_path / 'clip.mp4', 3)
    if script is None:
        monkeypatch.setenv('PATH', '')
    else:
        fake_ffmpeg(monkeypatch, tmp_path / 'bin', script)
    with VideoWriter(tmp_path / 'a.mp4', (96, 64), 25) as writer:
        fill(writer, 3)
    assert not notes.text
    with VideoWriter(tmp_path / 'b.mp4', (96, 64), 25, source) as writer:
        fill(writer, 3)
    assert notes.text.count('b.mp4 gets no sound: ') == 1
    assert reason in notes.text
    assert indices(tmp_path / 'b.mp4') == [0, 1, 2]


def test_ffmpeg_that_stops(tmp_path, monkeypatch):
    fake_ffmpeg(
        monkeypatch,
        tmp_path / 'bin',
        'case "$*" in *null*) exit 0;; esac\n'
        'echo "first" >&2; echo "No space left on device" >&2; exit 28',
    )
    with (
        pytest.raises(VideoError, match='ffmpeg has stopped: No space left on device'),
        VideoWriter(tmp_path / 'out.mp4', (96, 64), 25) as writer,
    ):
        fill(writer, 1000)
    assert not (tmp_path / 'out.mp4').exists()


def streams(path) -> str:
    """What ffmpeg says about a file."""
    return subprocess.run(
        [FFMPEG, '-hide_banner', '-i', str(path)], capture_output=True, text=True
    ).stderr


@pytest.fixture(scope='module')
def loud(tmp_path_factory):
    """A video of 30 frames, 1.2 s, with 4 s of sound in an AVI file."""
    if not FFMPEG:
        pytest.skip('ffmpeg is not there')
    folder = tmp_path_factory.mktemp('loud')
    silent, path = make_video(folder / 'a.mp4', fps=25), folder / 'loud.avi'
    subprocess.run(
        [
            FFMPEG,
            '-loglevel',
            'error',
            '-i',
            silent,
            '-f',
            'lavfi',
            '-i',
            'sine=duration=4',
            '-c:v',
            'copy',
            '-c:a',
            'pcm_s16le',
            path,
        ],
        check=True,
    )
    return path


@needs_ffmpeg
@pytest.mark.parametrize('fps', [30000 / 1001, 120000 / 1001, 17.4])
def test_by_ffmpeg_with_sound(tmp_path, loud, fps):
    path = tmp_path / 'out.mp4'
    with VideoWriter(path, (96, 64), fps, loud) as writer:
        fill(writer, 24)
    assert list(tmp_path.iterdir()) == [path]
    video = read_video(path)
    assert video.fps == pytest.approx(fps, rel=1e-6)
    assert [read_index(frame) for _, _, frame in video] == list(range(24))
    said = streams(path)
    assert 'Audio: aac' in said
    codec = encoders.find_codec(FFMPEG)
    assert f'Video: {"mpeg4" if codec == "mpeg4" else "h264"}' in said
    hours, minutes, seconds = said.split('Duration: ')[1].split(',')[0].split(':')
    length = float(seconds) + 60 * float(minutes) + 3600 * float(hours)
    assert length == pytest.approx(24 / fps, abs=0.06)


@needs_ffmpeg
def test_odd_sizes_by_ffmpeg(tmp_path):
    check_odd(tmp_path)


@needs_ffmpeg
def test_sources_without_sound(tmp_path, notes):
    silent = make_video(tmp_path / 'a.mp4', 3)
    with VideoWriter(tmp_path / 'b.mp4', (96, 64), 25, silent) as writer:
        fill(writer, 3)
    assert not notes.text
    silent.write_text('no video')
    with VideoWriter(tmp_path / 'c.mp4', (96, 64), 25, silent) as writer:
        fill(writer, 3)
    assert notes.text.count('c.mp4 gets no sound: ') == 1
    for name in ('b.mp4', 'c.mp4'):
        assert indices(tmp_path / name) == [0, 1, 2]
        assert 'Audio' not in streams(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ['a.mp4', 'b.mp4', 'c.mp4']


@needs_ffmpeg
@pytest.mark.parametrize(
    'text',
    [
        "ffconcat version 1.0\nfile 'loud.avi'\n",
        '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nloud.avi\n#EXT-X-ENDLIST\n',
    ],
)
@pytest.mark.parametrize('name', ['list.mp4', 'list.m3u8'])
def test_no_sound_of_files_that_a_playlist_names(tmp_path, loud, notes, text, name):
    shutil.copy(loud, tmp_path / 'loud.avi')
    (tmp_path / name).write_text(text)
    out = tmp_path / 'out.mp4'
    with VideoWriter(out, (96, 64), 25, tmp_path / name) as writer:
        fill(writer, 3)
    assert notes.text.count('out.mp4 gets no sound: ') == 1
    assert 'Audio' not in streams(out)


@needs_ffmpeg
def test_an_error_with_ffmpeg(tmp_path, loud):
    path = tmp_path / 'out.mp4'
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, (96, 64), 25, loud) as writer:
        break_off(writer, 9, KeyboardInterrupt)
    assert indices(path) == list(range(9))
    assert 'Audio: aac' in streams(path)


@needs_ffmpeg
def test_ctrl_c_in_a_terminal(tmp_path):
    # The terminal sends it to all processes of the group.
    path = tmp_path / 'out.mp4'
    script = (
        'import numpy as np, sys, time\n'
        'from pose_backbones.inference.video import VideoWriter\n'
        'with VideoWriter(sys.argv[1], (96, 64), 25) as writer:\n'
        '    for index in range(600):\n'
        '        writer.write(np.full((64, 96, 3), 90, np.uint8))\n'
        '        if index == 20: print("go", flush=True)\n'
        '        time.sleep(0.1 * (index > 20))\n'
    )
    with subprocess.Popen(
        [sys.executable, '-c', script, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        assert b'go\n' in iter(process.stdout.readline, b'')
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert b'KeyboardInterrupt' in said
    assert b'ffmpeg has stopped' not in said
    assert 21 <= len(list(read_video(path))) < 600
    assert list(tmp_path.iterdir()) == [path]
