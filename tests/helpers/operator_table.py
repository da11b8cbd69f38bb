"""Which compiled functions the names of `mmcv.ops` use, from mmcv's source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import mmcv.ops

_FOLDER = Path(mmcv.ops.__file__).parent
#: module and name in it
_Key = tuple[str, str]


class _Module:
    """References of each top-level name of a file in `mmcv/ops`."""

    def __init__(self, name: str) -> None:
        self.imported: dict[str, _Key] = {}
        self.references: dict[str, set[str]] = {}
        self.compiled: dict[str, set[str]] = {}
        tree = ast.parse((_FOLDER / f'{name}.py').read_text())
        for node in ast.walk(tree):  # functions import, too
            if isinstance(node, ast.ImportFrom):
                self._add_import(node)
        for node in self._statements(tree.body):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                self._add(node.name, node)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self._add(target.id, node.value)

    def _statements(self, body: list[ast.stmt]) -> Iterator[ast.stmt]:
        """Yield top-level statements, including those in the branches of an `if`."""
        for node in body:
            if isinstance(node, ast.If):
                yield from self._statements(node.body + node.orelse)
            else:
                yield node

    def _add_import(self, node: ast.ImportFrom) -> None:
        module = node.module or ''
        if node.level == 0 and module.startswith('mmcv.ops.'):
            module = module.removeprefix('mmcv.ops.')
        elif node.level != 1:
            return
        for alias in node.names:
            name = alias.asname or alias.name
            self.imported[name] = (module, alias.name) if module else (alias.name, '*')

    def _add(self, name: str, node: ast.AST) -> None:
        inner = list(ast.walk(node))
        references = self.references.setdefault(name, set())
        references |= {one.id for one in inner if isinstance(one, ast.Name)}
        self.compiled.setdefault(name, set()).update(
            one.attr
            for one in inner
            if isinstance(one, ast.Attribute)
            and isinstance(one.value, ast.Name)
            and one.value.id == 'ext_module'
        )


def compiled_functions() -> dict[str, set[str]]:
    """Return the functions of `mmcv._ext` that each name in `mmcv.ops.__all__` uses."""
    modules: dict[str, _Module] = {}

    def collect(key: _Key, seen: set[_Key]) -> set[str]:
        module, name = key
        if key in seen:
            return set()
        seen.add(key)
        if module not in modules:
            modules[module] = _Module(module)
        if name in modules[module].imported:
            return collect(modules[module].imported[name], seen)
        functions = set(modules[module].compiled.get(name, ()))
        everything = set(modules[module].references)  # `from . import` of a module
        for reference in everything if name == '*' else modules[module].references.get(name, ()):
            functions |= collect((module, reference), seen)
        return functions

    functions = {name: collect(('__init__', name), set()) for name in mmcv.ops.__all__}
    functions['batched_nms'] = {'nms'}  # which it calls by the name in its config
    return functions
