"""Patch MMEngine to find the configs of this package by name, and cache formatted configs.

MMEngine resolves `_base_ = 'package::…'` only for packages in a fixed table, and only if they are
not installed in editable mode. It also adds the scope of the package to every module of the config,
although MMPose's modules are not registered in that scope. `Config.fromfile('package::…')` is not
supported at all. With the patch, names with the prefix `pose_backbones::` are resolved to paths in
both places, and no scope is added. The entry in the table is required by `mmengine.hub.get_config`.

A config in pure Python inherits from `package.configs.…`, such as `mmpose.configs._base_` in
`with read_base():`. MMEngine looks for it in `package/configs`, which the wheel of MMPose does not
contain: its configs are in `mmpose/.mim/configs`. With the patch, they are found there.

A runner formats the text of its config with yapf several times, for the log and for each
checkpoint, which takes seconds for a long config. The patch caches the formatted text.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from pathlib import Path

from mmengine.config import Config, utils
from mmengine.config import config as module

_CACHE_SIZE = 4  # formatted texts
#: whether MMEngine is looking for the bases of a config in pure Python
_READS_BASES = ContextVar('reads_bases', default=False)


def _resolve_first(original, resolve: Callable[[str], str | None], on_path: Callable):
    """Wrap a static method whose first argument is the name of a config.

    Args:
        original: Called for names that `resolve` does not resolve.
        resolve: Returns the path of a config, or None.
        on_path: Called with the path instead of `original`.
    """

    @wraps(original)
    def replacement(name, *args, **kwargs):
        path = resolve(name)
        if path is None:
            return original(name, *args, **kwargs)
        return on_path(path, *args, **kwargs)

    replacement.finds_pose_backbones = True
    return staticmethod(replacement)


def _reading_bases(parse):
    """Wrap `Config._parse_lazy_import`, which reads a config in pure Python and its bases."""

    @wraps(parse)
    def replacement(*args, **kwargs):
        token = _READS_BASES.set(True)
        try:
            return parse(*args, **kwargs)
        finally:
            _READS_BASES.reset(token)

    return staticmethod(replacement)


def _with_configs(installed_path: Callable[[str], str]):
    """Wrap `get_installed_path`: for a base config, return the directory that has `configs`."""

    @wraps(installed_path)
    def replacement(package: str) -> str:
        path = installed_path(package)
        mim = Path(path, '.mim')
        is_only_in_mim = not Path(path, 'configs').is_dir() and (mim / 'configs').is_dir()
        return str(mim) if _READS_BASES.get() and is_only_in_mim else path

    return replacement


def _cached(format_code):
    """Cache the most recent results of yapf's `FormatCode`."""
    texts: OrderedDict[tuple[str, str], tuple] = OrderedDict()

    @wraps(format_code)
    def replacement(text: str, **options) -> tuple:
        key = text, repr(options)
        if key not in texts:
            texts[key] = format_code(text, **options)
        while len(texts) > _CACHE_SIZE:
            texts.popitem(last=False)
        return texts[key]

    return replacement


def install(package: str, resolve: Callable[[str], str | None]) -> None:
    """Install the patch. Calling this function again has no effect.

    Args:
        package: Name of the package, for the table that `mmengine.hub` uses.
        resolve: Returns the path of a config of the package, or None for any other name.
    """
    utils.MODULE2PACKAGE[package] = package
    if getattr(Config.fromfile, 'finds_pose_backbones', False):
        return
    module.FormatCode = _cached(module.FormatCode)
    module.get_installed_path = _with_configs(module.get_installed_path)
    Config._parse_lazy_import = _reading_bases(Config._parse_lazy_import)
    Config.fromfile = _resolve_first(Config.fromfile, resolve, Config.fromfile)
    # Return a path without a scope.
    Config._get_cfg_path = _resolve_first(
        Config._get_cfg_path, resolve, lambda path, _: (path, None)
    )
