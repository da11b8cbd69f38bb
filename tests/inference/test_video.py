"""Reading videos and cameras."""

import math

import cv2
import numpy as np
import pytest

from pose_backbones.errors import DatasetError
from pose_backbones.inference.video import read_video
from tests.helpers.video_cases import COLOURS, make_frame, make_video, read_index, rotate


class Capture:
    """Stands in for cv2.VideoCapture: None is a frame that fails."""

    def __init__(self, frames, fps=30.0, stamps=(), count=0.0, size=(0.0, 0.0)):
        self.frames, self.fps, self.count = frames, fps, count
        self.size = size
        self.stamps, self.at, self.open = stamps, -1, True

    def __call__(self, *source):
        return self

    def isOpened(self):
        return self.open

    def release(self):
        self.open = False

    def set(self, *setting):
        return True

    def get(self, name):
        if name == cv2.CAP_PROP_POS_MSEC:
            return self.stamps[self.at]
        return {
            cv2.CAP_PROP_FPS: self.fps,
            cv2.CAP_PROP_FRAME_WIDTH: self.size[0],
            cv2.CAP_PROP_FRAME_HEIGHT: self.size[1],
            cv2.CAP_PROP_FRAME_COUNT: self.count,
        }[name]

    def read(self):
        self.at += 1
        frame = self.frames[self.at] if self.at < len(self.frames) else None
        return frame is not None, frame

    def grab(self):
        return self.read()[0]


def use(monkeypatch, tmp_path, *arguments, **options):
    """Let all captures be a `Capture`; returns it and a file for it."""
    capture = Capture(*arguments, **options)
    monkeypatch.setattr(cv2, 'VideoCapture', capture)
    path = tmp_path / 'fake.gif'
    path.touch()
    return capture, path


FRAMES = [make_frame(index) for index in range(4)]


@pytest.mark.parametrize('fps', [29.97, 12.5])
def test_frames_times_and_properties(tmp_path, fps):
    path = make_video(tmp_path / 'clip.mp4', fps=fps)
    with read_video(path) as video:
        assert video.size == (96, 64)
        assert video.fps == pytest.approx(fps)
        assert video.frame_count == 30
        assert video.name == str(path)
        seen = list(video)
    assert [index for index, _, _ in seen] == list(range(30))
    np.testing.assert_allclose([time for _, time, _ in seen], np.arange(30) / fps, atol=1e-4)
    assert [read_index(frame) for _, _, frame in seen] == list(range(30))
    frame = seen[7][2]
    assert (frame.dtype, frame.shape) == (np.uint8, (64, 96, 3))
    assert np.abs(frame.astype(int) - make_frame(7)).mean() < 8


# As phones write them: x' = a x + c y, y' = b x + d y.
@pytest.mark.parametrize(
    ('matrix', 'corners', 'size'),
    [
        ((1, 0, 0, 1), (0, 1, 2, 3), (96, 64)),
        ((0, 1, -1, 0), (2, 0, 3, 1), (64, 96)),
        ((-1, 0, 0, -1), (3, 2, 1, 0), (96, 64)),
        ((0, -1, 1, 0), (1, 3, 0, 2), (64, 96)),
    ],
    ids=['upright', 'clockwise', 'upside down', 'counterclockwise'],
)
def test_rotated_once(tmp_path, matrix, corners, size):
    path = make_video(tmp_path / 'phone.mp4', 5)
    if matrix[0] != 1:
        rotate(path, matrix)
    video = read_video(path)
    assert video.size == size
    for _, _, frame in video:
        assert frame.shape == (size[1], size[0], 3)
        found = frame[[4, 4, -4, -4], [4, -4, 4, -4]].astype(int)
        expected = np.array([COLOURS[corner] for corner in corners])
        assert np.abs(found - expected).max() < 25


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'no video', 'clip.mp4 cannot be opened as a video: get the file again'),
        (b'', 'clip.mp4 cannot be opened as a video: get'),
        (None, 'clip.mp4 is not there: expected a video file'),
        ('folder', 'clip.mp4 is a folder: expected a video file'),
    ],
)
def test_what_is_no_video(tmp_path, content, message):
    path = tmp_path / 'clip.mp4'
    if content == 'folder':
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_video(path)


def test_a_file_cut_off_before_its_index(tmp_path):
    path = make_video(tmp_path / 'clip.mp4')
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b'moov') - 104])
    with pytest.raises(
        DatasetError, match='cannot be opened as a video, for its last 100 bytes are missing'
    ):
        read_video(path)


def test_a_cut_file_gives_the_frames_before(tmp_path):
    path = make_video(tmp_path / 'clip.avi', codec='MJPG')
    data = path.read_bytes()
    cut = len(data) * 4 // 10
    path.write_bytes(data[:-cut])
    seen = []
    with pytest.raises(DatasetError) as error:
        seen.extend(read_index(frame) for _, _, frame in read_video(path))
    assert 10 < len(seen) < 25
    assert seen == list(range(len(seen)))
    assert (
        f'clip.avi gave {len(seen)} of 30 frames, for its last {cut} '
        'bytes are missing: get the file again'
    ) in str(error.value)


