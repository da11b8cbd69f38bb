"""Create the plain objects of a checkpoint from the records of the pickle machine.

Supported are tensors, NumPy arrays and scalars of numbers or text, ordered dicts with the
`_metadata` of a state dict, MMEngine's `HistoryBuffer`, and the arguments of a training script.
Anything else raises an error that names it. The objects are created here from checked values: no
constructor, `__setstate__` or attribute that a file names is used.
"""

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from ..errors import shown_name
from .machine import MalformedError, Name, Record, UnknownGlobalError, UnsafeContentError

__all__ = ['StorageId', 'is_metadata', 'resolve', 'storage_id']

#: items of a set
_MAX_SET_ITEMS = 5000
#: levels of nested containers
_MAX_DEPTH = 100
#: objects, where shared objects are counted each time
_MAX_OBJECTS = 5_000_000
#: dimensions of a tensor or an array
_MAX_DIMS = 64
#: bytes of a tensor that repeats the values of a smaller storage
_MAX_EXPANDED_BYTES = 2**31
#: sizes, strides and offsets
_MAX_SIZE = 2**62
_DTYPES = {
    str(value): value
    for name, value in vars(torch).items()
    if isinstance(value, torch.dtype)
    and re.fullmatch(
        r'bool|u?int(8|16|32|64)|b?float(16|32|64)|complex(32|64|128)|'
        r'float8_\w+',
        name,
    )
}
_STORAGES = {
    f'torch.{name}Storage': dtype
    for name, dtype in dict(
        Double=torch.float64,
        Float=torch.float32,
        Half=torch.float16,
        BFloat16=torch.bfloat16,
        Long=torch.int64,
        Int=torch.int32,
        Short=torch.int16,
        Char=torch.int8,
        Byte=torch.uint8,
        Bool=torch.bool,
        ComplexFloat=torch.complex64,
        ComplexDouble=torch.complex128,
        Untyped=torch.uint8,
    ).items()
}
_STORAGES['torch.storage.UntypedStorage'] = torch.uint8
#: tensors without plain values: part of the function name → description
_OTHER_TENSORS = {
    'qtensor': 'a quantized tensor',
    'sparse': 'a sparse tensor',
    'meta_tensor': 'a meta tensor, which has no values',
    'nested_tensor': 'a nested tensor',
    'wrapper_subclass': 'a tensor subclass',
}
_NUMPY = (
    'numpy',
    'numpy.core.multiarray',
    'numpy._core.multiarray',
    'numpy.core.numeric',
    'numpy._core.numeric',
)
#: The second appears in files that pose_backbones 0.x wrote after resuming.
_ARRAYS = ('numpy.ndarray', 'pose_backbones.compat.checkpoint._PlainArray')
_NUMBER = re.compile(
    r'b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|'
    r'S\d{1,6}|U\d{1,6}'
)
_HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
_ONE_CYCLE = 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'


class StorageId:
    """Reference to a storage: the bytes in a file that tensors are views of.

    Attributes:
        key: Name of the storage in the file.
        dtype: Data type of its elements.
        count: Number of elements.
        view: None, or the first element and the number of elements of a part.
    """

    __slots__ = ('count', 'dtype', 'key', 'view')

    def __init__(
        self, key: str, dtype: torch.dtype, count: int, view: tuple[int, int] | None = None
    ) -> None:
        self.key, self.dtype, self.count, self.view = key, dtype, count, view


def storage_id(value: Any, place: str = 'one of its tensors') -> StorageId:
    """Parse a reference to a storage.

    Args:
        value: Object from the pickle machine.
        place: Location in the file, for error messages.

    Raises:
        UnsafeContentError: If the reference is to a model, or the data type is not supported.
        MalformedError: If the value is not a reference, or is malformed.
    """
    if type(value) is not Record or value.path != 'persistent' or (value.state is not Record.UNSET):
        raise MalformedError(f'{place} has no storage')
    name, *rest = _check_tuple(value.arguments[0], place) or ('',)
    if name != 'storage' or len(rest) not in (4, 5):
        raise MalformedError(f'{place} has no storage')
    kind, key, _location, count, *view = rest
    path = kind.path if type(kind) is Name else _short(kind)
    path = path.replace('torch.cuda.', 'torch.')
    if path not in _STORAGES:
        problem = 'is a quantized tensor' if '.Q' in path else f'has the storage type {path}'
        raise UnsafeContentError(f'{place} {problem}')
    if type(key) not in (str, int):
        raise MalformedError(f'{place}: a storage is named {_short(key)}')
    part = None
    if view and view[0] is not None:
        _, first, length = _check_tuple(view[0], place)
        part = _integer(first, place), _integer(length, place)
    return StorageId(str(key), _STORAGES[path], _integer(count, place), part)


