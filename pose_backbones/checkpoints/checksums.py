"""SHA-256 of checkpoint files, in full or as the first digits in a file name."""

import hashlib
import re
from pathlib import Path

__all__ = ['expected_digits', 'mismatch', 'sha256_of']

#: file name with the first digits of the SHA-256 of the content, as OpenMMLab and PyTorch
#: publish them: NAME-d930a429_20230724.pth, NAME-0676ba61.pth
_WITH_HASH = re.compile(r'.+-([0-9a-f]{8,64})(?:_\d{8})?\.\w+')
_CHUNK = 1 << 20  # bytes


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits.

    Args:
        file: A regular file, which is read in parts.

    Raises:
        OSError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    with file.open('rb') as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def expected_digits(name: str, sha256: str | None = None) -> str | None:
    """Return what the SHA-256 of a file has to start with.

    Args:
        name: File name of the release, which may contain the first digits.
        sha256: The full value, if it is known.

    Returns:
        `sha256`, or else the 8 or more digits in the name, or None. Eight decimal digits are a
        date.
    """
    if sha256 is not None:
        return sha256
    match = _WITH_HASH.fullmatch(name)
    return match[1] if match and not match[1].isdigit() else None


def mismatch(file: Path, name: str, sha256: str | None = None) -> str | None:
    """Compare the SHA-256 of a file with the expected one.

    Args:
        file: The file.
        name, sha256: See `expected_digits`.

    Returns:
        The difference with both values, for a message; None if there is none or nothing is
        expected.
    """
    expected = expected_digits(name, sha256)
    if expected is None:
        return None
    actual = sha256_of(file)
    if actual.startswith(expected):
        return None
    source = 'the metafile' if sha256 is not None else 'the file name'
    return f'its SHA-256 is {actual}: expected {expected}{"" if sha256 else "…"} ({source})'