def test_a_file_damaged_in_the_middle(monkeypatch, tmp_path):
    capture, path = use(
        monkeypatch, tmp_path, [*FRAMES[:2], None, None, FRAMES[3]], stamps=(0, 500), count=9.0
    )
    seen = []
    with pytest.raises(DatasetError, match='damaged after 2 of 9 frames, at 0.50 s: get'):
        seen.extend(read_video(path))
    assert len(seen) == 2
    assert not capture.open


@pytest.mark.parametrize(
    ('count', 'noted'), [(5.0, True), (4.0, False), (0.0, False), (-9e15, False)]
)
def test_a_note_on_frames_that_are_wanting(monkeypatch, tmp_path, notes, count, noted):
    _, path = use(monkeypatch, tmp_path, FRAMES, stamps=(0, 10, 20, 30), count=count)
    video = read_video(path)
    assert video.frame_count == (int(count) if count > 0 else None)
    assert len(list(video)) == 4
    assert ('fake.gif gave 4 of 5 frames: it may be damaged' in notes.text) == noted


@pytest.mark.parametrize(
    ('size', 'accepted'),
    [
        ((16_000.0, 16_000.0), False),
        ((40_000.0, 16.0), False),
        ((16.0, 32_767.0), False),
        ((16.0, 32_766.0), True),
        ((13_377.0, 13_377.0), True),
        ((math.inf, math.nan), True),
        ((-1.0, 0.0), True),
    ],
)
def test_the_size_of_frames_has_a_limit(monkeypatch, tmp_path, size, accepted):
    capture, path = use(monkeypatch, tmp_path, FRAMES, size=size)
    if accepted:
        assert read_video(path).size == (96, 64)
        return
    with pytest.raises(
        DatasetError,
        match='fake.gif has frames of '
        f'{size[0]:.0f} x {size[1]:.0f} pixels: expected at '
        'most 178,956,970 pixels, and 32,766 a side',
    ):
        read_video(path)
    assert (capture.at, capture.open) == (-1, False)


def test_no_frame(monkeypatch, tmp_path):
    capture, path = use(monkeypatch, tmp_path, [])
    with pytest.raises(DatasetError, match='fake.gif gives no frame: get'):
        read_video(path)
    assert not capture.open


@pytest.mark.parametrize(
    ('stamps', 'expected'),
    [
        ((0, 40, 50, 200), (0, 0.04, 0.05, 0.2)),
        ((0, 0, 0, 0), (0, 0.1, 0.2, 0.3)),
        ((100, 90, 400, 400), (0.1, 0.2, 0.4, 0.5)),
        ((math.nan, math.nan, 500, math.nan), (0, 0.1, 0.5, 0.6)),
    ],
    ids=['varying', 'none', 'falling', 'nan'],
)
def test_times_always_rise(monkeypatch, tmp_path, stamps, expected):
    _, path = use(monkeypatch, tmp_path, FRAMES, fps=10.0, stamps=stamps)
    times = [time for _, time, _ in read_video(path)]
    np.testing.assert_allclose(times, expected, atol=1e-9)


@pytest.mark.parametrize('fps', [0.0, -1.0, math.nan, math.inf])
def test_a_camera(monkeypatch, tmp_path, notes, fps):
    use(monkeypatch, tmp_path, FRAMES, fps=fps, count=-1.0)
    clock = iter([70.0, 70.25, 70.5, 71.0])
    monkeypatch.setattr('pose_backbones.inference.video.time.monotonic', lambda: next(clock))
    with read_video(2) as video:
        assert (video.name, video.size) == ('camera 2', (96, 64))
        assert video.frame_count is None
        assert video.fps == 25
        seen = []
        with pytest.raises(
            DatasetError, match='camera 2 gave no more frames after 4: is it connected'
        ):
            seen.extend(video)
    assert [index for index, _, _ in seen] == [0, 1, 2, 3]
    assert [time for _, time, _ in seen] == [0, 0.25, 0.5, 1]
    for index, _, frame in seen:
        np.testing.assert_array_equal(frame, FRAMES[index])
    assert (
        notes.text.count('camera 2 does not say how many frames a second it has: 25 are assumed')
        == 1
    )


def test_no_camera(monkeypatch, tmp_path):
    capture, _ = use(monkeypatch, tmp_path, FRAMES)
    capture.open = False
    with pytest.raises(DatasetError, match='camera 7 cannot be opened as a video: is it connected'):
        read_video(7)


@pytest.mark.parametrize('source', [True, 1.0, None, [1]])
def test_neither_path_nor_number(source):
    with pytest.raises(TypeError, match='expected the path or URL of a video'):
        read_video(source)


def test_closes_at_the_end_and_on_an_error(monkeypatch, tmp_path):
    options = dict(stamps=(0, 10, 20, 30))
    capture, path = use(monkeypatch, tmp_path, FRAMES, **options)
    video = read_video(path)
    list(video)
    assert not capture.open
    with pytest.raises(RuntimeError, match='fake.gif has been read or closed'):
        next(iter(video))
    capture, path = use(monkeypatch, tmp_path, FRAMES, **options)
    with pytest.raises(ZeroDivisionError), read_video(path) as video:
        assert [1 / (2 - index) for index, _, _ in video]
    assert not capture.open
    capture, path = use(monkeypatch, tmp_path, FRAMES, **options)
    video = read_video(path)
    for index, _, _ in video:
        if index == 1:
            video.close()
    assert index == 1
