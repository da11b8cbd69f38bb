"""Replacement of xtcocotools, where it is missing or does not import.

MMPose reads annotations and evaluates keypoints with xtcocotools, whose last release (1.14.3, of
2023) is compiled for NumPy 1 and has no wheels for Python 3.12 and later. The replacement has the
same modules and gives the same figures:

- `coco`: index of an annotation file, based on pycocotools.
- `cocoeval`: metrics, computed by hotcoco (in Rust) or, if it is missing, by pycocotools.
- `mask`: run-length masks of pycocotools.

faster-coco-eval was considered, too: it has no release for platforms without compiled wheels, and
gives the same figures as hotcoco.
"""

import contextlib
import importlib
import io
import sys
from types import ModuleType

__all__ = ['install', 'is_installed']

_NAME = 'xtcocotools'
_MODULES = ('mask', 'coco', 'cocoeval')


def _imports() -> bool:
    """Return whether the real package is installed and its compiled module imports."""
    try:
        # NumPy 2 prints a long message if a module is compiled for NumPy 1.
        with contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(f'{_NAME}._mask')
    except (ImportError, AttributeError, ValueError):
        return False
    return True


def is_installed() -> bool:
    """Return whether the replacement is used."""
    return sys.modules.get(_NAME) is sys.modules[__name__]


def install() -> None:
    """Install the replacement if, and only if, the real package does not import."""
    if is_installed() or _imports():
        return
    for name in [name for name in sys.modules if name.partition('.')[0] == _NAME]:
        del sys.modules[name]  # what was imported of a package that does not import
    sys.modules[_NAME] = sys.modules[__name__]
    for name in _MODULES:
        module: ModuleType = importlib.import_module(f'.{name}', __name__)
        sys.modules[f'{_NAME}.{name}'] = module
