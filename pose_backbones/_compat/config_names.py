"""Patch MMEngine to find the configs of this package by name.

MMEngine finds `_base_ = 'package::…'` only for the packages of a fixed table, and only if they
are not installed in editable mode. It then marks every part of the config with the scope of the
package, in which MMPose's modules are not registered. `Config.fromfile('package::…')` is not
supported at all. With the patch, names with the prefix `pose_backbones::` are resolved to paths in
both places, and no scope is added. `mmengine.hub.get_config` uses the table.

A runner formats the text of its config with yapf several times, for each checkpoint and for the
log, which takes seconds for a long config; the patch caches the formatted text.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps

from mmengine.config import Config, utils
from mmengine.config import config as module

_CACHE_SIZE = 4  # formatted texts


def _resolve_first(original, resolve: Callable[[str], str | None], on_path: Callable):
    """Wrap a static method whose first argument is the name of a config.

    Args:
        original: Called for names that `resolve` does not know.
        resolve: Returns the path of a config, or None.
        on_path: Called with the path instead of `original`.
    """

    @wraps(original)
    def replacement(name, *args, **kwargs):
        path = resolve(name)
        if path is None:
            return original(name, *args, **kwargs)
        return on_path(path, *args, **kwargs)

    replacement.knows_pose_backbones = True
    return staticmethod(replacement)


def _cached(format_code):
    """Cache the last results of yapf's `FormatCode`."""
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
    """Install the patch; calling it again changes nothing.

    Args:
        package: Name of the package, for the table of `mmengine.hub`.
        resolve: Returns the path of a config of the package, or None for any other name.
    """
    utils.MODULE2PACKAGE[package] = package
    if getattr(Config.fromfile, 'knows_pose_backbones', False):
        return
    module.FormatCode = _cached(module.FormatCode)
    Config.fromfile = _resolve_first(Config.fromfile, resolve, Config.fromfile)
    # A path, and no scope.
    Config._get_cfg_path = _resolve_first(
        Config._get_cfg_path, resolve, lambda path, _: (path, None)
    )
