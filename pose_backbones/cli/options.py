"""Merging into a config what the command line says."""

import argparse
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..configs import strings_of
from ..errors import ConfigError

_SPLITS = ('train', 'val', 'test')


def merge_options(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options of `cli.add_common_options`, in place.

    Args:
        cfg: A config.
        args: Its command line.

    Raises:
        ConfigError: If an option does not go with the config.
    """
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    if args.show or args.show_dir is not None:
        _enable_drawing(cfg, args)
    cfg.strict_load = not args.non_strict
    if args.cfg_options is not None:
        _merge_values(cfg, args.cfg_options)


def _merge_values(cfg: Config, values: dict) -> None:
    """Set values of a config by their dotted names, in place.

    What is None, such as an `init_cfg`, becomes a dict where entries of it
    are set; MMEngine refuses that.

    Args:
        cfg: A config.
        values: Dotted name → value.

    Raises:
        ConfigError: If a name does not go with the config.
    """
    for name in values:
        part = cfg._cfg_dict
        for key in name.split('.')[:-1]:
            if not isinstance(part, dict):
                break
            if key in part and part[key] is None:
                part[key] = ConfigDict()
            part = part.get(key)
    try:
        cfg.merge_from_dict(values)
    except (TypeError, KeyError, IndexError, ValueError, AssertionError) as error:
        raise ConfigError(
            f'--cfg-options do not fit the config: {str(error).splitlines()[0]}'
        ) from error


def _enable_drawing(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ConfigError(
            '--show and --show-dir need the hook PoseVisualizationHook: add '
            "default_hooks=dict(visualization=dict(type='"
            "PoseVisualizationHook')) to the config"
        )
    hook.update(
        enable=True,
        show=args.show,
        out_dir=args.show_dir and str(Path(args.show_dir).absolute()),
        interval=args.interval,
    )
    if args.show:
        hook.wait_time = args.wait_time


def set_data_root(cfg: Config, data_root: str) -> None:
    """Take all data from another folder of the same layout, in place.

    Args:
        cfg: A config with a top-level `data_root`.
        data_root: The new folder.

    Raises:
        ConfigError: If the config has no `data_root`, or no data in it.
    """
    old = cfg.get('data_root') or ''
    old = old.rstrip('/') + '/'
    if old == '/':
        raise ConfigError(
            "--data-root: the config has no top-level 'data_root'; set the "
            'paths by --cfg-options train_dataloader.dataset.data_root=…'
        )
    new = data_root.rstrip('/') + '/'

    def move(text: str) -> str:
        if text + '/' == old:
            return new
        return new + text[len(old) :] if text.startswith(old) else text

    keys = [
        key
        for split in _SPLITS
        for key in (f'{split}_dataloader', f'{split}_evaluator')
        if cfg.get(key) is not None
    ]
    if not any(move(text) != text for key in keys for text in strings_of(cfg[key])) and new != old:
        raise ConfigError(
            f'--data-root {data_root}: no path of the config lies in its '
            f'data_root, {old}: set the paths by --cfg-options '
            'train_dataloader.dataset.data_root=…'
        )
    for key in keys:
        cfg[key] = _map_strings(cfg[key], move)
    cfg.data_root = new


def _map_strings(value, change: Callable[[str], str]):
    """`value` with `change` applied to every string in it."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return type(value)({key: _map_strings(item, change) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(_map_strings(item, change) for item in value)
    return value
