"""Execute a pickle that contains only data, without importing or calling anything.

Python's `pickletools` describes the format. `pickle.Unpickler` imports the classes and functions
that a file names, and calls them. Overriding `find_class` does not prevent everything: BUILD sets
attributes, and APPEND calls methods. In this machine, a name becomes a `Name`, a call becomes a
`Record` of the call, and a state is stored in the record once. `grammar.resolve` then creates plain
objects from the records that it supports.
"""

import struct
from collections.abc import Callable
from typing import Any

__all__ = [
    'MalformedError',
    'Name',
    'PickledModelError',
    'Record',
    'UnknownGlobalError',
    'UnsafeContentError',
    'WrongFormatError',
    'run',
]

#: types of keys whose hash values a file cannot choose
_SAFE_KEY_TYPES = (str, bytes, bool)
#: Other keys may be chosen such that they share a hash value, which makes a dict slow.
_MAX_INT_KEY, _MAX_OTHER_KEYS = 2**63, 5000
#: bytes of an integer; Python cannot print larger ones
_MAX_INT_BYTES = 1024
#: containers and calls; a training checkpoint has tens of thousands
_MAX_OBJECTS = 3_000_000


class UnsafeContentError(Exception):
    """The file contains more than data; the message names what."""


class UnknownGlobalError(UnsafeContentError):
    """The file refers to a class or function that does not represent plain data."""


class MalformedError(Exception):
    """The file is damaged; the message says where."""


class WrongFormatError(MalformedError):
    """The file has another format; the message names it, such as 'a folder'."""


class PickledModelError(UnknownGlobalError):
    """The file is a pickled model rather than a state dict."""


class Name:
    """A class or function that a file refers to. It is not imported.

    Attributes:
        path: Module and name, joined by a dot.
    """

    __slots__ = ('path',)

    def __init__(self, path: str) -> None:
        self.path = path


class Record:
    """A call in a file, and the state that the file sets on the result.

    Attributes:
        path: Path of the `Name` that is called; `'persistent'` for a reference to a storage.
        arguments: Arguments of the call.
        state: State that BUILD sets, or `Record.UNSET`.
        items: Key and value pairs that are set on a mapping.
    """

    __slots__ = ('arguments', 'items', 'path', 'state')
    UNSET = object()

    def __init__(self, path: str, arguments: tuple) -> None:
        self.path, self.arguments = path, arguments
        self.state: Any = Record.UNSET
        self.items: list[tuple] = []


#: start of the arguments of a variadic instruction, on the stack
_MARK = object()


