"""Run a script that has moved from tools/ to another directory."""

import os
import sys
import warnings
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def run_module(name: str) -> None:
    """Replace this process by `python -m name` with the same arguments.

    Args:
        name: Name of a module in the repository.
    """
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get('PYTHONPATH'))))
    _run('-m', name, PYTHONPATH=path)


def run_script(path: str) -> None:
    """Replace this process by `python path` with the same arguments.

    Args:
        path: Path of a script, relative to the repository.
    """
    _run(str(_ROOT / path))


def _run(*command: str, **environment: str) -> None:
    warnings.warn(
        f'{sys.argv[0]} will be removed in the next release: use python {" ".join(command)}',
        FutureWarning,
        stacklevel=3,
    )
    os.execve(
        sys.executable, [sys.executable, *command, *sys.argv[1:]], {**os.environ, **environment}
    )
