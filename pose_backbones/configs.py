"""Reading a config file, and saying in its name what cannot be built."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from ._compat.config import resolve
from .errors import ConfigError, PoseBackbonesError, closest


def load_config(path: str) -> Config:
    """Read a config file.

    Args:
        path: A `.py`, `.yml` or `.json` file, or a config that the package
            ships, as `pose_backbones::moganet/….py`.

    Returns:
        The config, with its bases.

    Raises:
        ConfigError: If it is missing (shows the closest names) or broken.
    """
    try:
        path = resolve(path) or path
    except FileNotFoundError as error:
        raise ConfigError(f'config not found: {error}') from error
    if not Path(path).is_file():
        raise ConfigError(f'config not found: {path}{_similar(path)}')
    try:
        return Config.fromfile(path)
    except Exception as error:
        reason = str(error).strip().split('\n')[0]
        raise ConfigError(
            f'config unreadable: {path} ({type(error).__name__}: {reason})'
        ) from error


def _similar(path: str) -> str:
    """Name configs like the one that is missing, near it or in configs/."""
    name = Path(path).name
    for files in (Path(path).parent.glob('*.py'), Path('configs').glob('*/*.py')):
        found = {file.name: str(file) for file in files}
        near = closest(name, found)
        if near:
            return near
    return ''


@contextmanager
def building(cfg: Config) -> Iterator[None]:
    """What a constructor refuses in here is said as an error of the config.

    Args:
        cfg: The config that is being built.

    Raises:
        ConfigError: With the config's name and what was refused.
    """
    try:
        yield
    except PoseBackbonesError:
        raise
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f'{cfg.filename} cannot be built: {error}') from error
