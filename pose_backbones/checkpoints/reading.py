"""Read a checkpoint file as plain data; any problem raises a single error with its cause.

The format is determined by the first bytes of the file, not by its name.
"""

import json
import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError, first_line, shorten
from ..utils.files import open_regular
from . import storage
from .grammar import is_metadata
from .machine import (
    MalformedError,
    PickledModelError,
    UnknownGlobalError,
    UnsafeContentError,
    WrongFormatError,
)

__all__ = ['DamagedCheckpointError', 'UnsafeCheckpointError', 'page_kind', 'read_file']

#: metadata key of a safetensors file for the `_metadata` of the state dict, as JSON
VERSIONS = 'state_dict_metadata'
_MAX_REASON = 300  # characters of a message
_HEAD = 512  # bytes that determine the format
_SAFETENSORS_HEADER = 100_000_000  # maximum size in bytes, the limit of the library
#: first bytes, in lower case → description of what a server sends instead of a file
_PAGES = {
    b'<!doctype': 'an HTML page, not a checkpoint: its URL is the URL of a web page',
    b'<html': 'an HTML page, not a checkpoint: its URL is the URL of a web page',
    b'<?xml': 'an XML page, not a checkpoint',
    b'version https://git-lfs': 'a Git LFS pointer, not the checkpoint '
    'itself: fetch it with `git lfs pull`',
}
#: first bytes, in lower case → description of the file
_KINDS = {
    **_PAGES,
    b'\x1f\x8b': 'compressed by gzip: unpack it first',
    b'bzh': 'compressed by bzip2: unpack it first',
    b'\xfd7zxz': 'compressed by xz: unpack it first',
    b"7z\xbc\xaf'": 'a 7z archive: unpack it first',
    b'rar!': 'a RAR archive: unpack it first',
    b'\x89hdf': 'an HDF5 file (Keras, h5py), not a PyTorch checkpoint',
    b'\x93numpy': 'a NumPy array, not a checkpoint',
    b'\x08': 'not a PyTorch checkpoint (an ONNX model?)',
}


#: end of the error message for files that refer to classes or functions
_TRUSTED = (
    '. Loading it could run code. If you trust its author, save only its weights: '
    'torch.save(torch.load(FILE, weights_only=False){weights}, NEW_FILE)'
)


class UnsafeCheckpointError(CheckpointError):
    """The file contains code, which is never run."""


class DamagedCheckpointError(CheckpointError):
    """The file is truncated, modified, or not a checkpoint."""


def read_file(path: str | os.PathLike, map_location: Any = 'cpu', name: str | None = None) -> Any:
    """Read a file of `torch.save` or safetensors as data.

    No code in the file is run, and nothing that it names is imported; see docs/security.md. Memory
    usage is limited by the size of the file.

    Args:
        path: The file; `~` is expanded to the home directory.
        map_location: Device of the tensors, as in `torch.load`. None, a dict or a function select
            the CPU, whatever the device they were saved from.
        name: Name of the file for error messages. Default: the path.

    Returns:
        The saved object, which consists of dicts, lists, tuples, sets, numbers, text, bytes,
        tensors, parameters, NumPy arrays and scalars, and `HistoryBuffer`s. Ordered dicts keep the
        `_metadata` of state dicts.

    Raises:
        UnsafeCheckpointError: If the file contains anything else.
        CheckpointError: If the file does not exist, is not a regular file, has another format, or
            is truncated or modified.
    """
    file = Path(path).expanduser()
    name = str(path) if name is None else name
    device = torch.device(map_location if isinstance(map_location, (str, torch.device)) else 'cpu')
    try:
        size = _size(file)
        with open_regular(file, 'checkpoint', CheckpointError) as opened:
            return _read(opened, file, size, device)
    except UnsafeContentError as error:
        advice = (
            _TRUSTED.format(
                weights='.state_dict()'
                if isinstance(error, PickledModelError)
                else '["state_dict"]'
            )
            if isinstance(error, UnknownGlobalError)
            else ''
        )
        raise UnsafeCheckpointError(
            f'checkpoint rejected: {name} contains more than weights and plain data: '
            f'{_reason(error)}{advice}'
        ) from error
    except WrongFormatError as error:
        text = _reason(error)
        raise DamagedCheckpointError(f'checkpoint unreadable: {name} is {text}') from error
    except MalformedError as error:
        raise DamagedCheckpointError(
            f'checkpoint unreadable: {name} ({_bytes_of(file)}) is truncated '
            f'or damaged: {_reason(error)}. Copy or download it again'
        ) from error
    except storage.DeviceError as error:
        raise CheckpointError(f'{name} cannot be moved to {device}: {_reason(error)}') from error
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f'checkpoint not found: {name}') from error
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise CheckpointError(f'checkpoint unreadable: {name}: {reason}') from error
    except MemoryError as error:
        raise CheckpointError(
            f'checkpoint unreadable: {name} ({_bytes_of(file)}) does not fit into memory'
        ) from error


