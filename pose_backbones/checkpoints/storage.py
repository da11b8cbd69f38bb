"""The two file formats of `torch.save`: a zip archive, and the older one.

The zip archive (since PyTorch 1.6) has a pickle, `NAME/data.pkl`, and a
record for each storage, `NAME/data/KEY`, all uncompressed and with a
checksum. The older format has a few pickles, one behind the other, and then
the storages in the order of a list of their keys.
"""

import mmap
import zipfile
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from . import grammar, machine
from .grammar import StorageId
from .machine import Damaged, OtherKind, Refused

__all__ = ['DeviceError', 'read_old_format', 'read_zip']

#: the first object in a file of the older format
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_RECORDS = 1_000_000


class DeviceError(Exception):
    """Tensors cannot be put on the device that was asked for."""


def read_zip(file: BinaryIO, size: int, device: torch.device) -> Any:
    """Read the zip format; every record that is used is checked by its CRC.

    Args:
        file: Opened at its start.
        size: Of the file in bytes.
        device: Where tensors are put.

    Returns:
        What was saved.

    Raises:
        Refused: If it holds more than data, or is compressed.
        Damaged: If a record is missing, cut off or changed.
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
        raise Damaged(f'the end of the zip archive is missing ({error})') from error
    records = {record.filename: record for record in archive.infolist()}
    _check_records(archive.infolist(), records, size)
    pickles = [name for name in records if name.endswith('/data.pkl') and name.count('/') == 1]
    if len(pickles) != 1:
        raise OtherKind('a zip archive, but not of torch.save')
    folder = pickles[0][: -len('data.pkl')]
    if f'{folder}constants.pkl' in records or any(
        name.startswith(f'{folder}code/') for name in records
    ):
        raise Refused('it is a TorchScript program, not weights')

    def read(name: str) -> bytes:
        record = records.get(folder + name)
        if record is None:
            raise Damaged(f'its record {name!r} is missing')
        try:
            return archive.read(record)
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise Damaged(f'its record {name!r} is damaged: {error}') from error

    swapped = f'{folder}byteorder' in records and read('byteorder') == b'big'
    loaded: dict[str, Tensor] = {}

    def load(storage: StorageId) -> Tensor:
        if storage.key not in loaded:
            content = read(f'data/{storage.key}')
            loaded[storage.key] = _numbers(content, storage, swapped, device)
        return _part(loaded[storage.key], storage)

    content = read('data.pkl')
    tree, _, _ = machine.run(content)
    return grammar.resolve(tree, load, len(content))


def _check_records(listed: list[zipfile.ZipInfo], records: dict, size: int) -> None:
    """Refuse archives that unpack to more than they are."""
    if len(listed) > _MOST_RECORDS:
        raise Damaged(f'its zip archive has {len(listed):,} records')
    if len(records) != len(listed):
        raise Damaged('its zip archive has two records of one name')
    packed = [
        record.filename
        for record in listed
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size
    ]
    if packed:
        raise OtherKind(
            f'a zip archive whose record {packed[0][:80]!r} is compressed, '
            'which torch.save does not do: unzip it, and zip it again without '
            'compression (zip -0)'
        )
    if not any(record.CRC for record in listed):
        # Written with torch.serialization.set_crc32_options(False).
        for record in listed:
            del record.CRC
    total = sum(record.file_size for record in listed)
    if total > size:
        raise Damaged(f'its records have {total:,} bytes, the file {size:,}')


def read_old_format(file: BinaryIO, size: int, device: torch.device) -> Any:
    """Read the format of PyTorch before 1.6. It has no checksums.

    Args, Returns, Raises:
        See `read_zip`.
    """
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
        magic, position, _ = machine.run(data)
        if magic != _MAGIC:
            raise Refused('it is a pickle that torch.save did not write')
        protocol, position, _ = machine.run(data, position)
        if protocol != _PROTOCOL:
            raise Damaged(
                f'version {protocol!r} of the older format of torch.save; only {_PROTOCOL} is read'
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
                raise Damaged(f'its storage {storage.key!r} is missing')
            return _part(loaded[storage.key], storage)

        return grammar.resolve(tree, load, position)


def _old_storages(
    data: mmap.mmap,
    position: int,
    keys: object,
    storages: dict[str, StorageId],
    device: torch.device,
) -> dict[str, Tensor]:
    """Read the storages behind the pickles: their counts and numbers."""
    if type(keys) is not list or not all(
        type(key) in (str, int) and str(key) in storages for key in keys
    ):
        raise Damaged('the list of storages is malformed')
    loaded = {}
    for storage in (storages[str(key)] for key in keys):
        count = int.from_bytes(data[position : position + 8], 'little')
        start = position + 8
        position = start + count * storage.dtype.itemsize
        if position > len(data):
            raise Damaged(f'the file ends {position - len(data):,} bytes early')
        loaded[storage.key] = _numbers(data[start:position], storage, False, device)
    return loaded


def _numbers(content: bytes, storage: StorageId, swapped: bool, device: torch.device) -> Tensor:
    """The elements of a storage, (N, ), in memory of their own."""
    expected = storage.count * storage.dtype.itemsize
    if len(content) != expected:
        raise Damaged(
            f'storage {storage.key!r} has {len(content):,} bytes, {expected:,} are announced'
        )
    if not content:
        return torch.empty(0, dtype=storage.dtype, device=device)
    if swapped:  # complex numbers are two of half their width
        width = storage.dtype.itemsize // (2 if storage.dtype.is_complex else 1)
        words = np.frombuffer(content, f'V{width}').view(f'u{width}')
        content = words.byteswap().tobytes()
    values = torch.frombuffer(bytearray(content), dtype=storage.dtype)
    try:
        return values.to(device)
    except RuntimeError as error:  # no such device, or its memory is full
        raise DeviceError(str(error).splitlines()[0]) from error


def _part(values: Tensor, storage: StorageId) -> Tensor:
    """What one reference to a storage means by it."""
    if values.dtype != storage.dtype:
        values = values.view(storage.dtype)
    if storage.view is None:
        return values
    first, count = storage.view
    if first + count > len(values):
        raise Damaged(f'part of storage {storage.key!r} lies outside of it')
    return values[first : first + count]
