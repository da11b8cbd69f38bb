"""Import of packages that some formats need."""

from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import ConfigError


def import_package(name: str, path: Path) -> Any:
    """Import a package of the extra `datasets`.

    Args:
        name: Name of the module.
        path: The file to read, for the message.

    Raises:
        ConfigError: If it cannot be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading it needs {name}: pip install 'pose_backbones[datasets]' ({error})"
        ) from error
