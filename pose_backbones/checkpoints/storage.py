"""Read the two file formats of `torch.save`: the zip archive, and the older format.

The zip archive (since PyTorch 1.6) contains a pickle, `NAME/data.pkl`, and a record for each
storage, `NAME/data/KEY`, all uncompressed and with a checksum. The older format consists of several
consecutive pickles, followed by the storages in the order of a list of their keys.
"""

import mmap
import zipfile
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from . import grammar, machine
from .grammar import StorageId
from .machine import MalformedError, UnsafeContentError, WrongFormatError

__all__ = ['DeviceError', 'read_old_format', 'read_zip']

#: the first object in a file of the older format
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_RECORDS = 1_000_000


class DeviceError(Exception):
    """Tensors cannot be moved to the requested device."""


def read_zip(file: BinaryIO, size: int, device: torch.device) -> Any:
    """Read the zip format; the CRC of every record that is used is verified.

    Args:
        file: The open file, at its start.
        size: Size of the file in bytes.
        device: Device of the tensors.

    Returns:
        The saved object.

    Raises:
        UnsafeContentError: If the file contains more than data.
        WrongFormatError: If it is compressed or was not written by `torch.save`.
        MalformedError: If a record is missing, truncated or modified.
        DeviceError: If tensors cannot be moved to `device`.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        NotImplementedError,
        UnicodeDecodeError,
    ) as error:
        raise MalformedError(f'the end of the zip archive is missing ({error})') from error
    records = {record.filename: record for record in archive.infolist()}
    _check_records(archive.infolist(), records, size)
    pickles = [name for name in records if name.endswith('/data.pkl') and name.count('/') == 1]
    if len(pickles) != 1:
        raise WrongFormatError('a zip archive that was not written by torch.save')
    folder = pickles[0][: -len('data.pkl')]
    if f'{folder}constants.pkl' in records or any(
        name.startswith(f'{folder}code/') for name in records
    ):
        raise UnsafeContentError('it is a TorchScript program, not weights')

    def read(name: str) -> bytes:
        record = records.get(folder + name)
        if record is None:
            raise MalformedError(f'the record {name!r} is missing')
        try:
            return archive.read(record)
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise MalformedError(f'the record {name!r} is damaged: {error}') from error

    swapped = f'{folder}byteorder' in records and read('byteorder') == b'big'
    loaded: dict[str, Tensor] = {}

    def load(storage: StorageId) -> Tensor:
        if storage.key not in loaded:
            content = read(f'data/{storage.key}')
            loaded[storage.key] = _to_tensor(content, storage, swapped, device)
        return _select_view(loaded[storage.key], storage)

    content = read('data.pkl')
    tree, _, _ = machine.run(content)
    return grammar.resolve(tree, load, len(content))


def _check_records(listed: list[zipfile.ZipInfo], records: dict, size: int) -> None:
    """Reject archives that expand to more bytes than the file has."""
    if len(listed) > _MAX_RECORDS:
        raise MalformedError(f'the zip archive has {len(listed):,} records')
    if len(records) != len(listed):
        raise MalformedError('the zip archive has two records of the same name')
    compressed = [
        record.filename
        for record in listed
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size
    ]
    if compressed:
        raise WrongFormatError(
            f'a zip archive whose record {compressed[0][:80]!r} is compressed, but torch.save does '
            'not compress: unzip it, and zip it again without compression (zip -0)'
        )
    if not any(record.CRC for record in listed):
        # Written with torch.serialization.set_crc32_options(False).
        for record in listed:
            del record.CRC
    total = sum(record.file_size for record in listed)
    if total > size:
        raise MalformedError(f'the records have {total:,} bytes, but the file has {size:,}')


def read_old_format(file: BinaryIO, size: int, device: torch.device) -> Any:
    """Read the format of PyTorch before 1.6. It has no checksums.

    Args, Returns, Raises:
        See `read_zip`.
    """
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
        magic, position, _ = machine.run(data)
        if magic != _MAGIC:
            raise UnsafeContentError('it is a pickle that was not written by torch.save')
        protocol, position, _ = machine.run(data, position)
        if protocol != _PROTOCOL:
            raise MalformedError(
                f'version {protocol!r} of the older format of torch.save; only {_PROTOCOL} is '
                'supported'
            )
        _system, position, _ = machine.run(data, position)
        tree, position, references = machine.run(data, position)
        keys, position, _ = machine.run(data, position)
        loaded = _old_storages(
            data,
            position,
            keys,
            {storage.key: storage for storage in map(grammar.storage_id, references)},
            device,
        )

        def load(storage: StorageId) -> Tensor:
            if storage.key not in loaded:
                raise MalformedError(f'the storage {storage.key!r} is missing')
            return _select_view(loaded[storage.key], storage)

        return grammar.resolve(tree, load, position)


def _old_storages(
    data: mmap.mmap,
    position: int,
    keys: object,
    storages: dict[str, StorageId],
    device: torch.device,
) -> dict[str, Tensor]:
    """Read the storages after the pickles: for each, the number of elements and the elements."""
    if type(keys) is not list or not all(
        type(key) in (str, int) and str(key) in storages for key in keys
    ):
        raise MalformedError('the list of storages is malformed')
    loaded = {}
    for storage in (storages[str(key)] for key in keys):
        count = int.from_bytes(data[position : position + 8], 'little')
        start = position + 8
        position = start + count * storage.dtype.itemsize
        if position > len(data):
            raise MalformedError(f'the file ends {position - len(data):,} bytes early')
        loaded[storage.key] = _to_tensor(data[start:position], storage, False, device)
    return loaded


def _to_tensor(content: bytes, storage: StorageId, swapped: bool, device: torch.device) -> Tensor:
    """Return the elements of a storage as a tensor (N, ) with its own memory."""
    expected = storage.count * storage.dtype.itemsize
    if len(content) != expected:
        raise MalformedError(
            f'the storage {storage.key!r} has {len(content):,} bytes instead of {expected:,}'
        )
    if not content:
        return torch.empty(0, dtype=storage.dtype, device=device)
    if swapped:  # A complex number consists of two numbers of half its width.
        width = storage.dtype.itemsize // (2 if storage.dtype.is_complex else 1)
        words = np.frombuffer(content, f'V{width}').view(f'u{width}')
        content = words.byteswap().tobytes()
    values = torch.frombuffer(bytearray(content), dtype=storage.dtype)
    try:
        return values.to(device)
    except RuntimeError as error:  # The device does not exist, or its memory is full.
        raise DeviceError(str(error).splitlines()[0]) from error


def _select_view(values: Tensor, storage: StorageId) -> Tensor:
    """Return the elements that a reference to a storage selects."""
    if values.dtype != storage.dtype:
        values = values.view(storage.dtype)
    if storage.view is None:
        return values
    first, count = storage.view
    if first + count > len(values):
        raise MalformedError(f'a view exceeds the storage {storage.key!r}')
    return values[first : first + count]
