"""What a video file says about its own length, to see whether it is whole."""

import os
import struct
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = bytes.fromhex('1a45dfa3'), bytes.fromhex('18538067')
_BOXES = (b'ftyp', b'styp', b'moov', b'moof', b'mdat', b'free', b'skip',
          b'wide', b'pnot')


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
    with open(path, 'rb') as file:
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
