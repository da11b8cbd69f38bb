"""What video files say about their own length."""

import struct

import pytest

from pose_backbones.inference.containers import missing_bytes
from tests.helpers.video_cases import make_video


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I4s', 8 + len(content), kind) + content


@pytest.mark.parametrize(
    ('name', 'codec'),
    [('clip.mp4', 'mp4v'), ('clip.mov', 'mp4v'), ('clip.avi', 'MJPG'), ('clip.mkv', 'MJPG')],
)
def test_bytes_that_were_cut_off_are_missing(tmp_path, name, codec):
    path = make_video(tmp_path / name, codec=codec)
    data = path.read_bytes()
    assert missing_bytes(path) == 0
    # The index of OpenCV's MP4 is the last box: cut within it.
    for cut in (1, 100):
        path.write_bytes(data[:-cut])
        assert missing_bytes(path) == cut


FTYP = box(b'ftyp', b'isom' + bytes(4))
EBML = bytes.fromhex('1a45dfa3 82 0000 18538067')


@pytest.mark.parametrize(
    ('data', 'missing'),
    [
        (FTYP + box(b'mdat', bytes(50))[:40], 18),
        (FTYP + struct.pack('>I4sQ', 1, b'mdat', 16 + 70) + bytes(30), 40),
        (FTYP + struct.pack('>I4s', 0, b'mdat') + bytes(30), 0),
        (FTYP + b'\xff\xff\xff\xff\0\0\0\0', 0),
        (FTYP + b'\0\0', 0),
        (b'RIFF' + struct.pack('<I', 100) + bytes(60), 40),
        (
            b'RIFF'
            + struct.pack('<I', 20)
            + bytes(20)
            + b'RIFF'
            + struct.pack('<I', 30)
            + bytes(25),
            5,
        ),
        (b'RIFF' + struct.pack('<I', 0) + bytes(60), 0),
        (EBML + b'\x8a' + bytes(4), 6),
        (EBML + b'\x40\x0a' + bytes(4), 6),
        (EBML + b'\x01' + b'\xff' * 7 + bytes(4), 0),
        (EBML, 0),
        (b'GIF89a' + bytes(9), 0),
        (b'', 0),
    ],
    ids=[
        'box',
        'box of 64 bits',
        'box to the end',
        'appended',
        'two bytes',
        'RIFF',
        'second RIFF',
        'RIFF of no length',
        'segment',
        'segment, length of two bytes',
        'segment of no length',
        'no segment',
        'GIF',
        'empty',
    ],
)
def test_lengths_of_each_format(tmp_path, data, missing):
    path = tmp_path / 'clip'
    path.write_bytes(data)
    assert missing_bytes(path) == missing
