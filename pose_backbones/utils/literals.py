"""Read literal values from a Python file without running it."""

import ast
from collections.abc import Callable, Iterator
from os import PathLike, fspath

from ..errors import ConfigError, first_line
from .files import open_regular

_MAX_BYTES = 16 << 20  # size of a file
_MAX_ITEMS = 1 << 20  # items of all repetitions such as `[1.0] * 17` in a file


class _Budget:
    """Number of items that further repetitions in a file may have."""

    items = _MAX_ITEMS


def read_assignments(path: str | PathLike) -> dict:
    """Return the variables of a Python file that are assigned literal values.

    The file is not run. Numbers, strings, lists, tuples, dicts (including the form `dict(a=1)`),
    signs and repetitions such as `[1.0] * 17` are evaluated. A variable is ignored if its value
    contains anything else, if the file modifies it later, or if it is not assigned at the top
    level.

    Args:
        path: The file, such as a config that MMEngine has saved.

    Returns:
        Mapping from name to value.

    Raises:
        ConfigError: If the file cannot be read or is not valid Python.
    """
    with open_regular(path, 'config', ConfigError) as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ConfigError(f'config unreadable: {fspath(path)} has more than {_MAX_BYTES:,} bytes')
    try:
        statements = ast.parse(content).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f'config unreadable: {fspath(path)} ({type(error).__name__}: {error})'
        ) from error
    values, budget = {}, _Budget()
    for statement in statements:
        for name in _modified_names(statement):
            values.pop(name, None)
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            targets = [statement.target]
        else:
            continue
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        try:
            value = _evaluate(statement.value, budget)
        except (ValueError, TypeError, RecursionError, OverflowError):
            continue
        values.update(dict.fromkeys(names, value))
    return values


def read_literal(text: str):
    """Return the value of a literal expression, see `read_assignments`.

    Args:
        text: The expression, such as `[dict(type='LinearLR', end=500)]`.

    Raises:
        ValueError: If it is not a literal.
    """
    try:
        return _evaluate(ast.parse(text.strip(), mode='eval').body, _Budget())
    except (SyntaxError, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(first_line(error)) from error


def _modified_names(statement: ast.stmt) -> Iterator[str]:
    """Iterate over the names of the variables that a statement may modify."""
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


def _evaluate(node: ast.expr, budget: _Budget):
    """Evaluate a literal expression."""
    evaluate = _EVALUATORS.get(type(node))
    if evaluate is None:
        raise ValueError(f'line {node.lineno} is not a literal')
    return evaluate(node, budget)


def _evaluate_dict(node: ast.Dict, budget: _Budget) -> dict:
    if None in node.keys:
        raise ValueError(f'line {node.lineno} unpacks a dict')
    return {
        _evaluate(key, budget): _evaluate(value, budget)
        for key, value in zip(node.keys, node.values)
    }


def _evaluate_call(node: ast.Call, budget: _Budget) -> dict:
    """Evaluate a call of the form `dict(a=1)`."""
    if (
        not isinstance(node.func, ast.Name)
        or node.func.id != 'dict'
        or node.args
        or any(keyword.arg is None for keyword in node.keywords)
    ):
        raise ValueError(f'line {node.lineno} calls a function')
    return {keyword.arg: _evaluate(keyword.value, budget) for keyword in node.keywords}


def _evaluate_signed(node: ast.UnaryOp, budget: _Budget):
    value = _evaluate(node.operand, budget)
    if type(value) not in (int, float) or not isinstance(node.op, (ast.USub, ast.UAdd)):
        raise ValueError(f'line {node.lineno} is an arithmetic expression')
    return -value if isinstance(node.op, ast.USub) else value


def _evaluate_repeated(node: ast.BinOp, budget: _Budget):
    """Evaluate a repetition of the form `[1.0] * 17`."""
    value, count = _evaluate(node.left, budget), _evaluate(node.right, budget)
    if not (
        isinstance(node.op, ast.Mult)
        and isinstance(value, (list, tuple))
        and type(count) is int
        and len(value) * count <= budget.items
    ):
        raise ValueError(f'line {node.lineno} is an arithmetic expression')
    budget.items -= max(len(value) * count, 0)
    return value * count


_EVALUATORS: dict[type, Callable] = {
    ast.Constant: lambda node, budget: node.value,
    ast.List: lambda node, budget: [_evaluate(item, budget) for item in node.elts],
    ast.Tuple: lambda node, budget: tuple(_evaluate(item, budget) for item in node.elts),
    ast.Dict: _evaluate_dict,
    ast.Call: _evaluate_call,
    ast.UnaryOp: _evaluate_signed,
    ast.BinOp: _evaluate_repeated,
}
