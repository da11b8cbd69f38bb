"""Videos at addresses: files of a server, and streams."""

import functools
import http.server
import shutil
import socket
import subprocess
import threading
import time

import numpy as np
import pytest

from pose_backbones.errors import DatasetError
from pose_backbones.inference.paths import is_live, is_video
from pose_backbones.inference.video import read_video
from tests.helpers.video_cases import make_video, read_index


@pytest.mark.parametrize(
    ('source', 'video', 'live'),
    [
        (0, True, True),
        ('rtsp://user:word@10.0.0.1:554/stream', True, True),
        ('RTMP://host/a.mp4', True, True),
        ('https://example.org/clips/a.MP4?token=1.jpg', True, False),
        ('https://example.org/a.jpg?from=b.mp4', False, False),
        ('clips/a.mov', True, False),
        ('a.png', False, False),
        (np.zeros((4, 4, 3), np.uint8), False, False),
    ],
)
def test_what_is_a_video(source, video, live):
    assert (is_video(source), is_live(source)) == (video, live)


def test_a_video_at_an_address(tmp_path):
    """From a real server; AVI, which can be read from its beginning on."""
    path = make_video(tmp_path / 'clip.avi', 12, 10, 'MJPG')
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f'http://127.0.0.1:{server.server_port}'
        with read_video(f'{root}/clip.avi?a=1') as video:
            found = list(video)
        assert video.name == f'{root}/clip.avi?a=1'
        with pytest.raises(
            DatasetError,
            match='none.avi cannot be opened as a video: is the address right, and in reach?',
        ):
            read_video(f'{root}/none.avi')
        server.shutdown()
    with read_video(path) as video:
        expected = list(video)
    assert len(found) == len(expected) == 12
    for (index, now, frame), (number, then, image) in zip(found, expected):
        assert (index, now) == (number, then)
        np.testing.assert_array_equal(frame, image)


@pytest.mark.skipif(not shutil.which('ffmpeg'), reason='ffmpeg is not there')
def test_a_stream(tmp_path):
    """Of a real sender, which gives a frame when its time has come."""
    path = make_video(tmp_path / 'clip.avi', 20, 10, 'MJPG')
    with socket.create_server(('127.0.0.1', 0)) as free:
        address = f'tcp://127.0.0.1:{free.getsockname()[1]}'
    sender = subprocess.Popen(
        [
            'ffmpeg',
            '-loglevel',
            'error',
            '-re',
            '-i',
            str(path),
            '-c:v',
            'mpeg4',
            '-qscale',
            '2',
            '-f',
            'mpegts',
            f'{address}?listen=1',
        ],
        stdin=subprocess.DEVNULL,
    )
    assert is_live(address)
    for _ in range(100):
        try:
            video = read_video(address)
            break
        except DatasetError:  # it does not listen yet
            time.sleep(0.1)
    seen = []
    with (
        video,
        pytest.raises(
            DatasetError, match='gave no more frames after 20: is the address right, and in reach'
        ),
    ):
        seen.extend(video)
    assert sender.wait(20) == 0
    assert video.frame_count is None
    assert [read_index(frame) for _, _, frame in seen] == list(range(20))
    assert seen[0][1] == 0
