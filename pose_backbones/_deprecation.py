"""Deprecation warnings for names that have moved to another module."""

import warnings
from collections.abc import Callable
from importlib import import_module


def moved(old: str, new: str, *names: str) -> Callable[[str], object]:
    """Return a module-level `__getattr__` for a module whose names have moved.

    Args:
        old: Name of the old module.
        new: Name of the module that now contains the names.
        names: The names that remain available.

    Returns:
        A function that returns the object from the new module and issues a `DeprecationWarning`. It
        raises `AttributeError` for any other name.
    """

    def __getattr__(name: str) -> object:
        if name not in names:
            raise AttributeError(f'module {old!r} has no attribute {name!r}')
        warnings.warn(
            f'{old}.{name} has moved to {new}.{name}; the old name will be removed in the next '
            'release',
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(new), name)

    return __getattr__
