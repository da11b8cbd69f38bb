"""Tests that damaged and hostile checkpoints raise a single error and run no code."""

import collections
import functools
import io
import os
import pickle
import resource
import socket
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from pose_backbones.checkpoints import read_file
from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.checkpoints.reading import UnsafeCheckpointError
from pose_backbones.errors import CheckpointError
from tests.helpers.pickle_cases import Pickle, a_dict, a_dtype, a_tensor, a_tuple, an_array, save
from tests.helpers.tools import run_code

HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
SIXTEEN = {'0': bytes(16)}


class _Calls:
    """Object that calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _in_meta(pickle: Pickle) -> Pickle:
    return a_dict(state_dict=Pickle().op(b'}'), meta=a_dict(x=pickle))


def _array_twice() -> Pickle:
    once = an_array(a_dtype('f8'), (1,), bytes(8))
    return once.build(a_tuple(1, (2,), a_dtype('f8'), False, bytes(16)))


def _set_on_class() -> Pickle:
    """Assign `torch.Tensor.mean` by setting the state of the class."""
    return Pickle().name('torch.Tensor').build(a_tuple(None, a_dict(mean=1)))


def _set_by_type() -> Pickle:
    """Do the same with PyTorch's function for tensor subclasses and a namespace."""
    space = (
        Pickle()
        .call('argparse.Namespace')
        .build(
            a_dict(as_subclass=Pickle().call('builtins.getattr', Pickle().name(HISTORY), 'current'))
        )
    )
    return Pickle().call(
        'torch._tensor._rebuild_from_type_v2',
        Pickle().name('argparse.Namespace'),
        Pickle().name('torch.Tensor'),
        a_tuple(space),
        a_dict(mean=1),
    )


def _subclass(function: str, kind: str) -> Pickle:
    return Pickle().call(
        'torch._tensor._rebuild_from_type_v2',
        Pickle().name(function),
        Pickle().name(kind),
        a_tuple(),
        a_dict(mean=1),
    )


def _history(**state) -> Pickle:
    return Pickle().name(HISTORY).op(b')\x81').build(a_dict(**state))


