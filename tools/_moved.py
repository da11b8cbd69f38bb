"""Runs a script that has moved from tools/ to another directory."""

import os
import sys
import warnings
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def run_module(name: str) -> None:
    """Replace this process by `python -m name` with the same arguments.

    Args:
        name: Of a module in the repository.
    """
    warnings.warn(
        f'{sys.argv[0]} will be removed in the next release: use python -m {name} in {_ROOT}',
        FutureWarning,
        stacklevel=2,
    )
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get('PYTHONPATH'))))
    os.execve(
        sys.executable,
        [sys.executable, '-m', name, *sys.argv[1:]],
        {**os.environ, 'PYTHONPATH': path},
    )