class _Machine:
    def __init__(self, data: Any, start: int) -> None:
        self.data, self.position = data, start
        self.stack: list = []
        self.memo: dict[int, Any] = {}
        self.references: list[Record] = []
        self.objects = self.other_keys = self.encoded = 0

    # Reading

    def take(self, count: int) -> bytes:
        end = self.position + count
        content = self.data[self.position : end]
        if len(content) != count:
            raise MalformedError(f'the file ends {count - len(content)} bytes early')
        self.position = end
        return content

    def number(self, layout: str) -> int:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        end = self.data.find(b'\n', self.position)
        if end < 0:
            raise MalformedError('a name is not terminated')
        content = self.data[self.position : end]
        self.position = end + 1
        return content.decode()

    # The stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def make(self, value: Any) -> None:
        """Push a new container or record."""
        self.objects += 1
        if self.objects > _MAX_OBJECTS:
            raise MalformedError(f'it has more than {_MAX_OBJECTS:,} containers')
        self.stack.append(value)

    def pop_to_mark(self) -> list:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        raise MalformedError('an instruction has no arguments')

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise MalformedError('an instruction has no arguments')
        return value

    def top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise MalformedError('an instruction has no object')
        return self.stack[-1]

    # Instructions

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Name) or type(arguments) is not tuple:
            raise UnsafeContentError(f'it contains an invalid call of {_kind(function)}')
        if function.path in _BYTES and all(type(part) is str for part in arguments):
            self.make(self.encode(*arguments))
        else:
            self.make(Record(function.path, arguments))

    def encode(self, text: str = '', encoding: str = 'latin1') -> bytes:
        """Encode text as bytes; protocol 2 stores bytes as text."""
        if encoding not in ('latin1', 'latin-1'):
            raise MalformedError(f'bytes in the encoding {encoding[:40]!r}')
        self.encoded += len(text)
        if self.encoded > len(self.data):
            raise MalformedError('it expands to more bytes than the file has')
        return text.encode('latin1')

    def new_object(self) -> None:
        arguments, kind = self.pop(), self.pop()
        self.call(kind, arguments)

    def new_object_with_keywords(self) -> None:
        keywords, arguments, kind = self.pop(), self.pop(), self.pop()
        if keywords != {}:
            raise UnsafeContentError('it calls a function with keyword arguments')
        self.call(kind, arguments)

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if type(target) is not Record:
            raise UnsafeContentError(f'it sets the state of {_kind(target)}')
        if target.state is not Record.UNSET:
            raise UnsafeContentError(f'it sets the state of a {target.path} twice')
        target.state = state

    def append(self, values: list) -> None:
        target = self.top()
        if type(target) is not list:
            raise UnsafeContentError(f'it appends values to {_kind(target)}')
        target.extend(values)

    def add(self, values: list) -> None:
        target = self.top()
        if type(target) is not set:
            raise UnsafeContentError(f'it adds values to {_kind(target)}')
        target.update(self.checked_keys(values))

    def set_items(self, values: list) -> None:
        target = self.top()
        if len(values) % 2:
            raise MalformedError('a key has no value')
        keys = self.checked_keys(values[::2])
        if type(target) is dict:
            target.update(zip(keys, values[1::2]))
        elif type(target) is Record:
            target.items.extend(zip(keys, values[1::2]))
        else:
            raise UnsafeContentError(f'it sets items of {_kind(target)}')

    def global_name(self, module: str, name: str) -> None:
        if type(module) is not str or type(name) is not str:
            raise MalformedError('a name is not a string')
        self.push(Name(f'{_MODULES.get(module, module)}.{name}'))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.global_name(module, name)

    def persistent(self) -> None:
        key = self.pop()
        if type(key) is tuple and key[:1] == ('module',):
            raise PickledModelError(
                f'it is a whole model instead of its weights: {", ".join(map(_kind, key[1:2]))}'
            )
        reference = Record('persistent', (key,))
        self.references.append(reference)
        self.push(reference)

    def get(self, index: int) -> None:
        self.push(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def text(self, count: int) -> None:
        self.push(str(self.take(count), 'utf-8', 'surrogatepass'))

    def old_text(self, count: int) -> None:
        """Push a `str` of Python 2, which is text or the bytes of an array."""
        content = bytes(self.take(count))
        try:
            self.push(content.decode())
        except UnicodeDecodeError:
            self.push(content)

    def integer(self, count: int) -> None:
        if not 0 <= count <= _MAX_INT_BYTES:
            raise UnsafeContentError(f'it contains an integer of {count} bytes')
        self.push(int.from_bytes(self.take(count), 'little', signed=True))

    def dictionary(self) -> None:
        values = self.pop_to_mark()
        self.make({})
        self.set_items(values)

    def pop_any(self) -> None:
        del self.stack[-1]

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.make(tuple(reversed(values)))

    def checked_keys(self, keys: list) -> list:
        """Check that keys are compared and hashed as data: numbers, text, or tuples of them."""
        for key in keys:
            if type(key) in _SAFE_KEY_TYPES or key is None:
                continue
            parts = key if type(key) is tuple else (key,)
            if type(key) is not int:
                self.other_keys += 1
            for part in parts:
                if type(part) not in (*_SAFE_KEY_TYPES, int, float, type(None)):
                    raise UnsafeContentError(f'it uses {_kind(part)} as a key')
                if type(part) is int and abs(part) >= _MAX_INT_KEY:
                    raise UnsafeContentError('it uses an integer of more than 64 bits as a key')
        if self.other_keys > _MAX_OTHER_KEYS:
            raise UnsafeContentError(
                f'it has more than {_MAX_OTHER_KEYS:,} keys that are floats or tuples'
            )
        return keys


#: functions that convert text to bytes
_BYTES = ('_codecs.encode', 'builtins.bytes')
#: Python 2 module name, used by protocols below 3, → Python 3 name
_MODULES = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}