F8 = a_dtype('f8')
NUMBERS = functools.partial(an_array, F8, (1,), bytes(8))
UNSAFE = {
    # name: (pickle, pattern of the error message)
    'os.system': (Pickle().call('os.system', 'touch /x'), 'contains os.system'),
    'posix.system': (Pickle().call('posix.system', 'x'), 'posix.system'),
    'eval': (Pickle().call('builtins.eval', '1'), 'builtins.eval'),
    'eval of Python 2': (Pickle().call('__builtin__.eval', '1'), 'builtins.eval'),
    'getattr': (
        Pickle().call('builtins.getattr', Pickle().name('os.path'), 'os'),
        'attribute os of os.path',
    ),
    'getattr of HistoryBuffer': (
        Pickle().call('builtins.getattr', Pickle().name(HISTORY), '__init__'),
        'reads the attribute __init__',
    ),
    'numpy.load': (Pickle().call('numpy.load', '/etc/passwd'), 'numpy.load'),
    'memmap': (Pickle().call('numpy.memmap', '/etc/passwd'), 'numpy.memmap'),
    'torch.load': (Pickle().call('torch.storage._load_from_bytes', b'x'), '_load_from_bytes'),
    'a class': (Pickle().name('subprocess.Popen'), 'subprocess.Popen'),
    'a call of a result': (
        Pickle().add(Pickle().call('collections.OrderedDict')).op(b')R'),
        'an invalid call of',
    ),
    'instructions of protocol 0': (Pickle().op(b'(S"x"\nios\nsystem\n'), 'not an instruction'),
    'keywords': (
        Pickle().name('collections.OrderedDict').op(b')').add(a_dict(a=1)).op(b'\x92'),
        'keyword arguments',
    ),
    # memory outside of the array
    'subarray': (an_array(a_dtype('i8', a_tuple(F8, (4096,))), (1,), b'A' * 8), 'array of records'),
    'subarray of a scalar': (
        Pickle().call('numpy.core.multiarray.scalar', a_dtype('i8', a_tuple(F8, (99,))), b'A' * 8),
        'array of records',
    ),
    'object pointers': (
        an_array(a_dtype('i8', a_tuple(a_dtype('O'), (1,))), (1,), b'A' * 8),
        'array of records',
    ),
    'object field': (
        an_array(a_dtype('i8', None, ('a',), a_dict(a=a_tuple(a_dtype('O'), 0))), (1,), b'A' * 8),
        'array of records',
    ),
    'objects': (an_array(a_dtype('O'), (1,), b'A' * 8), 'the type O'),
    'object arrays as lists': (an_array(a_dtype('f8'), (1,), [1.0]), 'Python objects'),
    'void': (an_array(a_dtype('V8'), (1,), b'A' * 8), 'the type V8'),
    'filled twice': (_array_twice(), 'sets the state of a .* twice'),
    'ndarray by hand': (Pickle().call('numpy.ndarray', (1,), F8, b'A' * 8), 'numpy.ndarray'),
    'array of a subclass': (
        Pickle().call(
            'numpy.core.multiarray._reconstruct', Pickle().name('numpy.matrix'), (0,), b'b'
        ),
        'numpy.matrix',
    ),
    # state of classes
    'state of a class': (_set_on_class(), 'sets the state of torch.Tensor'),
    'attributes by type': (_set_by_type(), 'contains torch.Tensor|argparse'),
    'attributes of a namespace': (
        _subclass('argparse.Namespace', 'argparse.Namespace'),
        'argparse',
    ),
    'attributes of a function': (
        _subclass('torch._utils._rebuild_tensor_v2', 'torch.nn.Module'),
        'torch.nn.Module',
    ),
    'state of a dict': (
        Pickle().call('collections.OrderedDict').build(a_dict(items=1)),
        'attributes of',
    ),
    'state of a plain dict': (a_dict().build(a_dict(a=1)), 'sets the state of a dict'),
    'state of a tensor': (a_tensor().build(a_dict(data=1)), 'sets the state of .*tensor'),
    'append to a name': (
        Pickle().name('sys.path').value('x').op(b'a'),
        'appends values to sys.path',
    ),
    'items of a name': (
        Pickle().name('os.environ').value('A').value('B').op(b's'),
        'items of os.environ',
    ),
    'statistics of a history': (
        _history(
            max_length=1,
            _log_history=NUMBERS(),
            _count_history=NUMBERS(),
            statistics_methods=a_dict(),
            extra=1,
        ),
        'a HistoryBuffer with',
    ),
    'arguments of a history': (Pickle().call(HISTORY, [], []), 'not written by MMEngine'),
    'a model': (
        a_tuple('module', Pickle().name('torch.nn.Linear'), 'f', 's').op(b'Q'),
        'a whole model .*torch.nn.Linear',
    ),
    # tensors without plain values
    'a name as a key': (
        Pickle().op(b'}').name('os.system').value(1).op(b's'),
        'os.system as a key',
    ),
    'an integer that cannot be printed': (
        Pickle().op(b'\x8b' + (4000).to_bytes(4, 'little') + b'\1' * 4000),
        'integer of 4000 bytes',
    ),
    'an 8 GB bytearray': (
        Pickle().call('builtins.bytearray', 8 * 10**9),
        'bytes are made of 8000000000',
    ),
}
MALFORMED = {
    'shape of a million': (a_tensor((10**6,)), 'needs 1,000,000 elements'),
    'shape of 10^12': (a_tensor((10**6, 10**6), stride=(10**6, 1)), 'needs 1,000,000,000,000'),
    'shape that overflows': (a_tensor((2**70,)), 'a size or offset is'),
    'negative shape': (a_tensor((-4,)), 'a size or offset is -4'),
    'negative stride': (a_tensor(stride=(-1,)), 'offset is -1'),
    'offset': (a_tensor(offset=10**6), 'needs 1,000,004'),
    'strides': (a_tensor(stride=(10**5,)), 'needs 300,001'),
    'count': (a_tensor(count=10**9), 'instead of 4,000,000,000'),
    'huge count': (a_tensor(count=2**61), 'bytes instead of'),
    'negative count': (a_tensor(count=-5), 'offset is -5'),
    'float shape': (a_tensor((4.0,)), 'offset is 4.0'),
    'missing storage': (
        a_tensor(key='../../etc/passwd'),
        r"record 'data/../../etc/passwd' is missing",
    ),
    'no arguments': (Pickle().call('torch._utils._rebuild_tensor_v2'), 'malformed'),
    'wrong arguments': (
        Pickle().call('torch._utils._rebuild_tensor_v2', 1, 2, 3, 4),
        'has no storage',
    ),
    'history of one value': (
        _history(max_length=1, _log_history=NUMBERS(), _count_history=[]),
        'a HistoryBuffer of',
    ),
    'history of different lengths': (
        _history(max_length=1, _log_history=NUMBERS(), _count_history=an_array(F8, (0,), b'')),
        'of 1 values and 0 counts',
    ),
    'scalar without bytes': (
        Pickle().call('numpy.core.multiarray.scalar', F8, b''),
        '0 bytes for an array',
    ),
    'array of few bytes': (an_array(F8, (9,), bytes(8)), '8 bytes for an'),
    'unknown encoding': (Pickle().call('_codecs.encode', 'a', 'no such'), 'in the encoding'),
    'list as a key': (a_dict().op(b']').value(1).op(b's'), 'malformed|key'),
    'unknown instruction': (Pickle().op(b'\xff'), 'not an instruction'),
    'unknown memo': (Pickle().op(b'h\x07'), 'malformed'),
    'no mark': (Pickle().op(b't'), 'has no arguments'),
    'empty stack': (Pickle().op(b'1' * 9), 'has no arguments'),
    'cut text': (Pickle().op(b'X\xff\xff\xff\x7f'), 'bytes early'),
    'device': (Pickle().call('torch.device', 'no such'), 'the device'),
    '200,000 levels': (Pickle().op(b')' + b'\x85' * 200_000), 'more than 100 levels'),
    'itself': (Pickle().op(b'}q\x00').value('state_dict').op(b'h\x00s'), 'contains itself'),
    'itself in a list': (Pickle().op(b']q\x00h\x00a'), 'contains itself'),
}


