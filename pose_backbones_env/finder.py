"""Finder of the packages in `pose_backbones_env/replacements`, for `sys.meta_path`.

`pose_backbones.pth`, which is installed with the package, installs the finder at the start of each
interpreter, and `import pose_backbones` does so where that file is not read. As a result, MMPose,
MMDetection and their scripts work without a change:

- Packages that are missing or cannot be imported are replaced, see `REPLACED`.
- `pose_backbones` is imported when MMEngine's runner or inferencer has been imported, since it
  patches how MMEngine reads checkpoints and finds models.
- `pose_backbones` patches other modules when they have been imported, see `after_import`, and does
  not import them itself.

The interpreter runs this module at each start, so it imports only what is imported already. Set the
environment variable `POSE_BACKBONES_REPLACEMENTS=0` to disable the finder.
"""

import os
import sys

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than this module
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'replacements')
#: name → module in the folder, and the module of the real package that has to import, if finding
#: the package is not enough
REPLACED = {
    'mmcv._ext': ('mmcv_ext', None),
    'mmpretrain': ('mmpretrain', 'mmpretrain.models'),
    'pkg_resources': ('pkg_resources', None),
    'xtcocotools': ('xtcocotools', 'xtcocotools._mask'),
}
#: packages that print messages of NumPy when they cannot be imported; the others are imported
#: once, since mmpretrain registers its classes
_IMPORTED_TWICE = {'xtcocotools'}
#: `pose_backbones` is imported after these modules
PATCHED = ('mmengine.runner', 'mmengine.infer')
#: name of a module → functions that are called when it has been imported
_waiting: 'dict[str, list[Callable[[], object]]]' = {}
#: modules that are being executed, after which the functions are called
_executing: 'set[str]' = set()


class ReplacementFinder:
    """Find replacements of modules that cannot be imported, and the patched modules."""

    def __init__(self) -> None:
        self._checking: set[str] = set()

    def find_spec(
        self, name: str, path: 'Sequence[str] | None' = None, target: object = None
    ) -> 'ModuleSpec | None':
        """Return the spec of the real module or of its replacement; None for any other module."""
        if name in PATCHED or name in _waiting:
            return _call_after(_find_real(name, path))
        if name not in REPLACED or name in self._checking:
            return None
        self._checking.add(name)
        try:
            spec = _find_real(name, path)
            required: Any = REPLACED[name][1]
            if spec is not None and name not in _IMPORTED_TWICE:
                loader: Any = _LoaderOrReplacement(spec.loader)
                spec.loader = loader
            elif spec is None or not _imports(required):
                spec = find_replacement(name)
            return spec
        finally:
            self._checking.discard(name)


def _find_real(name: str, path: 'Sequence[str] | None') -> 'ModuleSpec | None':
    """Return the spec of the real module."""
    for finder in sys.meta_path:
        if not isinstance(finder, ReplacementFinder):
            spec = finder.find_spec(name, path)
            # a directory without `__init__.py` has no loader
            if spec is not None and spec.loader is not None:
                return spec
    return None


def _call_after(spec: 'ModuleSpec | None') -> 'ModuleSpec | None':
    """Patch the module of the spec when it has been executed."""
    if spec is None:
        return None
    name = spec.name
    loader: Any = spec.loader
    execute = loader.exec_module

    def execute_and_call(module: 'ModuleType') -> None:
        _executing.add(name)
        try:
            execute(module)
            _call(name)
        finally:
            _executing.discard(name)

    loader.exec_module = execute_and_call
    return spec


def _call(name: str) -> None:
    """Import `pose_backbones` after a module of `PATCHED`, and call the waiting functions."""
    from importlib import import_module

    try:
        if name in PATCHED:
            import_module('pose_backbones')
        while name in _waiting:  # the import and the functions may add functions
            for function in _waiting.pop(name):
                function()
    except Exception as error:
        from warnings import warn

        warn(
            f'pose_backbones cannot patch {name} ({type(error).__name__}: {error}); '
            'pose-backbones doctor finds the cause',
            stacklevel=2,
        )


