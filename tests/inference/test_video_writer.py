"""Tests of writing videos: frames, times, sound, and playable files after errors."""

import os
import resource
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import av
import numpy as np
import pytest

from pose_backbones.errors import ConfigError, DatasetError, WorkDirError
from pose_backbones.inference.video_reader import read_video
from pose_backbones.inference.video_writer import DiskFullError, VideoError, VideoWriter
from tests.helpers.video_cases import encode_video, make_frame, make_video, read_index


def fill(writer: VideoWriter, count: int, width: int = 96, height: int = 64) -> None:
    for index in range(count):
        writer.write(make_frame(index, width, height))


def interrupt(writer: VideoWriter, count: int, error) -> None:
    """Write some frames, then raise an error."""
    fill(writer, count)
    raise error


def indices(path) -> list[int]:
    return [read_index(frame) for _, _, frame in read_video(path)]


def streams(path) -> list[tuple[str, str, float]]:
    """Return type, codec and duration in seconds of each stream."""
    with av.open(str(path)) as container:
        return [
            (item.type, item.codec_context.name, float(item.duration * item.time_base))
            for item in container.streams
        ]


def packets(path, most: float) -> list[tuple[float, bytes]]:
    """Return time and content of the audio packets up to a given time."""
    with av.open(str(path)) as container:
        source = container.streams.audio[0]
        return [
            (float(packet.pts * packet.time_base), bytes(packet))
            for packet in container.demux(source)
            if packet.size and 0 <= packet.pts * packet.time_base < most
        ]


@pytest.mark.parametrize('fps', [29.97, 119.8765, 12, 30000 / 1001, 120000 / 1001, 17.4])
def test_written_frames_and_rate(tmp_path, fps):
    path = tmp_path / 'new' / 'out.mp4'
    with VideoWriter(path, (96, 64), fps) as writer:
        fill(writer, 20)
        assert not path.exists()
    assert writer.frames == 20
    assert writer.close() == path
    with read_video(path) as video:
        assert video.fps == pytest.approx(fps, rel=1e-5)
        assert video.size == (96, 64)
        seen = list(video)
    assert [read_index(frame) for _, _, frame in seen] == list(range(20))
    np.testing.assert_allclose([time for _, time, _ in seen], np.arange(20) / fps, atol=1e-4)
    ((kind, codec, seconds),) = streams(path)
    assert (kind, codec) == ('video', 'h264')
    assert seconds == pytest.approx(20 / fps, abs=1e-3)
    assert list(path.parent.iterdir()) == [path]
    data = path.read_bytes()
    assert data.index(b'moov') < data.index(b'mdat')
    assert b'moof' not in data


def test_written_times_of_a_variable_rate(tmp_path):
    times = (0.0, 0.033, 0.5, 0.52, 2.0)
    path = tmp_path / 'out.mp4'
    with VideoWriter(path, (96, 64), 25) as writer:
        for index, time in enumerate(times):
            writer.write(make_frame(index), time)
    seen = list(read_video(path))
    np.testing.assert_allclose([time for _, time, _ in seen], times, atol=2e-4)
    assert [read_index(frame) for _, _, frame in seen] == list(range(5))
    assert streams(path)[0][2] == pytest.approx(2.04, abs=1e-3)


def test_written_times_increase(tmp_path):
    path = tmp_path / 'out.mp4'
    with VideoWriter(path, (96, 64), 25) as writer:
        for index, time in enumerate((1.0, 0.5, 0.5, 2.0)):
            writer.write(make_frame(index), time)
    times = [time for _, time, _ in read_video(path)]
    assert times == sorted(set(times))
    assert times[-1] - times[0] == pytest.approx(1, abs=1e-3)


def test_odd_frame_sizes_are_padded(tmp_path):
    path = tmp_path / 'out.mp4'
    frame = make_frame(0, 97, 65)
    with VideoWriter(path, (97, 65), 25) as writer:
        writer.write(frame)
    ((_, _, read),) = read_video(path)
    assert read.shape == (66, 98, 3)
    assert np.abs(read[:65, :97].astype(int) - frame).mean() < 8
    assert np.abs(read[4, -3:].astype(int) - frame[4, -1]).max() < 25
    assert np.abs(read[-3:, 4].astype(int) - frame[-1, 4]).max() < 25


