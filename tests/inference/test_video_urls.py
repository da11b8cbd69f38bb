"""Tests of videos at URLs: files on a server, and live streams."""

import functools
import http.server
import socket
import threading
import time

import numpy as np
import pytest

from pose_backbones.errors import DatasetError
from pose_backbones.inference import video_reader
from pose_backbones.inference.video_reader import is_live, is_video, read_video
from tests.helpers.video_cases import encode_video, make_video, read_index


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
def test_is_video_and_is_live(source, video, live):
    assert (is_video(source), is_live(source)) == (video, live)


def test_video_from_a_url(tmp_path):
    """Read AVI, which does not require seeking, from a local HTTP server."""
    path = make_video(tmp_path / 'clip.avi', 12, 10, 'MJPG')
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f'http://127.0.0.1:{server.server_port}'
        with read_video(f'{root}/clip.avi?a=1') as video:
            frames = list(video)
        assert video.name == f'{root}/clip.avi?a=1'
        with pytest.raises(
            DatasetError,
            match='none.avi cannot be opened as a video: '
            'check that the URL is correct and reachable',
        ):
            read_video(f'{root}/none.avi')
        server.shutdown()
    with read_video(path) as video:
        expected = list(video)
    assert len(frames) == len(expected) == 12
    for (index, now, frame), (number, then, image) in zip(frames, expected):
        assert (index, now) == (number, then)
        np.testing.assert_array_equal(frame, image)


def send(server: socket.socket, path, pause: float) -> None:
    """Send a file to the first client in chunks."""
    connection, _ = server.accept()
    data = path.read_bytes()
    with connection:
        for start in range(0, len(data), 1316):
            connection.sendall(data[start : start + 1316])
            time.sleep(pause)


def test_live_stream(tmp_path):
    """Read from a sender that transmits frames in real time."""
    path = encode_video(
        tmp_path / 'clip.ts', 'mpeg2video', times=np.arange(20) / 25, stream={'qscale': '2'}
    )
    with socket.create_server(('127.0.0.1', 0)) as server:
        url = f'tcp://127.0.0.1:{server.getsockname()[1]}'
        sender = threading.Thread(target=send, args=(server, path, 0.05), daemon=True)
        sender.start()
        assert is_live(url)
        seen = []
        with (
            read_video(url) as video,
            pytest.raises(
                DatasetError,
                match='stopped after 20 frames: check that the URL is correct and reachable',
            ),
        ):
            seen.extend(video)
        sender.join(20)
    assert video.frame_count is None
    assert [read_index(frame) for _, _, frame in seen] == list(range(20))
    times = [now for _, now, _ in seen]
    assert times[0] == 0
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    'url',
    [
        'file://{path}',
        'concat://{path}',
        'subfile,,start,0,end,0,,://{path}',
        'cache:file://{path}',
        'async:file://{path}',
        'data://{path}',
        'pipe://0',
    ],
)
def test_unreachable_urls_raise(tmp_path, url):
    path = make_video(tmp_path / 'clip.avi', 3, 10, 'MJPG')
    with pytest.raises(DatasetError, match='cannot be opened as a video: check that the URL'):
        read_video(url.format(path=path))


def test_server_timeout_raises(monkeypatch):
    monkeypatch.setattr(video_reader, '_TIMEOUT', 0.5)
    with socket.create_server(('127.0.0.1', 0)) as server:
        start = time.monotonic()
        with pytest.raises(DatasetError, match='cannot be opened as a video: check that the URL'):
            read_video(f'http://127.0.0.1:{server.getsockname()[1]}/a.mp4')
    assert time.monotonic() - start < 5