def after_import(name: str, function: 'Callable[[], object]') -> None:
    """Call a function when a module has been imported; now, if it has been imported already.

    Without the finder, which `POSE_BACKBONES_REPLACEMENTS=0` disables, the module is imported now.

    Args:
        name: Full name of the module.
        function: Called once, without arguments. If it raises an exception while the module is
            imported, a warning is issued.
    """
    if name not in sys.modules and not _is_installed():
        from importlib import import_module

        import_module(name)
    if name in sys.modules and name not in _executing:
        function()
    else:
        _waiting.setdefault(name, []).append(function)


def find_replacement(name: str) -> 'ModuleSpec | None':
    """Return the spec of a replacement, see `REPLACED`."""
    from importlib.util import spec_from_file_location

    path = os.path.join(FOLDER, REPLACED[name][0])
    if os.path.isdir(path):
        return spec_from_file_location(
            name, os.path.join(path, '__init__.py'), submodule_search_locations=[path]
        )
    return spec_from_file_location(name, f'{path}.py')


class _LoaderOrReplacement:
    """Loader of a module that loads the replacement if the module cannot be imported."""

    def __init__(self, loader: 'Any') -> None:
        self._loader = loader
        self._error: Exception | None = None

    def create_module(self, spec: 'ModuleSpec') -> 'ModuleType | None':
        try:
            return self._loader.create_module(spec)  # loads a compiled module
        except Exception as error:
            self._error = error
            return None

    def exec_module(self, module: 'Any') -> None:
        from importlib import import_module
        from importlib.util import module_from_spec
        from warnings import warn

        name = module.__name__
        module.__loader__ = module.__spec__.loader = self._loader
        try:
            if self._error is not None:
                raise self._error
            self._loader.exec_module(module)
            required = REPLACED[name][1]
            if required is not None:
                import_module(required)
        except Exception as error:
            for loaded in [key for key in sys.modules if key.startswith(f'{name}.')]:
                del sys.modules[loaded]
            warn(
                f'{name} is installed, but cannot be imported ({type(error).__name__}: {error}). '
                'pose_backbones replaces it, see docs/compatibility.md.',
                stacklevel=2,
            )
            spec: Any = find_replacement(name)
            # The import statement returns the module that is in `sys.modules` now.
            sys.modules[name] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])


def _imports(name: str) -> bool:
    """Return whether a module can be imported; its package is imported again afterwards."""
    from contextlib import redirect_stderr
    from importlib import import_module
    from io import StringIO

    package = name.partition('.')[0]
    try:
        # NumPy 2 prints a long message if a module was compiled for NumPy 1.
        with redirect_stderr(StringIO()):
            import_module(name)
    except Exception:
        return False
    finally:
        for loaded in [key for key in sys.modules if key.partition('.')[0] == package]:
            del sys.modules[loaded]
    return True


def active() -> list[str]:
    """Return the names of the modules whose replacements are used."""
    from importlib.util import find_spec

    names = []
    for name in REPLACED:
        module = sys.modules.get(name)
        if module is not None:
            path = getattr(module, '__file__', None)
        else:
            parent = name.rpartition('.')[0]
            spec = find_spec(name) if not parent or find_spec(parent) else None
            path = spec and spec.origin
        if path and path.startswith(FOLDER + os.sep):
            names.append(name)
    return names


def install() -> None:
    """Put the finder first in `sys.meta_path`, unless it is there or is disabled."""
    if os.environ.get('POSE_BACKBONES_REPLACEMENTS') == '0':
        return
    if not _is_installed():
        sys.meta_path.insert(0, ReplacementFinder())


def _is_installed() -> bool:
    return any(isinstance(finder, ReplacementFinder) for finder in sys.meta_path)