@pytest.mark.parametrize('case', UNSAFE)
def test_unsafe_content_is_rejected(tmp_path, case):
    content, message = UNSAFE[case]
    path = save(tmp_path / 'x.pth', _in_meta(content), SIXTEEN)
    with pytest.raises(CheckpointError, match=message) as error_info:
        read_checkpoint(path)
    assert '\n' not in str(error_info.value)
    assert str(path) in str(error_info.value)


@pytest.mark.parametrize('case', MALFORMED)
def test_malformed_content_is_rejected(tmp_path, case):
    content, message = MALFORMED[case]
    path = save(tmp_path / 'x.pth', _in_meta(content), SIXTEEN)
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=message) as error_info:
        read_checkpoint(path)
    assert '\n' not in str(error_info.value)
    assert time.monotonic() - start < 10


def test_file_cannot_modify_classes(tmp_path):
    mean, statistics = torch.Tensor.mean, dict(HistoryBuffer()._statistics_methods)
    for number, (content, message) in enumerate(UNSAFE.values()):
        path = save(tmp_path / f'{number}.pth', _in_meta(content))
        with pytest.raises(CheckpointError, match=message):
            read_file(path)
    path = save(
        tmp_path / 'ok.pth',
        a_dict(
            x=_history(
                max_length=5,
                _log_history=NUMBERS(),
                _count_history=NUMBERS(),
                statistics_methods=a_dict(
                    mean=Pickle().call('builtins.getattr', Pickle().name(HISTORY), 'max')
                ),
            )
        ),
    )
    assert len(read_file(path)['x'].data[0]) == 1
    assert torch.Tensor.mean is mean
    assert HistoryBuffer._statistics_methods == statistics


