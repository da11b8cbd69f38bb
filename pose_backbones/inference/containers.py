"""What a video file says of itself: its container, and its own length."""

import os
import struct
from pathlib import Path
from typing import BinaryIO

from ..utils.files import open_regular

_EBML, _SEGMENT = bytes.fromhex('1a45dfa3'), bytes.fromhex('18538067')
_BOXES = (b'ftyp', b'styp', b'moov', b'moof', b'mdat', b'free', b'skip', b'wide', b'pnot')
#: how the other containers begin
_MARKS = (
    _EBML,
    b'FLV\x01',
    b'OggS',
    b'GIF87a',
    b'GIF89a',
    b'YUV4MPEG2 ',
    b'DKIF',
    b'.RMF',
    b'\x06\x0e\x2b\x34',  # RealMedia, MXF
    b'\x30\x26\xb2\x75\x8e\x66\xcf\x11',  # ASF, WMV
    b'\0\0\1',
    b'\0\0\0\1',  # MPEG streams and files, H.264, H.265
    b'\x1f\x07\0',
)  # DV
#: bytes between the packets of a transport stream, and before the first one
_PACKETS = ((188, 0), (192, 4), (204, 0))
#: how files begin that name other files, to be played in their place
_PLAYLISTS = (
    b'#extm3u',
    b'ffconcat',
    b'[playlist]',
    b'[reference]',
    b'rtsptext',
    b'smil',
    b'<',
    b'v=0',
    b'file ',
    b'# vobsub',
)
_START = 1024  # bytes to look at


def is_container(path: Path) -> bool:
    """Whether a file begins as one that holds a video itself.

    FFmpeg goes by a file's content, and also plays scripts and playlists
    (`ffconcat`, HLS, DASH, SDP), which have it read any other file; they all
    begin otherwise.

    Args:
        path: An existing file.

    Returns:
        Whether it is MP4 or QuickTime, AVI, Matroska or WebM, FLV, an MPEG
        stream, ASF, Ogg, GIF, MXF, DV, RealMedia, IVF or Y4M.
    """
    start = _start(path)
    if start.startswith(_MARKS) or start[4:8] in _BOXES:
        return True
    if start[:4] == b'RIFF':
        return start[8:11] == b'AVI'
    return not start.startswith(b'ID3') and any(
        len(start) > first and set(start[first::step]) == {ord('G')} for step, first in _PACKETS
    )


def is_playlist(path: Path) -> bool:
    """Whether a file, which is no container, names others to be played."""
    start = _start(path)
    if start[:3] == b'ID3':  # FFmpeg looks behind it
        return True
    return start.lstrip(b'\xef\xbb\xbf \t\r\n').lower().startswith(_PLAYLISTS)


def _start(path: Path) -> bytes:
    with open_regular(path, 'video') as file:
        return file.read(_START)


def missing_bytes(path: Path) -> int:
    """How many bytes a cut off video file lacks.

    Source: ISO/IEC 14496-12, 4.2 (boxes of MP4 and QuickTime); Microsoft's
    RIFF (AVI); RFC 8794, 4 to 6 (EBML of Matroska and WebM).

    Args:
        path: An existing file.

    Returns:
        The bytes between its end and the end of what its last part says to
        be its length; 0 for a whole file, and where the format does not say
        (MPEG transport streams, GIF).
    """
    size = os.path.getsize(path)
    with open_regular(path, 'video') as file:
        start = file.read(8)
        if start[4:] in _BOXES:
            end = _end_of_boxes(file, size)
        elif start[:4] == b'RIFF':
            end = _end_of_riff(file, size)
        elif start[:4] == _EBML:
            end = _end_of_segment(file)
        else:
            end = 0
    return max(end - size, 0)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last box at the top level ends; the file's start: a box."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(16)
        kind = head[4:8]
        if len(head) < 8 or not (kind.isascii() and kind.isalnum()):
            break  # what others have appended
        length = struct.unpack('>I', head[:4])[0]
        if length == 1 and len(head) == 16:
            length = struct.unpack('>Q', head[8:])[0]
        if length < 8:
            return 0  # 0: up to the file's end
        end += length
    return end


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Where the last RIFF chunk ends; long files have several."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(8)
        if head[:4] != b'RIFF' or len(head) < 8:
            break
        length = struct.unpack('<I', head[4:])[0]
        if length in (0, 0xFFFFFFFF):
            return 0  # not known when it was written
        end += 8 + length
    return end


def _end_of_segment(file: BinaryIO) -> int:
    """Where the segment of a Matroska file ends, 0 if it does not say."""
    file.seek(len(_EBML))
    header = _read_length(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    length = _read_length(file)
    return 0 if length is None else file.tell() + length


def _read_length(file: BinaryIO) -> int | None:
    """An EBML length: the leading zeros say of how many bytes it is."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    bits = 7 * (extra + 1)
    value = int.from_bytes(first + file.read(extra), 'big') & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