def test_existing_file_raises(tmp_path):
    path = tmp_path / 'mine.mp4'
    path.write_bytes(b'mine')
    with pytest.raises(
        WorkDirError, match='mine.mp4 already exists: choose another name, or set overwrite'
    ):
        VideoWriter(path, (96, 64), 25)
    with VideoWriter(path, (96, 64), 25, overwrite=True) as writer:
        fill(writer, 3)
        assert path.read_bytes() == b'mine'
    assert indices(path) == [0, 1, 2]


def test_file_created_during_writing_is_kept(tmp_path):
    path = tmp_path / 'out.mp4'
    writer = VideoWriter(path, (96, 64), 25)
    fill(writer, 3)
    path.write_bytes(b'mine')
    with pytest.raises(
        WorkDirError, match='out.mp4 was created by another process: the video is '
    ) as error:
        writer.close()
    assert path.read_bytes() == b'mine'
    assert indices(str(error.value).split(' is ')[-1]) == [0, 1, 2]


@pytest.mark.parametrize('sound', [False, True])
@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_video_is_finished_after_an_error(tmp_path, error, sound):
    source = encode_video(tmp_path / 'loud.mp4', sound='aac') if sound else None
    path = tmp_path / 'out' / 'out.mp4'
    with pytest.raises(error), VideoWriter(path, (96, 64), 25, source) as writer:
        interrupt(writer, 4, error)
    assert indices(path) == [0, 1, 2, 3]
    assert list(path.parent.iterdir()) == [path]
    assert [codec for _, codec, _ in streams(path)] == ['h264', 'aac'][: 1 + sound]


def test_video_is_finished_before_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / 'out.mp4'
    usage = namedtuple('usage', 'free')
    with VideoWriter(path, (96, 64), 25) as writer:
        fill(writer, 4)
        monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(1 << 20))
        with pytest.raises(
            DiskFullError,
            match='has 1024 KiB left, but finishing .*out.mp4 needs 16384 KiB: free up',
        ):
            fill(writer, 1)
    assert writer.frames == 4
    assert indices(path) == [0, 1, 2, 3]


def fill_with_noise(writer: VideoWriter, count: int) -> None:
    """Write noise, which is hard to compress."""
    for index in range(count):
        writer.write(np.random.default_rng(index).integers(0, 256, (64, 96, 3), np.uint8))


def test_full_disk_raises(tmp_path):
    """A file size limit of the process simulates a full disk."""
    writer = VideoWriter(tmp_path / 'out.mp4', (96, 64), 25)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(DiskFullError, match='out.mp4 cannot be written: .*File too large'):
            fill_with_noise(writer, 500)
        assert 10 < writer.frames < 500
        with pytest.raises(VideoError, match='out.mp4 could not be finished: .*The incomplete'):
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (part,) = tmp_path.iterdir()
    assert part.name == f'out.part{os.getpid()}.mp4'
    seen = []
    with pytest.raises(DatasetError, match='the end of the file is missing'):
        seen.extend(read_video(part))
    assert len(seen) >= 10
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_fragments_are_kept_if_remuxing_fails(tmp_path, mmengine_log, monkeypatch):
    """The fragmented file is kept if it cannot be copied."""
    source = encode_video(tmp_path / 'loud.mp4', sound='aac')

    def full(*args):
        raise OSError(28, 'No space left on device')

    path = tmp_path / 'out' / 'out.mp4'
    monkeypatch.setattr(VideoWriter, '_copy', full)
    with VideoWriter(path, (96, 64), 25, source) as writer:
        fill(writer, 3)
    assert mmengine_log.text.count('out.mp4 has no sound: ') == 1
    assert indices(path) == [0, 1, 2]
    assert list(path.parent.iterdir()) == [path]


def test_no_frames_write_no_file(tmp_path):
    with VideoWriter(tmp_path / 'out.mp4', (96, 64), 25) as writer:
        pass
    assert writer.close() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        ({'path': 'out.avi'}, ConfigError, "path is 'out.avi': expected an MP4 file"),
        ({'size': (96, 0)}, ValueError, r'size is \(96, 0\): expected 2 integers'),
        ({'size': (96.0, 64)}, TypeError, 'width and height'),
        ({'fps': 0}, ValueError, 'fps is 0: expected a positive number'),
        ({'fps': float('nan')}, ValueError, 'fps is nan: expected a positive'),
        ({'fps': '25'}, ValueError, "fps is '25': expected a positive"),
        (
            {'sound_from': 'none.mp4'},
            DatasetError,
            "sound_from is 'none.mp4', which is not a file: expected a video or None",
        ),
        ({'overwrite': 1}, TypeError, 'overwrite is 1: expected True or False'),
    ],
)
def test_invalid_arguments_raise(tmp_path, monkeypatch, changes, error, message):
    monkeypatch.chdir(tmp_path)
    arguments = {'path': 'new/out.mp4', 'size': (96, 64), 'fps': 25}
    with pytest.raises(error, match=message):
        VideoWriter(**{**arguments, **changes})
    assert not list(tmp_path.iterdir())


