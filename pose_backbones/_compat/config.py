"""The package's configs by name: `pose_backbones::uniformer/….py`.

MMEngine finds `_base_ = 'package::…'` only for the packages in a table of its
own and only where they are not installed in editable mode; it then marks
every part of the config with the package's scope, in which MMPose's modules
have no names. `Config.fromfile('package::…')` it does not know at all. Here,
names that begin with `pose_backbones::` become paths, in both places, and
nothing is marked. `mmengine.hub.get_config` knows them from the table.

A runner formats the text of its config for each checkpoint and some times
more, which takes up to seconds; the same text is formatted once.
"""

from collections import OrderedDict
from functools import wraps
from pathlib import Path

from mmengine.config import Config, utils
from mmengine.config import config as module

from ..errors import closest

__all__ = ['config_folder', 'install']

_PACKAGE = 'pose_backbones'
_REMEMBERED = 4  # texts
_PREFIX = f'{_PACKAGE}::'


def config_folder() -> Path:
    """The folder of the configs, in a checkout and when installed."""
    return Path(__file__).parents[1] / '.mim' / 'configs'


def resolve(name) -> str | None:
    """The path of a config that is named with the prefix.

    Args:
        name: Anything that `Config.fromfile` or `_base_` takes.

    Returns:
        The path of the file; None for a name without the prefix.

    Raises:
        FileNotFoundError: If the package has no such config; shows the
            closest names.
    """
    if not str(name).startswith(_PREFIX):
        return None
    path = config_folder() / str(name)[len(_PREFIX) :]
    if not path.is_file():
        known = {
            file.name: _PREFIX + str(file.relative_to(config_folder()))
            for file in config_folder().glob('*/*.py')
        }
        raise FileNotFoundError(f'{name}{closest(path.name, known)}')
    return str(path)


def _first_resolve(original, result):
    """`original`, but for our names, whose path is put through `result`."""

    @wraps(original)
    def replacement(name, *args, **kwargs):
        path = resolve(name)
        if path is None:
            return original(name, *args, **kwargs)
        return result(path, *args, **kwargs)

    replacement.knows_pose_backbones = True
    return staticmethod(replacement)


def _remember(format_code):
    """yapf's `FormatCode`, which formats a text once."""
    texts: OrderedDict[tuple[str, str], tuple] = OrderedDict()

    @wraps(format_code)
    def replacement(text: str, **options) -> tuple:
        key = text, repr(options)
        if key not in texts:
            texts[key] = format_code(text, **options)
        while len(texts) > _REMEMBERED:
            texts.popitem(last=False)
        return texts[key]

    return replacement


def install() -> None:
    """Make the names known; calling it again changes nothing."""
    utils.MODULE2PACKAGE[_PACKAGE] = _PACKAGE
    if getattr(Config.fromfile, 'knows_pose_backbones', False):
        return
    module.FormatCode = _remember(module.FormatCode)
    Config.fromfile = _first_resolve(Config.fromfile, Config.fromfile)
    # A path, and no scope to mark the parts with.
    Config._get_cfg_path = _first_resolve(Config._get_cfg_path, lambda path, _: (path, None))
