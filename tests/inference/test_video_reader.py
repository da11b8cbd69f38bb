"""Tests of reading videos and cameras."""

import math
import os
import sys
from contextlib import suppress

import av
import cv2
import numpy as np
import pytest

from pose_backbones.errors import ConfigError, DatasetError
from pose_backbones.inference import video_reader
from pose_backbones.inference.inputs import Inputs
from pose_backbones.inference.video_reader import increasing_time, read_video
from tests.helpers.video_cases import (
    COLOURS,
    encode_video,
    make_frame,
    make_video,
    read_index,
    rotate,
)

FRAMES = [make_frame(index) for index in range(4)]


class Camera:
    """Replacement for cv2.VideoCapture."""

    def __init__(self, frames, fps=30.0):
        self.frames, self.fps = list(frames), fps
        self.is_open = True

    def __call__(self, number):
        return self

    def isOpened(self):
        return self.is_open

    def release(self):
        self.is_open = False

    def get(self, name):
        assert name == cv2.CAP_PROP_FPS
        return self.fps

    def read(self):
        return (True, self.frames.pop(0)) if self.frames else (False, None)


def is_open(path) -> bool:
    """Return whether this process has a file open."""
    status = os.stat(path)
    for descriptor in os.listdir('/proc/self/fd'):
        with suppress(OSError):  # of listing the directory itself
            if os.path.samestat(status, os.fstat(int(descriptor))):
                return True
    return False


@pytest.mark.parametrize('fps', [29.97, 12.5])
def test_video_frames_times_and_properties(tmp_path, fps):
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
    assert frame.flags.c_contiguous
    assert np.abs(frame.astype(int) - make_frame(7)).mean() < 8


@pytest.mark.parametrize(
    ('name', 'codec'),
    [
        ('clip.mov', 'mp4v'),
        ('clip.avi', 'MJPG'),
        ('clip.mkv', 'MJPG'),
        ('clip.ts', 'mpg2'),
        ('clip.mpg', 'mpg1'),
        ('clip.flv', 'FLV1'),
        ('clip.wmv', 'WMV2'),
        ('clip.webm', 'VP80'),
        ('clip.mts', 'mpg2'),
        ('clip.m4v', 'mp4v'),
    ],
)
def test_video_containers(tmp_path, name, codec):
    path = make_video(tmp_path / name, 10, 25, codec)
    video = read_video(path)
    assert video.frame_count in (10, None)
    seen = list(video)
    assert [read_index(frame) for _, _, frame in seen] == list(range(10))
    np.testing.assert_allclose([time for _, time, _ in seen], np.arange(10) / 25, atol=1e-3)


def test_variable_frame_rate_times(tmp_path):
    times = (0.0, 0.04, 0.05, 0.5, 0.517, 2.0)
    path = encode_video(tmp_path / 'clip.mp4', times=times)
    seen = list(read_video(path))
    np.testing.assert_allclose([time for _, time, _ in seen], times, atol=1e-6)
    assert [read_index(frame) for _, _, frame in seen] == list(range(6))


@pytest.mark.parametrize(
    ('colorspace', 'red', 'blue'),
    [(5, 0.299, 0.114), (1, 0.2126, 0.0722), (9, 0.2627, 0.0593)],
    ids=['BT.601', 'BT.709', 'BT.2020'],
)
def test_ten_bit_video_and_colour_spaces(tmp_path, colorspace, red, blue):
    """Frames are converted with the colour matrix of the file, as in video players."""
    path = tmp_path / 'clip.mp4'
    r, g, b = 0.1, 0.8, 0.3
    luma = red * r + (1 - red - blue) * g + blue * b
    values = (luma, (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red))
    frame = av.VideoFrame(96, 64, 'yuv420p10le')
    frame.colorspace, frame.color_range = colorspace, 1
    for plane, value, low, span in zip(frame.planes, values, (64, 512, 512), (876, 896, 896)):
        count = plane.buffer_size // 2
        plane.update(np.full(count, round(low + span * value), np.uint16).tobytes())
    with av.open(str(path), 'w') as output:
        stream = output.add_stream('libx264', rate=25, options={'qp': '0'})
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p10le'
        stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, 1
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    ((_, _, image),) = read_video(path)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image[30, 40], np.array([b, g, r]) * 255, atol=3)


