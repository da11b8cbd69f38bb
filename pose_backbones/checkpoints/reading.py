"""A checkpoint file as a dict of plain data, or one error that says why not.

The format is told by the first bytes, not by the name of the file.
"""

import json
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError
from ..utils.files import open_regular
from . import storage
from .grammar import is_metadata
from .machine import Damaged, OtherKind, Refused, UnknownName, WholeModel

__all__ = ['DamagedCheckpointError', 'UnsafeCheckpointError', 'read_file']

#: entry of a safetensors file with the `_metadata` of the state dict, JSON
VERSIONS = 'state_dict_metadata'
_HEAD = 512  # bytes that tell the format
_SAFETENSORS_HEADER = 100_000_000  # bytes at most, as the library has it
#: first bytes, in lower case → what such a file is
_KINDS = {
    b'<!doctype': 'an HTML page, not a checkpoint: its URL is that of a page',
    b'<html': 'an HTML page, not a checkpoint: its URL is that of a page',
    b'<?xml': 'an XML page, not a checkpoint',
    b'version https://git-lfs': 'a Git LFS pointer, not the checkpoint '
    'itself: fetch it with `git lfs pull`',
    b'\x1f\x8b': 'compressed by gzip: unpack it first',
    b'bzh': 'compressed by bzip2: unpack it first',
    b'\xfd7zxz': 'compressed by xz: unpack it first',
    b"7z\xbc\xaf'": 'a 7z archive: unpack it first',
    b'rar!': 'a RAR archive: unpack it first',
    b'\x89hdf': 'an HDF5 file (Keras, h5py), not of PyTorch',
    b'\x93numpy': 'an array of NumPy, not a checkpoint',
    b'\x08': 'not a checkpoint of PyTorch (an ONNX model?)',
}


#: for files that name classes; loading them runs the code that they name
_TRUSTED = (
    '. Loading it could run code. If you trust who made it, save its '
    'weights alone: torch.save(torch.load(FILE, weights_only=False)'
    '{weights}, NEW_FILE)'
)


class UnsafeCheckpointError(CheckpointError):
    """A file that asks for code, which is never run."""


class DamagedCheckpointError(CheckpointError):
    """A file that is cut off, changed, or no checkpoint."""


def read_file(path: str | os.PathLike, map_location: Any = 'cpu', name: str | None = None) -> Any:
    """Read a file of `torch.save` or safetensors as data.

    No code of the file runs and nothing that it names is imported; see
    docs/security.md. Memory is bounded by the size of the file.

    Args:
        path: The file; `~` stands for the home folder.
        map_location: Device of the tensors, as in `torch.load`. None, a dict
            or a function mean the CPU, wherever they were saved.
        name: What to call it in messages; None: the path.

    Returns:
        What was saved: dicts, lists, tuples, sets, numbers, text, bytes,
        tensors, parameters, NumPy arrays and scalars, `HistoryBuffer`s.
        Ordered dicts keep the `_metadata` of state dicts.

    Raises:
        UnsafeCheckpointError: If it holds anything else.
        CheckpointError: If there is no such file, it is no regular file, of
            another kind, cut off or changed.
    """
    file = Path(path).expanduser()
    name = str(path) if name is None else name
    device = torch.device(map_location if isinstance(map_location, (str, torch.device)) else 'cpu')
    try:
        size = _size(file)
        with open_regular(file, 'checkpoint', CheckpointError) as opened:
            return _read(opened, file, size, device)
    except Refused as error:
        advice = (
            _TRUSTED.format(
                weights='.state_dict()' if isinstance(error, WholeModel) else '["state_dict"]'
            )
            if isinstance(error, UnknownName)
            else ''
        )
        raise UnsafeCheckpointError(
            f'checkpoint refused: {name} holds more than weights and plain data: {error}{advice}'
        ) from error
    except OtherKind as error:
        raise DamagedCheckpointError(f'checkpoint unreadable: {name} is {error}') from error
    except Damaged as error:
        raise DamagedCheckpointError(
            f'checkpoint unreadable: {name} ({_bytes_of(file)}) is truncated '
            f'or damaged: {error}. Copy or download it again'
        ) from error
    except storage.DeviceError as error:
        raise CheckpointError(f'{name} cannot be put on {device}: {error}') from error
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f'checkpoint not found: {name}') from error
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise CheckpointError(f'checkpoint unreadable: {name}: {reason}') from error
    except MemoryError as error:
        raise CheckpointError(
            f'checkpoint unreadable: {name} ({_bytes_of(file)}) needs more memory than there is'
        ) from error


