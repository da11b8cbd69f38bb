"""Finder of the packages in `pose_backbones/_replacements`, for `sys.meta_path`.

`import pose_backbones` installs it. So does `pose_backbones.pth` at the start of every interpreter,
which makes `import mmpose` work without `import pose_backbones`; therefore, this module imports only
what the interpreter has imported already. Set the environment variable
`POSE_BACKBONES_REPLACEMENTS=0` to use no replacement.
"""

import os
import sys

_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'pose_backbones', '_replacements')
#: name → module of the real package that has to import, or None if finding the package is enough
_REPLACED = {'pkg_resources': None, 'xtcocotools': 'xtcocotools._mask'}


class ReplacementFinder:
    """Find a replacement of a module that is missing or does not import."""

    def __init__(self) -> None:
        self._checking = False

    def find_spec(self, name, path=None, target=None):
        """Return the spec of the real module, or of its replacement; None for other modules."""
        if name not in _REPLACED or self._checking:
            return None
        self._checking = True
        try:
            spec = self._find_real(name)
            if spec is None:
                from importlib.machinery import PathFinder

                spec = PathFinder.find_spec(name, [_FOLDER])
            return spec
        finally:
            self._checking = False

    def _find_real(self, name):
        """Return the spec of the real module if it imports."""
        from importlib.util import find_spec

        known = sys.modules.pop(name, None)  # when it is reloaded
        try:
            spec = find_spec(name)
            if spec is not None and _REPLACED[name] and not _imports(_REPLACED[name]):
                return None
            return spec
        finally:
            if known is not None:
                sys.modules[name] = known


def _imports(name):
    """Return whether a compiled module imports; leave no trace of its package if not."""
    from contextlib import redirect_stderr
    from importlib import import_module
    from io import StringIO

    package = name.partition('.')[0]
    try:
        with redirect_stderr(StringIO()):  # NumPy explains at length that it has another version
            import_module(name)
    except Exception:
        return False
    finally:
        for loaded in [key for key in sys.modules if key.partition('.')[0] == package]:
            del sys.modules[loaded]
    return True


def install():
    """Put a finder first in `sys.meta_path`, unless there is one or the variable forbids it."""
    if os.environ.get('POSE_BACKBONES_REPLACEMENTS') == '0':
        return
    if not any(type(finder).__name__ == ReplacementFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, ReplacementFinder())


install()