# Matrices of phone videos: x' = a x + c y, y' = b x + d y.
@pytest.mark.parametrize(
    ('matrix', 'corners', 'size'),
    [
        ((1, 0, 0, 1), (0, 1, 2, 3), (96, 64)),
        ((0, 1, -1, 0), (2, 0, 3, 1), (64, 96)),
        ((-1, 0, 0, -1), (3, 2, 1, 0), (96, 64)),
        ((0, -1, 1, 0), (1, 3, 0, 2), (64, 96)),
        ((-1, 0, 0, 1), (1, 0, 3, 2), (96, 64)),
        ((1, 0, 0, -1), (2, 3, 0, 1), (96, 64)),
        ((0, 1, 1, 0), (0, 2, 1, 3), (64, 96)),
    ],
    ids=[
        'upright',
        'clockwise',
        'upside down',
        'counterclockwise',
        'mirrored',
        'mirrored upside down',
        'transposed',
    ],
)
def test_display_matrix_is_applied(tmp_path, matrix, corners, size):
    path = make_video(tmp_path / 'phone.mp4', 5)
    if matrix != (1, 0, 0, 1):
        rotate(path, matrix)
    video = read_video(path)
    assert video.size == size
    seen = list(video)
    assert len(seen) == 5
    for _, _, frame in seen:
        assert frame.shape == (size[1], size[0], 3)
        corner_colours = frame[[4, 4, -4, -4], [4, -4, 4, -4]].astype(int)
        expected = np.array([COLOURS[corner] for corner in corners])
        assert np.abs(corner_colours - expected).max() < 25


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            b'no video',
            'clip.mp4 cannot be opened as a video: it is not a video, or .*: get the file again',
        ),
        (b'', 'clip.mp4 cannot be opened as a video: it is not a video'),
        (None, 'cannot read the video .*clip.mp4: there is no such file'),
        ('folder', 'cannot read the video .*clip.mp4: it is a directory'),
    ],
)
def test_invalid_videos_raise(tmp_path, content, message):
    path = tmp_path / 'clip.mp4'
    if content == 'folder':
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_video(path)


def test_image_and_audio_files_raise(tmp_path):
    data = cv2.imencode('.png', make_frame(0))[1].tobytes()
    (tmp_path / 'clip.mp4').write_bytes(data)
    with pytest.raises(
        DatasetError, match='clip.mp4 is not a video but a playlist, .* another type'
    ):
        read_video(tmp_path / 'clip.mp4')
    with av.open(str(tmp_path / 'sound.wav'), 'w') as output:
        stream = output.add_stream('pcm_s16le', rate=8000, layout='mono')
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), 's16', 'mono')
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
    with pytest.raises(DatasetError, match='sound.wav cannot .*: it has no video stream'):
        read_video(tmp_path / 'sound.wav')


def test_missing_pyav_raises(tmp_path, monkeypatch):
    """The error is raised before any other input is read."""
    monkeypatch.setitem(sys.modules, 'av', None)
    message = r"needs PyAV: pip install 'pose_backbones\[video\]'"
    path = make_video(tmp_path / 'clip.mp4', 3)
    cv2.imwrite(str(tmp_path / 'a.png'), make_frame(0))
    with pytest.raises(ConfigError, match=message):
        read_video(path)
    with pytest.raises(ConfigError, match=message):
        Inputs([tmp_path / 'a.png', path])
    items = iter(Inputs(iter([tmp_path / 'a.png', path])))
    assert next(items).name == str(tmp_path / 'a.png')
    with pytest.raises(ConfigError, match=message):
        next(items)
    assert len(list(Inputs([tmp_path / 'a.png']))) == 1
    assert Inputs([0]).parts == [0]


def test_video_truncated_before_its_index_raises(tmp_path):
    path = make_video(tmp_path / 'clip.mp4')
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b'moov') - 104])
    with pytest.raises(
        DatasetError,
        match='clip.mp4 cannot be opened as a video: .*, or its end with the index is missing',
    ):
        read_video(path)
    assert not is_open(path)


