"""Values of a Python file, read and not run."""

import ast
from collections.abc import Callable, Iterator
from os import PathLike, fspath

from .errors import ConfigError
from .files import open_regular

_MOST_BYTES = 16 << 20  # of a file
_MOST_ITEMS = 1 << 20  # of `[1.0] * 17`


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
        raise ConfigError(f'config unreadable: {fspath(path)} has more than '
                          f'{_MOST_BYTES:,} bytes')
    try:
        statements = ast.parse(content).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f'config unreadable: {fspath(path)} '
                          f'({type(error).__name__}: {error})') from error
    found = {}
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
            value = _value(statement.value)
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


def _value(node: ast.expr):
    """Of an expression that says it by itself."""
    read = _KINDS.get(type(node))
    if read is None:
        raise ValueError(f'line {node.lineno} is no plain value')
    return read(node)


def _dict(node: ast.Dict) -> dict:
    if None in node.keys:
        raise ValueError(f'line {node.lineno} takes another dict')
    return {_value(key): _value(value)
            for key, value in zip(node.keys, node.values)}


def _call(node: ast.Call) -> dict:
    """`dict(a=1)`."""
    if (not isinstance(node.func, ast.Name) or node.func.id != 'dict'
            or node.args or any(one.arg is None for one in node.keywords)):
        raise ValueError(f'line {node.lineno} calls a function')
    return {one.arg: _value(one.value) for one in node.keywords}


def _signed(node: ast.UnaryOp):
    value = _value(node.operand)
    if type(value) not in (int, float) or not isinstance(
            node.op, (ast.USub, ast.UAdd)):
        raise ValueError(f'line {node.lineno} computes')
    return -value if isinstance(node.op, ast.USub) else value


def _repeated(node: ast.BinOp):
    """`[1.0] * 17`."""
    value, count = _value(node.left), _value(node.right)
    if not (isinstance(node.op, ast.Mult) and isinstance(value, (list, tuple))
            and type(count) is int and len(value) * count <= _MOST_ITEMS):
        raise ValueError(f'line {node.lineno} computes')
    return value * count


_KINDS: dict[type, Callable] = {
    ast.Constant: lambda node: node.value,
    ast.List: lambda node: [_value(one) for one in node.elts],
    ast.Tuple: lambda node: tuple(_value(one) for one in node.elts),
    ast.Dict: _dict,
    ast.Call: _call,
    ast.UnaryOp: _signed,
    ast.BinOp: _repeated,
}
