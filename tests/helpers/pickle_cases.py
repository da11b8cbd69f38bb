"""Write pickles instruction by instruction, and checkpoints in the zip format of `torch.save`."""

import pickle
import struct
import zipfile
from pathlib import Path


class Pickle:
    """The instructions of a pickle. Each method appends instructions and returns the object."""

    def __init__(self) -> None:
        self.code = [pickle.PROTO + b'\x02']

    def op(self, code: bytes) -> 'Pickle':
        """Append raw bytes."""
        self.code.append(code)
        return self

    def name(self, path: str) -> 'Pickle':
        """Push a class or function, such as `os.system`."""
        module, _, name = path.rpartition('.')
        return self.op(f'c{module}\n{name}\n'.encode())

    def value(self, value) -> 'Pickle':
        """Push a plain value, encoded by Python's pickler."""
        code = pickle.dumps(value, 2)[2:-1]
        return self.op(code) if b'q' not in code else self._without_memo(value)

    def _without_memo(self, value) -> 'Pickle':
        if isinstance(value, str):
            text = value.encode()
            return self.op(b'X' + struct.pack('<I', len(text)) + text)
        if isinstance(value, tuple):
            self.op(b'(')
            for part in value:
                self.value(part)
            return self.op(b't')
        if isinstance(value, bytes):
            return self.op(b'B' + struct.pack('<I', len(value)) + value)
        return self.op(
            {dict: b'}', list: b']'}[type(value)] if not value else pickle.dumps(value, 2)[2:-1]
        )

    def call(self, path: str, *arguments) -> 'Pickle':
        """Push a call with plain arguments or pickles."""
        self.name(path).op(b'(')
        for argument in arguments:
            self.add(argument)
        return self.op(b'tR')

    def add(self, other) -> 'Pickle':
        """Push a plain value, or append the instructions of another pickle."""
        if isinstance(other, Pickle):
            self.code += other.code[1:]
            return self
        return self.value(other)

    def build(self, state) -> 'Pickle':
        """Set the state of the object on top of the stack."""
        return self.add(state).op(b'b')

    def items(self, **items) -> 'Pickle':
        """Set items of the object on top of the stack."""
        for key, value in items.items():
            self.value(key).add(value).op(b's')
        return self

    def bytes(self) -> bytes:
        """Return the complete pickle."""
        return b''.join(self.code) + b'.'


def a_dict(**items) -> Pickle:
    """Return a dict of values and pickles."""
    return Pickle().op(b'}').items(**items)


def a_tuple(*parts) -> Pickle:
    """Return a tuple of values and pickles."""
    result = Pickle().op(b'(')
    for part in parts:
        result.add(part)
    return result.op(b't')


def a_dtype(name: str, subarray=None, names=None, fields=None) -> Pickle:
    """Return a NumPy dtype with an arbitrary state."""
    return (
        Pickle()
        .call('numpy.dtype', name, False, True)
        .build(a_tuple(3, '<', subarray, names, fields, -1, -1, 0))
    )


def an_array(dtype: Pickle, shape: tuple, content) -> Pickle:
    """Return a NumPy array."""
    return (
        Pickle()
        .call('numpy.core.multiarray._reconstruct', Pickle().name('numpy.ndarray'), (0,), b'b')
        .build(a_tuple(1, shape, dtype, False, content))
    )


def a_tensor(shape=(4,), count=4, offset=0, stride=None, key='0', kind='FloatStorage') -> Pickle:
    """Return a tensor with arbitrary claims about its storage."""
    if stride is None:
        stride = (1,) * len(shape)
    storage = a_tuple('storage', Pickle().name(f'torch.{kind}'), key, 'cpu', count).op(b'Q')
    return Pickle().call(
        'torch._utils._rebuild_tensor_v2',
        storage,
        offset,
        shape,
        stride,
        False,
        Pickle().call('collections.OrderedDict'),
    )


def save(
    path: Path,
    content: Pickle | bytes,
    storages: dict[str, bytes] | None = None,
    compress: bool = False,
) -> Path:
    """Write a pickle in the zip format of `torch.save`."""
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, 'w', method) as archive:
        archive.writestr(
            'archive/data.pkl', content if isinstance(content, bytes) else content.bytes()
        )
        archive.writestr('archive/version', '3\n')
        for key, data in (storages or {}).items():
            archive.writestr(f'archive/data/{key}', data)
    return path