def page_kind(head: bytes) -> str | None:
    """Describe a web page, or another text that servers send instead of a file.

    Args:
        head: The first bytes, up to `_HEAD`.

    Returns:
        The description for a message, or None for any other content.
    """
    return _kind(head, _PAGES)


def _kind(head: bytes, kinds: dict[bytes, str]) -> str | None:
    text = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    return next((what for start, what in kinds.items() if text.startswith(start)), None)


def _size(file: Path) -> int:
    """Return the size of a regular file in bytes; raise an error for any other file."""
    status = file.stat()
    for test, what in (
        (stat.S_ISDIR, 'a folder: name a file in it'),
        (stat.S_ISFIFO, 'a named pipe, not a file'),
        (stat.S_ISCHR, 'a device, not a file'),
        (stat.S_ISBLK, 'a device, not a file'),
        (stat.S_ISSOCK, 'a socket, not a file'),
    ):
        if test(status.st_mode):
            raise WrongFormatError(what)
    if not status.st_size:
        raise WrongFormatError('empty (0 bytes): copy or download it again')
    return status.st_size


def _read(opened: BinaryIO, file: Path, size: int, device: torch.device) -> Any:
    head = opened.read(_HEAD)
    opened.seek(0)
    if head.startswith((b'PK\x03\x04', b'PK\x05\x06')):
        return _convert_errors(storage.read_zip, opened, size, device)
    if _is_safetensors(head, size):
        return _read_safetensors(file, device)
    if head.startswith(b'\x80') and head[1:2] <= b'\x05':
        return _convert_errors(storage.read_old_format, opened, size, device)
    if head[257:262] == b'ustar':
        raise WrongFormatError(
            'a tar archive: unpack it first or, if it was written by PyTorch 0.1, save the '
            'weights again with torch.save'
        )
    what = _kind(head, _KINDS)
    if what is not None:
        raise WrongFormatError(what)
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        raise WrongFormatError('a text file, not a checkpoint')
    if not head.strip(b'\0'):
        raise MalformedError('it starts with zeros')
    raise MalformedError('it does not start like a file of torch.save or safetensors')


def _convert_errors(read: Any, *arguments: Any) -> Any:
    """Call a function and convert unexpected errors, which a malformed file causes."""
    try:
        return read(*arguments)
    except (UnsafeContentError, MalformedError, storage.DeviceError, OSError, MemoryError):
        raise
    except Exception as error:
        raise MalformedError(f'its data is malformed ({type(error).__name__}: {error})') from error


def _is_safetensors(head: bytes, size: int) -> bool:
    header = int.from_bytes(head[:8], 'little')
    return head[8:9] == b'{' and header <= min(_SAFETENSORS_HEADER, size - 8)


def _read_safetensors(file: Path, device: torch.device) -> dict:
    """Read the weights of a safetensors file, which can contain only tensors and text."""
    try:
        with safe_open(file, 'pt', device=str(device)) as opened:
            weights = OrderedDict((name, opened.get_tensor(name)) for name in opened.keys())
            versions = (opened.metadata() or {}).get(VERSIONS)
        if versions is not None:
            weights._metadata = _versions(json.loads(versions))  # type: ignore[attr-defined]
        return weights
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise WrongFormatError(
            f'a damaged safetensors file ({_reason(error)}): copy or download it again'
        ) from error


def _versions(metadata: Any) -> OrderedDict:
    """Check the `_metadata` of a state dict: module name → version."""
    if not is_metadata(metadata):
        raise ValueError(f'{VERSIONS} is malformed')
    return OrderedDict(metadata)


def _reason(error: Exception) -> str:
    """Return the first line of a message, which may contain parts of the file, shortened."""
    return shorten(first_line(error), _MAX_REASON)


def _bytes_of(file: Path) -> str:
    try:
        return f'{file.stat().st_size:,} bytes'
    except OSError:
        return 'unknown size'