@pytest.mark.parametrize('how', ['zip', 'old', 'raw', 'raw 4', 'TorchScript', 'tar'])
def test_no_file_format_runs_code(tmp_path, how):
    path, proof = tmp_path / 'attack.pth', tmp_path / 'it_ran'
    content = {'state_dict': {}, 'x': _Calls(os.system, f'touch {proof}')}
    if how == 'zip':
        torch.save(content, path)
    elif how == 'old':
        torch.save(content, path, _use_new_zipfile_serialization=False)
    elif how.startswith('raw'):
        path.write_bytes(pickle.dumps(content, 4 if '4' in how else 2))
    elif how == 'TorchScript':
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('a/data.pkl', pickle.dumps(content, 2))
            archive.writestr('a/constants.pkl', pickle.dumps((), 2))
    else:
        with tarfile.open(path, 'w') as archive:
            for name in ('storages', '../../it_ran', 'tensors', 'pickle'):
                entry = tarfile.TarInfo(name)
                data = pickle.dumps(content, 2)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    with pytest.raises(CheckpointError) as error_info:
        read_checkpoint(path)
    assert isinstance(error_info.value, UnsafeCheckpointError) == (how != 'tar')
    assert not proof.exists()


QUANTIZED = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ('tensor', 'message'),
    [
        (QUANTIZED, 'a quantized tensor'),
        (torch.ones(2).to_sparse(), 'a sparse tensor'),
        (torch.ones(2, device='meta'), 'a meta tensor, which has no values'),
        (torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), 'a nested tensor'),
        (torch.ones(2, dtype=torch.complex64).conj(), 'a conjugate'),
        (torch.nn.Linear(1, 1), 'torch.nn.modules.linear.Linear'),
        (np.array([{'a': 1}], dtype=object), 'the type O8'),
        (np.array(['2020-01-01'], 'M8[D]'), 'the type M8'),
        (collections.deque([1]), 'collections.deque'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
@pytest.mark.parametrize('old', [False, True])
@pytest.mark.filterwarnings('ignore:.*:UserWarning')
def test_error_names_unsupported_object(tmp_path, tensor, message, old):
    torch.save(
        {'state_dict': {'layer.weight': tensor}},
        tmp_path / 'x.pth',
        _use_new_zipfile_serialization=not old,
    )
    with pytest.raises(UnsafeCheckpointError, match=message):
        read_checkpoint(tmp_path / 'x.pth')


@pytest.fixture(scope='module')
def checkpoint_bytes(tmp_path_factory) -> bytes:
    """Return the bytes of a checkpoint of 100 KB."""
    path = tmp_path_factory.mktemp('whole') / 'x.pth'
    torch.manual_seed(0)
    torch.save({'state_dict': {f'{n}': torch.randn(1000) for n in range(25)}}, path)
    return path.read_bytes()


def test_truncated_file_is_detected(checkpoint_bytes, tmp_path):
    path = tmp_path / 'cut.pth'
    for size in [
        *range(1, 200, 20),
        *range(200, len(checkpoint_bytes), 2099),
        len(checkpoint_bytes) - 1,
    ]:
        path.write_bytes(checkpoint_bytes[:size])
        with pytest.raises(CheckpointError, match='unreadable'):
            read_checkpoint(path)


def test_modified_weight_is_detected(checkpoint_bytes, tmp_path):
    path = tmp_path / 'flipped.pth'
    torch.manual_seed(0)
    weights = [torch.randn(1000) for _ in range(25)]
    at = [checkpoint_bytes.find(weight.numpy().tobytes()) for weight in weights]
    assert min(at) > 0
    for position in [start + offset for start in at for offset in (0, 1777, 3999)]:
        changed = bytearray(checkpoint_bytes)
        changed[position] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match='Bad CRC-32'):
            read_checkpoint(path)


