"""Values of a Python file, read and not run."""

import ast
from collections.abc import Callable, Iterator
from os import PathLike, fspath

from ..errors import ConfigError
from .files import open_regular

_MOST_BYTES = 16 << 20  # of a file
_MOST_ITEMS = 1 << 20  # of all `[1.0] * 17` of a file


class _Room:
    """How many items of products a file may still have."""

    items = _MOST_ITEMS


def read_assignments(path: str | PathLike) -> dict:
    """The variables of a Python file that are plain values.

    No line of the file is run. Numbers, strings, lists, tuples, dicts (also
    as `dict(a=1)`), signs and `[1.0] * 17` are read; a variable with anything
    else in it is left out, and so is what is not at the top level.

    Args:
        path: The file, such as a config that MMEngine has saved.

    Returns:
        Name → value.

    Raises:
        ConfigError: If it cannot be read, or is no Python.
    """
    with open_regular(path, 'config', ConfigError) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ConfigError(f'config unreadable: {fspath(path)} has more than {_MOST_BYTES:,} bytes')
    try:
        statements = ast.parse(content).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f'config unreadable: {fspath(path)} ({type(error).__name__}: {error})'
        ) from error
    found, room = {}, _Room()
    for statement in statements:
        for name in _changed(statement):
            found.pop(name, None)
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            targets = [statement.target]
        else:
            continue
        names = [one.id for one in targets if isinstance(one, ast.Name)]
        try:
            value = _value(statement.value, room)
        except (ValueError, TypeError, RecursionError, OverflowError):
            continue
        found.update(dict.fromkeys(names, value))
    return found


def _changed(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement may give another value, in any way."""
    for node in ast.walk(statement):
        if isinstance(node, (ast.Subscript, ast.Attribute, ast.Name)):
            if isinstance(node.ctx, ast.Load):
                continue
        elif isinstance(node, ast.Call):  # x.append(1), x.update(a=1)
            node = node.func
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split('.')[0]
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        while isinstance(node, (ast.Subscript, ast.Attribute)):
            node = node.value
        if isinstance(node, ast.Name):
            yield node.id


def _value(node: ast.expr, room: _Room):
    """Of an expression that says it by itself."""
    read = _KINDS.get(type(node))
    if read is None:
        raise ValueError(f'line {node.lineno} is no plain value')
    return read(node, room)


def _dict(node: ast.Dict, room: _Room) -> dict:
    if None in node.keys:
        raise ValueError(f'line {node.lineno} takes another dict')
    return {_value(key, room): _value(value, room) for key, value in zip(node.keys, node.values)}


def _call(node: ast.Call, room: _Room) -> dict:
    """`dict(a=1)`."""
    if (
        not isinstance(node.func, ast.Name)
        or node.func.id != 'dict'
        or node.args
        or any(one.arg is None for one in node.keywords)
    ):
        raise ValueError(f'line {node.lineno} calls a function')
    return {one.arg: _value(one.value, room) for one in node.keywords}


def _signed(node: ast.UnaryOp, room: _Room):
    value = _value(node.operand, room)
    if type(value) not in (int, float) or not isinstance(node.op, (ast.USub, ast.UAdd)):
        raise ValueError(f'line {node.lineno} computes')
    return -value if isinstance(node.op, ast.USub) else value


def _repeated(node: ast.BinOp, room: _Room):
    """`[1.0] * 17`."""
    value, count = _value(node.left, room), _value(node.right, room)
    if not (
        isinstance(node.op, ast.Mult)
        and isinstance(value, (list, tuple))
        and type(count) is int
        and len(value) * count <= room.items
    ):
        raise ValueError(f'line {node.lineno} computes')
    room.items -= max(len(value) * count, 0)
    return value * count


_KINDS: dict[type, Callable] = {
    ast.Constant: lambda node, room: node.value,
    ast.List: lambda node, room: [_value(one, room) for one in node.elts],
    ast.Tuple: lambda node, room: tuple(_value(one, room) for one in node.elts),
    ast.Dict: _dict,
    ast.Call: _call,
    ast.UnaryOp: _signed,
    ast.BinOp: _repeated,
}