@pytest.mark.parametrize(
    ('name', 'options', 'of'),
    [
        ('clip.avi', {'codec': 'mjpeg', 'pix_fmt': 'yuvj420p'}, ' of 30'),
        ('clip.mp4', {'container': {'movflags': 'faststart'}, 'stream': {'g': '1'}}, ' of 30'),
        (
            'clip.mp4',
            {
                'container': {
                    'movflags': 'empty_moov+default_base_moof',
                    'frag_duration': '400000',
                },
                'stream': {'g': '1', 'force-cfr': '1'},
            },
            ' of 20',
        ),
        ('clip.mkv', {'container': {'cluster_time_limit': '200'}, 'stream': {'g': '1'}}, ' of 30'),
    ],
    ids=['AVI', 'MP4', 'fragmented MP4', 'Matroska'],
)
def test_truncated_video_raises_after_readable_frames(tmp_path, name, options, of):
    path = encode_video(tmp_path / name, **options)
    assert len(list(read_video(path))) == 30
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    video, seen = read_video(path), []
    with pytest.raises(DatasetError) as error:
        seen.extend(read_index(frame) for _, _, frame in video)
    assert 5 < len(seen) < 25
    assert seen == list(range(len(seen)))
    assert f'{name}: read {len(seen)}{of} frames, up to {(len(seen) - 1) / 25:.2f} s' in str(
        error.value
    )
    assert 'because the end of the file is missing or damaged: get the file again' in str(
        error.value
    )
    assert not is_open(path)


def damage(path, frames) -> None:
    """Overwrite some JPEG frames of an AVI file."""
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux() if packet.size]
    data = path.read_bytes()
    for frame in frames:
        data = data.replace(packets[frame], bytes(len(packets[frame])))
    path.write_bytes(data)


def test_damaged_frame_is_skipped(tmp_path, mmengine_log):
    path = make_video(tmp_path / 'clip.avi', 9, 10, 'MJPG')
    damage(path, [3, 4])
    seen = [(read_index(frame), round(time, 3)) for _, time, frame in read_video(path)]
    assert seen == [(index, index / 10) for index in (0, 1, 2, 5, 6, 7, 8)]
    assert (
        mmengine_log.text.count(
            'clip.avi may be damaged: read 7 of 9 frames, and 2 packets could not be decoded'
        )
        == 1
    )


def test_video_damaged_at_its_end_raises(tmp_path):
    path = make_video(tmp_path / 'clip.avi', 9, 10, 'MJPG')
    damage(path, range(6, 9))
    seen = []
    with pytest.raises(DatasetError, match='read 6 of 9 frames, up to 0.50 s, because the end of'):
        seen.extend(read_index(frame) for _, _, frame in read_video(path))
    assert seen == list(range(6))
    damage(path, range(9))
    with pytest.raises(DatasetError, match='clip.avi has no frames: get'):
        read_video(path)
    assert not is_open(path)


@pytest.mark.parametrize(('count', 'logged'), [(40, True), (31, False)])
def test_missing_frames_are_logged(tmp_path, mmengine_log, count, logged):
    path = make_video(tmp_path / 'clip.avi', codec='MJPG')
    data = bytearray(path.read_bytes())
    start = data.index(b'strh') + 8 + 32  # length field of the stream header
    assert int.from_bytes(data[start : start + 4], 'little') == 30
    data[start : start + 4] = count.to_bytes(4, 'little')
    path.write_bytes(data)
    video = read_video(path)
    assert video.frame_count == count
    assert len(list(video)) == 30
    assert (f'clip.avi may be damaged: read 30 of {count} frames' in mmengine_log.text) == logged


@pytest.mark.parametrize(
    ('size', 'most', 'accepted'),
    [
        ((32_768, 16), None, False),
        ((16, 32_768), None, False),
        ((16, 32_766), None, True),
        ((96, 64), 96 * 64 - 1, False),
        ((96, 64), 96 * 64, True),
    ],
)
def test_frame_size_limit(monkeypatch, tmp_path, size, most, accepted):
    path = encode_video(tmp_path / 'clip.avi', 'mjpeg', times=[0], size=size, pix_fmt='yuvj420p')
    if most is not None:
        monkeypatch.setattr(video_reader, 'MAX_PIXELS', most)
    if accepted:
        with read_video(path) as video:
            assert video.size == size
        return
    with pytest.raises(
        DatasetError,
        match=f'clip.avi has frames of {size[0]} x {size[1]} pixels: expected at most '
        f'{most or 178_956_970:,} pixels, and 32,766 per side',
    ):
        read_video(path)
    assert not is_open(path)