#: opcode → instruction; `run` handles STOP, 0x2e
_INSTRUCTIONS: dict[int, Callable[[_Machine], object]] = {
    0x80: lambda m: m.take(1),  # PROTO
    0x95: lambda m: m.take(8),  # FRAME
    ord('('): lambda m: m.push(_MARK),
    ord('0'): lambda m: m.pop_any(),
    ord('1'): lambda m: m.pop_to_mark(),
    ord('2'): lambda m: m.push(m.top()),
    ord('N'): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord('J'): lambda m: m.push(m.number('<i')),
    ord('K'): lambda m: m.push(m.number('<B')),
    ord('M'): lambda m: m.push(m.number('<H')),
    0x8A: lambda m: m.integer(m.number('<B')),
    0x8B: lambda m: m.integer(m.number('<i')),
    ord('G'): lambda m: m.push(m.number('>d')),
    ord('X'): lambda m: m.text(m.number('<I')),
    0x8C: lambda m: m.text(m.number('<B')),
    0x8D: lambda m: m.text(m.number('<Q')),
    ord('T'): lambda m: m.old_text(m.number('<I')),
    ord('U'): lambda m: m.old_text(m.number('<B')),
    ord('B'): lambda m: m.push(bytes(m.take(m.number('<I')))),
    ord('C'): lambda m: m.push(bytes(m.take(m.number('<B')))),
    0x8E: lambda m: m.push(bytes(m.take(m.number('<Q')))),
    0x96: lambda m: m.push(bytearray(m.take(m.number('<Q')))),
    ord('}'): lambda m: m.make({}),
    ord(']'): lambda m: m.make([]),
    ord(')'): lambda m: m.push(()),
    0x8F: lambda m: m.make(set()),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord('t'): lambda m: m.make(tuple(m.pop_to_mark())),
    ord('l'): lambda m: m.make(m.pop_to_mark()),
    ord('d'): lambda m: m.dictionary(),
    0x91: lambda m: m.make(frozenset(m.checked_keys(m.pop_to_mark()))),
    ord('a'): lambda m: m.append([m.pop()]),
    ord('e'): lambda m: m.append(m.pop_to_mark()),
    ord('s'): lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    ord('u'): lambda m: m.set_items(m.pop_to_mark()),
    0x90: lambda m: m.add(m.pop_to_mark()),
    ord('c'): lambda m: m.global_name(m.line(), m.line()),
    0x93: lambda m: m.stack_global(),
    ord('R'): lambda m: m.new_object(),
    0x81: lambda m: m.new_object(),
    0x92: lambda m: m.new_object_with_keywords(),
    ord('b'): lambda m: m.build(),
    ord('Q'): lambda m: m.persistent(),
    ord('q'): lambda m: m.put(m.number('<B')),
    ord('r'): lambda m: m.put(m.number('<I')),
    0x94: lambda m: m.put(len(m.memo)),
    ord('h'): lambda m: m.get(m.number('<B')),
    ord('j'): lambda m: m.get(m.number('<I')),
}


def run(data: Any, start: int = 0) -> tuple[Any, int, list[Record]]:
    """Execute one pickle.

    Args:
        data: `bytes` or an `mmap` that contains the pickle.
        start: Position of its first byte.

    Returns:
        The object, which consists of str, bytes, numbers, None, dicts, lists, tuples, sets, `Name`s
        and `Record`s; the position after the pickle; and its references to storages.

    Raises:
        UnsafeContentError: If the pickle contains anything but data.
        MalformedError: If it is truncated or malformed.
    """
    machine = _Machine(data, start)
    try:
        while True:
            code = machine.take(1)[0]
            if code == 0x2E:
                return machine.pop(), machine.position, machine.references
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise MalformedError(
                    f'byte {machine.position - 1:,} is not an instruction that torch.save writes'
                )
            instruction(machine)
    except (LookupError, TypeError, ValueError, OverflowError, struct.error) as error:
        raise MalformedError(
            f'the data at byte {machine.position:,} is malformed ({type(error).__name__})'
        ) from error


def _kind(value: Any) -> str:
    if isinstance(value, (Name, Record)):
        return value.path
    return f'a {type(value).__name__}'