def test_unsupported_frame_size_raises(tmp_path):
    with pytest.raises(
        VideoError,
        match=r'out.mp4 cannot be written: libx264 does not support 40000 x 64 pixels at '
        r'25 frames per second .*; write images instead of a video',
    ):
        VideoWriter(tmp_path / 'out.mp4', (40_000, 64), 25)
    assert not list(tmp_path.iterdir())


def test_missing_pyav_raises(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(ConfigError, match=r"needs PyAV: pip install 'pose_backbones\[video\]'"):
        VideoWriter(tmp_path / 'out.mp4', (96, 64), 25)
    assert not list(tmp_path.iterdir())


def test_fallback_encoders(tmp_path, monkeypatch):
    """PyAV builds without x264 use another encoder."""
    monkeypatch.setattr(av, 'codecs_available', {'mpeg4', 'aac'})
    with VideoWriter(tmp_path / 'out.mp4', (96, 64), 25) as writer:
        fill(writer, 5)
    assert indices(tmp_path / 'out.mp4') == list(range(5))
    assert streams(tmp_path / 'out.mp4')[0][1] == 'mpeg4'


def test_invalid_frames_raise(tmp_path):
    writer = VideoWriter(tmp_path / 'out.mp4', (96, 64), 25)
    with pytest.raises(
        ValueError,
        match=r'shape \(96, 64, 3\) and the type uint8: expected \(64, 96, 3\) and uint8',
    ):
        writer.write(np.zeros((96, 64, 3), np.uint8))
    with pytest.raises(ValueError, match='type float32: expected'):
        writer.write(np.zeros((64, 96, 3), np.float32))
    writer.close()
    with pytest.raises(ValueError, match='closed: no frame can be added'):
        fill(writer, 1)


@pytest.mark.parametrize(
    ('name', 'codec', 'written', 'fps'),
    [
        ('loud.mp4', 'aac', 'aac', 30000 / 1001),
        ('loud.mkv', 'ac3', 'ac3', 120000 / 1001),
        ('loud.mkv', 'libmp3lame', 'mp3float', 17.4),
        ('loud.mkv', 'flac', 'flac', 25),
    ],
)
def test_sound_is_copied(tmp_path, name, codec, written, fps):
    source = encode_video(tmp_path / name, sound=codec)
    path = tmp_path / 'out' / 'out.mp4'
    with VideoWriter(path, (96, 64), fps, source) as writer:
        fill(writer, 24)
    assert list(path.parent.iterdir()) == [path]
    video = read_video(path)
    assert video.fps == pytest.approx(fps, rel=1e-6)
    assert [read_index(frame) for _, _, frame in video] == list(range(24))
    (kind, codec, seconds), (other, sound, length) = streams(path)
    assert (kind, codec, other, sound) == ('video', 'h264', 'audio', written)
    assert seconds == pytest.approx(24 / fps, abs=1e-3)
    assert length == pytest.approx(24 / fps, abs=0.12)  # packets of FLAC are long
    actual, expected = packets(path, 24 / fps), packets(source, 24 / fps)
    assert len(actual) == len(expected) > 1
    assert [data for _, data in actual] == [data for _, data in expected]
    np.testing.assert_allclose(
        [time for time, _ in actual], [time for time, _ in expected], atol=2e-3
    )


def tone(path) -> np.ndarray:
    """Return the audio samples, from -1 to 1."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format='flt', layout='mono', rate=44_100)
        parts = [
            item.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for item in resampler.resample(frame)
        ]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ('name', 'rate'), [('loud.avi', 44_100), ('loud.mkv', 16_000), ('loud.mkv', 192_000)]
)
def test_unsupported_sound_is_reencoded(tmp_path, name, rate):
    source = encode_video(tmp_path / name, 'mpeg4', sound='pcm_s16le', sample_rate=rate)
    path = tmp_path / 'out.mp4'
    with VideoWriter(path, (96, 64), 25, source) as writer:
        fill(writer, 24)
    assert [codec for _, codec, _ in streams(path)] == ['h264', 'aac']
    assert streams(path)[1][2] == pytest.approx(0.96, abs=0.06)
    actual, expected = tone(path), tone(source)
    for samples in (actual, expected):  # a tone of 440 Hz with equal amplitude
        middle = samples[8000 : 8000 + 22_050]
        assert np.argmax(np.abs(np.fft.rfft(middle))) == 220
        assert np.abs(middle).max() == pytest.approx(8000 / 32768, rel=0.05)


def test_sound_is_synchronized_with_the_first_frame(tmp_path):
    """In the source, the video starts half a second after the sound."""
    times = 0.5 + np.arange(25) / 25
    source = encode_video(tmp_path / 'loud.mkv', times=times, sound='aac', stream={'bf': '0'})
    with VideoWriter(tmp_path / 'out.mp4', (96, 64), 25, source) as writer:
        fill(writer, 20)
    actual = packets(tmp_path / 'out.mp4', 0.8)
    later = [data for time, data in packets(source, 9) if time >= 0.5]
    assert [data for _, data in actual] == later[: len(actual)]
    assert actual[0][0] < 0.03


def test_sound_sources_without_sound(tmp_path, mmengine_log):
    silent = make_video(tmp_path / 'a.mp4', 3)
    with VideoWriter(tmp_path / 'b.mp4', (96, 64), 25, silent) as writer:
        fill(writer, 3)
    assert not mmengine_log.text
    silent.write_text('no video')
    with VideoWriter(tmp_path / 'c.mp4', (96, 64), 25, silent) as writer:
        fill(writer, 3)
    assert mmengine_log.text.count('c.mp4 has no sound: ') == 1
    for name in ('b.mp4', 'c.mp4'):
        assert indices(tmp_path / name) == [0, 1, 2]
        assert len(streams(tmp_path / name)) == 1
    assert sorted(os.listdir(tmp_path)) == ['a.mp4', 'b.mp4', 'c.mp4']


def test_sound_of_a_truncated_file(tmp_path, mmengine_log):
    source = encode_video(
        tmp_path / 'loud.mp4', sound='aac', container={'movflags': 'faststart'}, seconds=1.2
    )
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 7 // 10])
    with VideoWriter(tmp_path / 'out.mp4', (96, 64), 25, source) as writer:
        fill(writer, 24)
    # PyAV may log the error of FFmpeg.
    assert not [r for r in mmengine_log.records if not r.name.startswith('libav')]
    assert indices(tmp_path / 'out.mp4') == list(range(24))
    actual = packets(tmp_path / 'out.mp4', 9)
    assert 5 < len(actual) < 42
    assert [data for _, data in actual] == [data for _, data in packets(source, 9)][: len(actual)]


@pytest.mark.parametrize(
    'text',
    [
        "ffconcat version 1.0\nfile 'loud.avi'\n",
        '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nloud.avi\n#EXT-X-ENDLIST\n',
    ],
)
@pytest.mark.parametrize('name', ['list.mp4', 'list.m3u8'])
def test_sound_of_playlists_is_not_read(tmp_path, mmengine_log, text, name):
    encode_video(tmp_path / 'loud.avi', 'mpeg4', sound='mp2')
    (tmp_path / name).write_text(text)
    out = tmp_path / 'out.mp4'
    with VideoWriter(out, (96, 64), 25, tmp_path / name) as writer:
        fill(writer, 3)
    assert mmengine_log.text.count('out.mp4 has no sound: ') == 1
    assert len(streams(out)) == 1


def test_killed_process_leaves_a_playable_file(tmp_path):
    """The file on disk during writing is what SIGKILL would leave."""
    with VideoWriter(tmp_path / 'out.mp4', (96, 64), 25) as writer:
        for index in range(120):
            writer.write(make_frame(index % 30))
        (part,) = tmp_path.iterdir()
        left = tmp_path / 'left.mp4'
        left.write_bytes(part.read_bytes())
    actual = indices(left)
    assert 25 <= len(actual) < 120
    assert actual == [index % 30 for index in range(len(actual))]


def test_unusual_file_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = encode_video(tmp_path / 'loud.mp4', sound='aac')
    for name in (b'caf\xe9.mp4', b'a:b%d?.mp4', b'-i.mp4'):
        path = Path(os.fsdecode(name))
        with VideoWriter(path, (96, 64), 25, source) as writer:
            fill(writer, 3)
        assert indices(path) == [0, 1, 2]
        data = path.read_bytes()
        assert data.index(b'moov') < data.index(b'mdat')