def _size(file: Path) -> int:
    """Bytes of a regular file; of another one, `Damaged`."""
    status = file.stat()
    for test, what in (
        (stat.S_ISDIR, 'a folder: name a file in it'),
        (stat.S_ISFIFO, 'a named pipe, not a file'),
        (stat.S_ISCHR, 'a device, not a file'),
        (stat.S_ISBLK, 'a device, not a file'),
        (stat.S_ISSOCK, 'a socket, not a file'),
    ):
        if test(status.st_mode):
            raise OtherKind(what)
    if not status.st_size:
        raise OtherKind('empty (0 bytes): copy or download it again')
    return status.st_size


def _read(opened: BinaryIO, file: Path, size: int, device: torch.device) -> Any:
    head = opened.read(_HEAD)
    opened.seek(0)
    if head.startswith((b'PK\x03\x04', b'PK\x05\x06')):
        return _guarded(storage.read_zip, opened, size, device)
    if _is_safetensors(head, size):
        return _read_safetensors(file, device)
    if head.startswith(b'\x80') and head[1:2] <= b'\x05':
        return _guarded(storage.read_old_format, opened, size, device)
    if head[257:262] == b'ustar':
        raise OtherKind(
            'a tar archive: unpack it first, or, if PyTorch 0.1 '
            'wrote it, save the weights anew with torch.save'
        )
    text = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    for start, what in _KINDS.items():
        if text.startswith(start):
            raise OtherKind(what)
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        raise OtherKind('a text file, not a checkpoint')
    if not head.strip(b'\0'):
        raise Damaged('it begins with zeros')
    raise Damaged('it begins like no file of torch.save or safetensors')


def _guarded(read: Callable, *arguments: object) -> Any:
    """Whatever else a malformed file leads to is damage, too."""
    try:
        return read(*arguments)
    except (Refused, Damaged, storage.DeviceError, OSError, MemoryError):
        raise
    except Exception as error:
        raise Damaged(
            f'its data are malformed ({type(error).__name__}: {str(error)[:200]})'
        ) from error


def _is_safetensors(head: bytes, size: int) -> bool:
    header = int.from_bytes(head[:8], 'little')
    return head[8:9] == b'{' and header <= min(_SAFETENSORS_HEADER, size - 8)


def _read_safetensors(file: Path, device: torch.device) -> dict:
    """Weights of a safetensors file, which can hold nothing else."""
    try:
        with safe_open(file, 'pt', device=str(device)) as opened:
            weights = OrderedDict((name, opened.get_tensor(name)) for name in opened.keys())
            versions = (opened.metadata() or {}).get(VERSIONS)
        if versions is not None:
            weights._metadata = _versions(json.loads(versions))  # type: ignore[attr-defined]
        return weights
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise OtherKind(
            f'a safetensors file that is damaged ({error}): copy or download it again'
        ) from error


def _versions(found: Any) -> OrderedDict:
    """The `_metadata` of a state dict: module → its version."""
    if not is_metadata(found):
        raise ValueError(f'{VERSIONS} is malformed')
    return OrderedDict(found)


def _bytes_of(file: Path) -> str:
    try:
        return f'{file.stat().st_size:,} bytes'
    except OSError:
        return 'unknown size'