def resolve(value: Any, load: Callable[[StorageId], Tensor], size: int) -> Any:
    """Create plain objects from the result of the pickle machine.

    Args:
        value: Object from `machine.run`.
        load: Returns the elements of a storage as a one-dimensional tensor.
        size: Size of the pickle in bytes, which limits the total size of arrays.

    Returns:
        The same structure without records. Shared objects remain shared.

    Raises:
        UnsafeContentError: If it contains something that is not supported.
        MalformedError: If a value is invalid, or objects contain themselves or are nested too
            deeply.
    """
    return _Resolver(load, size).plain(value)


class _Resolver:
    def __init__(self, load: Callable[[StorageId], Tensor], size: int) -> None:
        self._load = load
        self._bytes_left = size
        self._done: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()
        self._path_parts: list = []
        self._count = 0

    def plain(self, value: Any) -> Any:
        """Return the plain object; errors contain its location in the file."""
        kind = type(value)
        if kind in _ATOMS:
            self._count += 1
            return value
        if kind is Name:
            return self._constant(value.path)
        if id(value) in self._done:
            result, count = self._done[id(value)]
            self._count_objects(count)
            return result
        if id(value) in self._open:
            raise MalformedError(f'{self._location()} contains itself')
        if len(self._open) >= _MAX_DEPTH:
            raise MalformedError(f'objects are nested more than {_MAX_DEPTH} levels deep')
        self._open.add(id(value))
        count_before = self._count
        self._count_objects(1)
        result = _CONTAINERS[kind](self, value)
        self._open.remove(id(value))
        self._done[id(value)] = result, self._count - count_before
        return result

    def _count_objects(self, count: int) -> None:
        """Count objects, including repeated occurrences of shared ones."""
        self._count += count
        if self._count > _MAX_OBJECTS:
            raise MalformedError(f'it has more than {_MAX_OBJECTS:,} objects')

    # Containers

    def _list(self, value: list | tuple) -> list:
        return [self._item(index, item) for index, item in enumerate(value)]

    def _tuple(self, value: tuple) -> tuple:
        return tuple(self._list(value))

    def _dict(self, value: dict) -> dict:
        return {key: self._item(key, item) for key, item in value.items()}

    def _set(self, value: set | frozenset) -> set | frozenset:
        self._count_objects(len(value))  # The items are scalars; the machine has checked them.
        return value

    def _item(self, key: Any, value: Any) -> Any:
        self._path_parts.append(key)
        result = self.plain(value)
        self._path_parts.pop()
        return result

    def _location(self) -> str:
        """Return the location of the current value in the file, for error messages."""
        shown = [repr(key)[:60] for key in self._path_parts[-3:]]
        return 'its entry ' + ' → '.join(shown) if shown else 'the file'

    # Records

    def _record(self, record: Record) -> Any:
        builder = _BUILDERS.get(record.path)
        if builder is None:
            raise self._unknown(record.path)
        if record.items and record.path not in _MAPPINGS:
            raise UnsafeContentError(f'it sets items of a {record.path}')
        return builder(self, record, *record.arguments)

    def _constant(self, path: str) -> Any:
        if path in _DTYPES:
            return _DTYPES[path]
        function = path.removeprefix(f'{_ONE_CYCLE}.')
        if function != path:
            return _one_cycle(function)
        raise self._unknown(path)

    def _unknown(self, path: str) -> UnsafeContentError:
        for part, what in _OTHER_TENSORS.items():
            if path.startswith('torch._utils._rebuild') and part in path:
                return UnsafeContentError(f'{self._location()} is {what}')
        return UnknownGlobalError(f'{self._location()} contains {_short(path)}')

    def _integer(self, value: Any, least: int = 0) -> int:
        return _integer(value, self._location(), least)

    def _tensor(
        self,
        record: Record,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any = False,
        _hooks: Any = None,
        metadata: Any = None,
    ) -> Tensor:
        return self._view(record, storage, None, offset, size, stride, requires_grad, metadata)

    def _typed_tensor(
        self,
        record: Record,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        _hooks: Any,
        dtype: Any,
        metadata: Any = None,
    ) -> Tensor:
        return self._view(
            record, storage, self.plain(dtype), offset, size, stride, requires_grad, metadata
        )

    def _view(
        self,
        record: Record,
        storage: Any,
        dtype: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        metadata: Any,
    ) -> Tensor:
        self._no_state(record)
        if metadata:
            raise UnsafeContentError(
                f'{self._location()} is a conjugate or negative view of a tensor'
            )
        values = self._storage(storage)
        if dtype is not None:
            if not isinstance(dtype, torch.dtype):
                raise MalformedError(f'{self._location()} has no dtype')
            values = values.view(torch.uint8)
            width = dtype.itemsize
            values = values[: len(values) // width * width].view(dtype)
        offset = self._integer(offset)
        size, stride = self._sizes(size), self._sizes(stride)
        if len(size) != len(stride):
            raise MalformedError(
                f'{self._location()}: shape {_short(size)} and strides {_short(stride)}'
            )
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride))
        if count and last >= len(values):
            raise MalformedError(
                f'{self._location()} of shape {_short(size)} needs {last + 1:,} elements of a '
                f'storage of {len(values):,}'
            )
        if count > len(values) and (count * values.itemsize > _MAX_EXPANDED_BYTES):
            raise UnsafeContentError(
                f'{self._location()}: a storage of {len(values):,} elements is expanded to the '
                f'shape {_short(size)}'
            )
        if not count:
            offset = 0
        tensor = values.as_strided(size, stride, offset)
        if requires_grad is True and tensor.is_floating_point():
            tensor.requires_grad_()
        return tensor

    def _sizes(self, value: Any) -> tuple[int, ...]:
        if type(value) is Record:  # torch.Size
            value = tuple(self.plain(value))
        if type(value) is not tuple or len(value) > _MAX_DIMS:
            raise MalformedError(f'{self._location()} has the shape {_short(value)}')
        return tuple(self._integer(number) for number in value)

    def _storage(self, value: Any) -> Tensor:
        return self._load(storage_id(value, self._location()))

    def _parameter(
        self, record: Record, data: Any, requires_grad: Any, *_rest: Any
    ) -> nn.Parameter:
        self._no_state(record)
        value = self.plain(data)
        if not isinstance(value, Tensor):
            raise MalformedError(f'{self._location()} is a parameter without a tensor')
        return nn.Parameter(value.detach(), requires_grad is True and value.is_floating_point())

    def _tensor_with_attributes(
        self, record: Record, function: Any, kind: Any, arguments: Any, _attributes: Any
    ) -> Tensor:
        """Return the tensor alone; its Python attributes are dropped."""
        path = kind.path if type(kind) is Name else _short(kind)
        if (
            path not in ('torch.Tensor', 'torch.nn.parameter.Parameter')
            or type(function) is not Name
            or type(arguments) is not tuple
            or not function.path.startswith('torch._utils._rebuild')
        ):
            raise UnsafeContentError(f'{self._location()} contains {path}')
        self._no_state(record)
        return self._record(Record(function.path, arguments))

    def _size(self, record: Record, sizes: Any) -> torch.Size:
        self._no_state(record)
        return torch.Size(self._sizes(tuple(sizes) if type(sizes) is list else sizes))

    def _device(self, record: Record, kind: Any, index: Any = None) -> torch.device:
        self._no_state(record)
        if kind not in ('cpu', 'cuda', 'meta', 'mps', 'xpu'):
            raise MalformedError(f'{self._location()} is the device {_short(kind)}')
        return torch.device(kind, *(() if index is None else (self._integer(index),)))

    def _bytes(self, record: Record, content: Any = b'', encoding: Any = 'latin1') -> bytes:
        """Return bytes that the machine has not already encoded."""
        self._no_state(record)
        if type(content) is str and encoding in ('latin1', 'latin-1'):
            content = content.encode('latin1')
        if type(content) is not bytes:
            raise UnsafeContentError(f'{self._location()}: bytes are made of {_short(content)}')
        self._count_bytes(len(content))
        return content

    def _bytearray(self, record: Record, content: Any = b'', encoding: Any = 'latin1') -> bytearray:
        return bytearray(self._bytes(record, content, encoding))

    def _count_bytes(self, count: int) -> None:
        """Count bytes that are copied; a shared object may be copied many times."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise MalformedError('it expands to more bytes than the file has')

    def _set_of(self, record: Record, items: Any) -> set:
        self._no_state(record)
        if type(items) is not list:
            raise MalformedError(f'{self._location()}: a set of {_short(items)}')
        for item in items:
            for part in item if type(item) is tuple else (item,):
                if type(part) not in _ATOMS - {bytearray}:
                    raise UnsafeContentError(f'{self._location()}: a set of {_short(part)}')
        self._count_objects(len(items))
        if len(items) > _MAX_SET_ITEMS:
            raise UnsafeContentError(f'{self._location()}: a set of {len(items):,} items')
        return set(items)

    def _frozen_set_of(self, record: Record, items: Any) -> frozenset:
        return frozenset(self._set_of(record, items))

    def _complex(self, record: Record, real: Any, imaginary: Any) -> complex:
        self._no_state(record)
        if {type(real), type(imaginary)} - {int, float}:
            raise MalformedError(f'{self._location()}: a complex number of {_short(real)}')
        return complex(real, imaginary)

    def _ordered(self, record: Record, *pairs: Any) -> OrderedDict:
        result: OrderedDict = OrderedDict()
        first = self._pairs(pairs[0]) if pairs else []
        self._count_objects(len(first))
        for key, value in first:
            result[key] = self._item(key, value)
        for key, value in record.items:
            result[key] = self._item(key, value)
        if record.state is not Record.UNSET:
            state = self.plain(record.state)
            if type(state) is not dict or set(state) - {'_metadata'}:
                raise UnsafeContentError(
                    f'it sets attributes of {self._location()}: {_short(list(state))}'
                )
            metadata = state.get('_metadata')
            if metadata is not None:
                result._metadata = self._metadata(metadata)  # type: ignore[attr-defined]
        return result

    def _pairs(self, pairs: Any) -> list[tuple]:
        """Check the list of key and value pairs in an ordered dict of Python 2."""
        if type(pairs) is not list or not all(
            type(pair) in (list, tuple) and len(pair) == 2 and type(pair[0]) in (str, int)
            for pair in pairs
        ):
            raise MalformedError(f'{self._location()}: a dict of {_short(pairs)}')
        return pairs

    def _metadata(self, value: Any) -> OrderedDict:
        """Return the `_metadata` of a state dict: module name → version and the like."""
        if not is_metadata(value):
            raise MalformedError(f'{self._location()} has a malformed _metadata')
        return OrderedDict(value)

    def _default_dict(self, record: Record, *_factory: Any) -> dict:
        """Return a plain dict; the default factory is dropped."""
        self._no_state(record)
        return {key: self._item(key, value) for key, value in record.items}

    def _text(self, record: Record, text: Any = '') -> str:
        self._no_state(record)
        if type(text) is not str:
            raise MalformedError(f'{self._location()}: a text of {_short(text)}')
        return text

    def _path(self, record: Record, *parts: Any) -> str:
        """Return a path as text."""
        self._no_state(record)
        return '/'.join(self._text(record, part) for part in parts).replace('//', '/')

    def _counter(self, record: Record, counts: Any = None) -> Counter:
        self._no_state(record)
        items = {} if counts is None else self.plain(counts)
        if type(items) is not dict or not all(type(number) is int for number in items.values()):
            raise MalformedError(f'{self._location()}: counts of {_short(items)}')
        return Counter(items)

    def _no_state(self, record: Record) -> None:
        if record.state is not Record.UNSET:
            raise UnsafeContentError(f'it sets the state of {self._location()}, a {record.path}')

    # NumPy

    def _empty_array(self, record: Record, kind: Any, _shape: Any, _code: Any) -> np.ndarray:
        if type(kind) is not Name or kind.path not in _ARRAYS:
            raise UnsafeContentError(f'{self._location()} is an array of the class {_short(kind)}')
        state = _check_tuple(record.state, self._location())
        if len(state) != 5:
            raise MalformedError(f'{self._location()} is an array without values')
        _version, shape, dtype, columns_first, content = state
        return self._array(content, dtype, shape, 'F' if columns_first is True else 'C')

    def _array_of_buffer(
        self, record: Record, content: Any, dtype: Any, shape: Any, order: Any
    ) -> np.ndarray:
        self._no_state(record)
        if order not in ('C', 'F'):
            raise MalformedError(f'{self._location()}: an array in the order {_short(order)}')
        return self._array(content, dtype, shape, order)

    def _array(self, content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
        number, shape = self._dtype(dtype), self._sizes(shape)
        content = self.plain(content)
        if type(content) is str:  # written by Python 2
            content = content.encode('latin1')
        if type(content) not in (bytes, bytearray):
            raise UnsafeContentError(f'{self._location()} is an array of Python objects')
        if len(shape) > 32 or (math.prod(shape) * number.itemsize != len(content)):
            raise MalformedError(
                f'{self._location()}: {len(content):,} bytes for an array of {number}, '
                f'{_short(shape)}'
            )
        self._count_bytes(len(content))
        if not len(content):
            return np.empty(shape, number)
        if number.kind == 'U' and np.frombuffer(content, f'{number.byteorder}u4').max() > 0x10FFFF:
            raise MalformedError(f'{self._location()} is an array of invalid text')
        values = np.frombuffer(content, number).copy()
        return values.reshape(shape, order=order)

    def _scalar(self, record: Record, dtype: Any, content: Any) -> Any:
        self._no_state(record)
        return self._array(content, dtype, (), 'C')[()]

    def _dtype(self, value: Any) -> np.dtype:
        """Return the data type of an array, from its name, byte order and size."""
        if type(value) is not Record or value.path != 'numpy.dtype':
            raise MalformedError(f'{self._location()} has no dtype')
        name = value.arguments[0] if value.arguments else None
        if type(name) is not str or not _NUMBER.fullmatch(name):
            raise UnsafeContentError(
                f'{self._location()} is an array of the type {_short(name)}; only numbers and '
                'text are supported'
            )
        order: Any = '|'
        if value.state is not Record.UNSET:
            state = _check_tuple(value.state, self._location())
            if len(state) not in (8, 9) or any(
                part is not None for part in (*state[2:5], *state[8:])
            ):
                raise UnsafeContentError(f'{self._location()} is an array of records or subarrays')
            order = state[1]
        if order not in ('<', '>', '|', '='):
            raise MalformedError(f'{self._location()} has the byte order {_short(order)}')
        try:
            return np.dtype(name).newbyteorder(order)
        except TypeError as error:  # for example f16 on a platform without it
            raise UnsafeContentError(f'{self._location()}: {error}') from error

    # MMEngine and training scripts

    def _history(self, record: Record, *arguments: Any) -> HistoryBuffer:
        if arguments or type(record.state) is not dict:
            raise UnsafeContentError(
                f'{self._location()} is a HistoryBuffer that was not written by MMEngine'
            )
        state = dict(record.state)
        state.pop('statistics_methods', None)
        if set(state) != {'max_length', '_log_history', '_count_history'}:
            raise UnsafeContentError(
                f'{self._location()}: a HistoryBuffer with {_short(sorted(map(str, state)))}'
            )
        values, counts = (self.plain(state[name]) for name in ('_log_history', '_count_history'))
        for array in (values, counts):
            if (
                not isinstance(array, np.ndarray)
                or array.ndim != 1
                or (array.dtype.kind not in 'biuf')
            ):
                raise MalformedError(f'{self._location()}: a HistoryBuffer of {_short(array)}')
        if len(values) != len(counts):
            raise MalformedError(
                f'{self._location()}: a HistoryBuffer of {len(values)} values and '
                f'{len(counts)} counts'
            )
        history = HistoryBuffer()
        history.max_length = self._integer(state['max_length'], 1)
        history._log_history, history._count_history = values, counts
        return history

    def _attribute(self, record: Record, owner: Any, name: Any) -> Any:
        """Return one of the two functions that OneCycle schedules store."""
        self._no_state(record)
        if type(owner) is Name and owner.path == _ONE_CYCLE:
            return _one_cycle(name)
        raise UnsafeContentError(
            f'{self._location()} reads the attribute {_short(name)} of {_short(owner)}'
        )

    def _namespace(self, record: Record, *arguments: Any) -> dict:
        """Return the arguments of a training script as a dict."""
        if arguments or record.state is Record.UNSET:
            return {}
        state = self.plain(record.state)
        if type(state) is not dict:
            raise MalformedError(f'{self._location()}: arguments of {_short(state)}')
        return state


_ATOMS = frozenset((str, int, float, bool, type(None), bytes, bytearray))
_CONTAINERS: dict[type, Callable[[_Resolver, Any], Any]] = {
    dict: _Resolver._dict,
    list: _Resolver._list,
    tuple: _Resolver._tuple,
    set: _Resolver._set,
    frozenset: _Resolver._set,
    Record: _Resolver._record,
}
_MAPPINGS = ('collections.OrderedDict', 'collections.defaultdict')
_BUILDERS: dict[str, Callable] = {
    'collections.OrderedDict': _Resolver._ordered,
    'collections.Counter': _Resolver._counter,
    'builtins.set': _Resolver._set_of,
    'builtins.frozenset': _Resolver._frozen_set_of,
    'collections.defaultdict': _Resolver._default_dict,
    'torch.torch_version.TorchVersion': _Resolver._text,
    **{
        f'pathlib.{kind}': _Resolver._path
        for kind in ('Path', 'PosixPath', 'WindowsPath', 'PurePosixPath', 'PureWindowsPath')
    },
    **{
        f'pathlib._local.{kind}': _Resolver._path
        for kind in ('Path', 'PosixPath', 'WindowsPath', 'PurePosixPath', 'PureWindowsPath')
    },
    'builtins.bytes': _Resolver._bytes,
    'builtins.bytearray': _Resolver._bytearray,
    'builtins.complex': _Resolver._complex,
    'builtins.getattr': _Resolver._attribute,
    '_codecs.encode': _Resolver._bytes,
    'torch.Size': _Resolver._size,
    'torch.device': _Resolver._device,
    'torch._utils._rebuild_tensor': _Resolver._tensor,
    'torch._utils._rebuild_tensor_v2': _Resolver._tensor,
    'torch._utils._rebuild_tensor_v3': _Resolver._typed_tensor,
    'torch._utils._rebuild_parameter': _Resolver._parameter,
    'torch._utils._rebuild_parameter_with_state': _Resolver._parameter,
    'torch._tensor._rebuild_from_type_v2': _Resolver._tensor_with_attributes,
    'torch.tensor._rebuild_from_type_v2': _Resolver._tensor_with_attributes,
    _HISTORY: _Resolver._history,
    'argparse.Namespace': _Resolver._namespace,
    **{f'{module}._reconstruct': _Resolver._empty_array for module in _NUMPY},
    **{f'{module}._frombuffer': _Resolver._array_of_buffer for module in _NUMPY},
    **{f'{module}.scalar': _Resolver._scalar for module in _NUMPY},
}


def is_metadata(value: Any) -> bool:
    """Return whether a value is the `_metadata` of a state dict."""
    return isinstance(value, dict) and all(
        type(key) is str
        and isinstance(entry, dict)
        and type(entry.get('version')) in (int, type(None))
        for key, entry in value.items()
    )


def _one_cycle(name: Any) -> Callable:
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    functions = dict(
        _annealing_cos=OneCycleParamScheduler._annealing_cos,
        _annealing_linear=OneCycleParamScheduler._annealing_linear,
    )
    if type(name) is not str or name not in functions:
        raise UnsafeContentError(f'{_ONE_CYCLE} has no annealing function {_short(name)}')
    return functions[name]


def _integer(value: Any, place: str, least: int = 0) -> int:
    if type(value) is not int or not least <= value < _MAX_SIZE:
        raise MalformedError(f'{place}: a size or offset is {_short(value)}')
    return value


def _check_tuple(value: Any, place: str) -> tuple:
    if type(value) is not tuple:
        raise MalformedError(f'{place} is malformed')
    return value


def _short(value: Any) -> str:
    """Shorten a value for an error message; return the path of a record or name."""
    if isinstance(value, (Name, Record)):
        return value.path
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        value = (
            f'{type(value).__name__} of {len(value)}'
            if len(value) > 8 or any(type(part) not in _ATOMS for part in value)
            else value
        )
    return shown_name(value, 80)
