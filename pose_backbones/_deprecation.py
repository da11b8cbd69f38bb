"""Deprecated names of modules that have moved."""

import warnings
from collections.abc import Callable
from importlib import import_module


def moved(old: str, new: str, *names: str) -> Callable[[str], object]:
    """Make the `__getattr__` of a module whose names have moved.

    Args:
        old: Name of the old module.
        new: Name of the module that has the names now.
        names: The names that keep working.

    Returns:
        A function that returns the object from the new module and issues a
        `DeprecationWarning`; it raises `AttributeError` for any other name.
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