@pytest.mark.parametrize('size', [64, 4096, 50_000])
def test_zeroed_blocks_are_detected(checkpoint_bytes, tmp_path, size):
    for start in (0, len(checkpoint_bytes) // 2, len(checkpoint_bytes) - size):
        changed = bytearray(checkpoint_bytes)
        changed[start : start + size] = bytes(size)
        (tmp_path / 'x.pth').write_bytes(changed)
        with pytest.raises(CheckpointError, match='unreadable'):
            read_checkpoint(tmp_path / 'x.pth')


def test_file_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({'a': torch.arange(3)}, tmp_path / 'x.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_file(tmp_path / 'x.pth')['a'].tolist() == [0, 1, 2]


def _write_other_file(path: Path, kind: str) -> None:
    """Write a file that is not a checkpoint."""
    contents = {
        'html': b'\n <!DOCTYPE html><html>404 not found</html>',
        'html without doctype': b'<HTML><body>Sign in</body></HTML>',
        'lfs': b'version https://git-lfs.github.com/spec/v1\noid sha256:a\n',
        'empty': b'',
        'zeros': bytes(5000),
        'text': b'hello\n' * 100,
        'json': b'{"message": "API rate limit exceeded"}',
        'gzip': b'\x1f\x8b\x08' + bytes(30),
        'hdf5': b'\x89HDF\r\n\x1a\n',
        'random': b'\x02\x81\xfe\x00' * 200,
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'loop':
        path.symlink_to(path)
    elif kind == 'dangling':
        path.symlink_to('nowhere')
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    elif kind == 'socket':
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == 'a zip':
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('a.txt', 'hello')
    elif kind == 'a zip twice':
        save(path, a_dict(a=a_tensor()), SIXTEEN)
        with zipfile.ZipFile(path, 'a') as archive, pytest.warns(UserWarning, match='Duplicate'):
            archive.writestr('archive/data/0', bytes(16))


KINDS = {
    'html': 'x.pth is an HTML page',
    'html without doctype': 'an HTML page',
    'lfs': 'a Git LFS pointer, not .*git lfs pull',
    'empty': r'\(0 bytes\)',
    'zeros': 'starts with zeros',
    'text': 'a text file, not a checkpoint',
    'json': 'a text file',
    'gzip': 'compressed by gzip',
    'hdf5': 'HDF5',
    'random': 'does not start like a file of',
    'folder': 'a folder: name a file',
    'fifo': 'a named pipe, not a file',
    'loop': 'symbolic links',
    'dangling': 'not found',
    'device': 'a device, not a file',
    'socket': 'a socket, not a file',
    'a zip': 'not written by torch.save',
    'a zip twice': 'two records of the same name',
}


@pytest.mark.parametrize('kind', KINDS)
def test_error_names_the_kind_of_file(tmp_path, kind):
    path = tmp_path / 'x.pth'
    _write_other_file(path, kind)
    with pytest.raises(CheckpointError, match=KINDS[kind]) as error_info:
        read_checkpoint(path)
    assert 'weights_only' not in str(error_info.value)
    assert 'did you mean' not in str(error_info.value)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('', 'not found: |a folder'),
        ('n' * 300 + '.pth', 'not found|too long'),
        ('nul\0.pth', 'not found|null'),
        ('x/y.pth', 'not found'),
    ],
)
def test_invalid_paths_raise(tmp_path, name, message):
    (tmp_path / 'x').write_text('')
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(str(tmp_path / name) if name else name)


def test_compressed_archive_is_not_decompressed(tmp_path):
    """The file of 256 KB would expand to 256 MB of zeros."""
    path = tmp_path / 'bomb.pth'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', a_dict(a=a_tensor((2**26,), 2**26)).bytes())
        with archive.open('archive/data/0', 'w', force_zip64=True) as record:
            for _ in range(2**4):
                record.write(bytes(2**24))
    assert path.stat().st_size < 2**19
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match='is compressed'):
        read_checkpoint(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**17  # KB


def test_overlapping_records_are_rejected(tmp_path):
    """Many records in the central directory refer to the same position in the file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w') as archive:
        archive.writestr('a/data.pkl', a_dict(a=1).bytes())
        archive.writestr('a/data/0', bytes(100_000))
        first = archive.filelist[1]
        for number in range(1, 1000):
            record = zipfile.ZipInfo(f'a/data/{number}')
            for name in ('header_offset', 'file_size', 'compress_size', 'CRC'):
                setattr(record, name, getattr(first, name))
            archive.filelist.append(record)
    (tmp_path / 'x.pth').write_bytes(content.getvalue())
    with pytest.raises(CheckpointError, match='the records have 100,000,'):
        read_checkpoint(tmp_path / 'x.pth')


def test_million_keys_are_read_within_a_minute(tmp_path):
    names = b''.join(
        b'X' + len(name).to_bytes(4, 'little') + name + b'N'
        for name in (b'k%d' % n for n in range(10**6))
    )
    path = save(tmp_path / 'x.pth', a_dict(state_dict=Pickle().op(b'}(' + names + b'u')))
    start = time.monotonic()
    assert len(read_checkpoint(path)['state_dict']) == 10**6
    assert time.monotonic() - start < 60


def test_nested_shared_lists_are_limited(tmp_path):
    """Each list contains the previous one twice, which would expand to 2^99 objects."""
    code = b']q\x00'
    for _ in range(98):
        code += b'0]h\x00ah\x00aq\x00'
    with pytest.raises(CheckpointError, match='more than 5,000,000 objects'):
        read_file(save(tmp_path / 'x.pth', a_dict(a=Pickle().op(code))))


def _shared(first: bytes, again: bytes, count: int) -> Pickle:
    """Return a list whose items are all made from the same shared object."""
    return Pickle().op(first + b'q\x000](' + again * count + b'e')


LATIN = b'X' + (10**6).to_bytes(4, 'little') + b'a' * 10**6
AMPLIFIED = {
    'one text as bytes': (
        _shared(LATIN, b'c_codecs\nencode\n(h\x00X\x06\0\0\0latin1tR', 400),
        'expands to more bytes',
    ),
    'one text as arrays': (
        _shared(
            b'B' + LATIN[1:],
            Pickle().add(an_array(a_dtype('u1'), (10**6,), Pickle().op(b'h\x00'))).bytes()[2:-1],
            400,
        ),
        'expands to more bytes',
    ),
    'one shape': (
        _shared(b'(' + b'K\x01' * 20_000 + b't', b'ctorch\nSize\n(h\x00tR', 20_000),
        'has the shape',
    ),
    'one list of pairs': (
        _shared(
            b'](' + b''.join(b'K\x01K%c\x86' % (n % 256) for n in range(50_000)) + b'e',
            b'ccollections\nOrderedDict\n(h\x00tR',
            400,
        ),
        'more than 5,000,000 objects',
    ),
    'one hash': (
        Pickle().op(
            b'}('
            + b''.join(
                b'\x8a\x0a' + (k * (2**61 - 1)).to_bytes(10, 'little') + b'N' for k in range(20_000)
            )
            + b'u'
        ),
        'more than 64 bits as a key',
    ),
    'floats of one hash': (
        Pickle().op(
            b'}(' + b''.join(b'G' + struct.pack('>d', float(n)) + b'N' for n in range(6000)) + b'u'
        ),
        'more than 5,000 keys',
    ),
    'lists': (Pickle().op(b']' * 4_000_000), '3,000,000 containers'),
    'sets': (Pickle().op(b'\x8f' * 4_000_000), '3,000,000 containers'),
}


@pytest.mark.parametrize('case', AMPLIFIED)
def test_small_file_cannot_use_much_memory(tmp_path, case):
    content, message = AMPLIFIED[case]
    path = save(tmp_path / 'x.pth', content)
    assert path.stat().st_size < 5 * 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=message):
        read_file(path)
    assert time.monotonic() - start < 60
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**20  # KB


@pytest.mark.parametrize('kind', ['header', 'overlap', 'deep', 'cut'])
def test_damaged_safetensors_header_raises(tmp_path, kind):
    path = tmp_path / 'x.safetensors'
    header = {
        'header': b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,99]}}',
        'overlap': b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,16]}}',
        'deep': b'{"a":' * 5000 + b'1' + b'}' * 5000,
        'cut': b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
    }[kind]
    path.write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4 if kind == 'cut' else 16))
    with pytest.raises(CheckpointError, match='a damaged safetensors file'):
        read_checkpoint(path)


def test_missing_permission_raises(tmp_path):
    """Run as another user, since root can read every file."""
    path = tmp_path / 'x.pth'
    torch.save({}, path)
    path.chmod(0)
    if os.geteuid():
        with pytest.raises(CheckpointError, match='Permission denied'):
            read_checkpoint(path)
        return
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    code = (
        'import os; from pose_backbones.checkpoints import read_file; '
        'from pose_backbones.errors import CheckpointError\n'
        'os.setuid(65534)\n'
        f'try: read_file({str(path)!r})\n'
        'except CheckpointError as error: print(error)'
    )
    done = run_code(code)
    assert 'Permission denied' in done.stdout