@pytest.mark.parametrize(
    ('stamps', 'expected'),
    [
        ((0, 0.04, 0.05, 0.2), (0, 0.04, 0.05, 0.2)),
        ((None, None, None), (0, 0.1, 0.2)),
        ((0, 0, 0, 0), (0, 0.1, 0.2, 0.3)),
        ((0.1, 0.09, 0.4, 0.4), (0.1, 0.2, 0.4, 0.5)),
        ((math.nan, math.nan, 0.5, math.inf), (0, 0.1, 0.5, 0.6)),
        ((-0.2, 0.1), (-0.2, 0.1)),
    ],
    ids=['varying', 'none', 'equal', 'falling', 'not finite', 'negative'],
)
def test_increasing_time(stamps, expected):
    now, increasing = -math.inf, []
    for stamp in stamps:
        now = increasing_time(stamp, now, 10.0)
        increasing.append(now)
    np.testing.assert_allclose(increasing, expected, atol=1e-9)


def test_times_without_time_stamps(tmp_path):
    path = encode_video(tmp_path / 'clip.h264', times=np.arange(5) / 25, stream={'bf': '0'})
    times = [time for _, time, _ in read_video(path)]
    np.testing.assert_allclose(times, np.arange(5) / 25, atol=1e-6)


@pytest.mark.parametrize('fps', [0.0, -1.0, math.nan, math.inf])
def test_camera_frames_and_times(monkeypatch, mmengine_log, fps):
    monkeypatch.setattr(cv2, 'VideoCapture', Camera(FRAMES, fps))
    clock = iter([70.0, 70.25, 70.5, 71.0])
    monkeypatch.setattr(video_reader.time, 'monotonic', lambda: next(clock))
    with read_video(2) as video:
        assert (video.name, video.size) == ('camera 2', (96, 64))
        assert video.frame_count is None
        assert video.fps == 25
        seen = []
        with pytest.raises(
            DatasetError, match='camera 2 stopped after 4 frames: check that it is connected'
        ):
            seen.extend(video)
    assert [index for index, _, _ in seen] == [0, 1, 2, 3]
    assert [time for _, time, _ in seen] == [0, 0.25, 0.5, 1]
    for index, _, frame in seen:
        np.testing.assert_array_equal(frame, FRAMES[index])
    assert (
        mmengine_log.text.count(
            'camera 2 does not state its frame rate: assuming 25 frames per second'
        )
        == 1
    )


def test_missing_camera_raises(monkeypatch):
    camera = Camera(FRAMES)
    camera.is_open = False
    monkeypatch.setattr(cv2, 'VideoCapture', camera)
    with pytest.raises(
        DatasetError, match='camera 7 cannot be opened as a video: check that it is connected'
    ):
        read_video(7)


def test_camera_without_frames_raises(monkeypatch):
    camera = Camera([])
    monkeypatch.setattr(cv2, 'VideoCapture', camera)
    with pytest.raises(DatasetError, match='camera 1 has no frames: check that it is connected'):
        read_video(1)
    assert not camera.is_open


@pytest.mark.parametrize('source', [True, 1.0, None, [1]])
def test_invalid_source_raises(source):
    with pytest.raises(TypeError, match='expected the path or URL of a video'):
        read_video(source)


def test_video_is_closed_at_the_end_and_on_errors(tmp_path):
    path = make_video(tmp_path / 'clip.mp4', 4)
    video = read_video(path)
    assert is_open(path)
    assert len(list(video)) == 4
    assert not is_open(path)
    with pytest.raises(RuntimeError, match='clip.mp4 has already been read or closed'):
        next(iter(video))
    with pytest.raises(ZeroDivisionError), read_video(path) as video:
        assert [1 / (2 - index) for index, _, _ in video]
    assert not is_open(path)
    video = read_video(path)
    for index, _, _ in video:
        if index == 1:
            video.close()
    assert index == 1
    assert not is_open(path)


def test_unusual_file_names(tmp_path):
    source = make_video(tmp_path / 'clip.mp4', 3)
    for name in (b'caf\xe9.mp4', b'a:b%d?.mp4', b'-i.mp4'):
        path = os.path.join(str(tmp_path), os.fsdecode(name))
        with open(path, 'wb') as file:
            file.write(source.read_bytes())
        assert len(list(read_video(path))) == 3


def test_fps_is_the_mean_rate(tmp_path):
    path = encode_video(
        tmp_path / 'clip.mp4', times=[0, 0.1, 0.2, 0.3, 0.8, 0.9], stream={'bf': '0'}
    )
    with read_video(path) as video:
        assert video.fps == pytest.approx(6 / 0.94, rel=1e-3)
