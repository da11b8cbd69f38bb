"""Options that several command-line tools share, and how they change a config."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction

from ..configs import strings_of
from ..errors import ConfigError

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
_SPLITS = ('train', 'val', 'test')


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options that training and testing share, named as MMPose names them."""
    parser.add_argument(
        '--work-dir', help='folder of logs and results (default: work_dirs/<name of the config>)'
    )
    parser.add_argument(
        '--data-root',
        metavar='DIR',
        help="take the data set from this folder in place of the config's `data_root`",
    )
    parser.add_argument(
        '--non-strict',
        action='store_true',
        help='load a checkpoint that fits in part, and list what was left '
        'out; without it, every tensor has to fit',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--show-dir', metavar='DIR', help='draw predictions into pictures in this folder'
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--interval', type=int, default=1, metavar='N', help='draw every Nth sample (default: 1)'
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=1,
        metavar='S',
        help='seconds that a window stays (default: 1)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='set values of the config, such as model.backbone.with_cp=True or out_indices="[0,3]"',
    )
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='how the processes were started (default: none, a single one)',
    )
    # torchrun hands it over in the environment, older launchers as this.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Refuse numbers of things that are below one.

    Args:
        args: A command line.
        names: Of options, with underscores; None is left alone.

    Raises:
        ConfigError: With the option and its value.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f'--{name.replace("_", "-")} {value}: expected at least 1')


def keep_local_rank(args: argparse.Namespace) -> None:
    """Put `--local-rank` where MMEngine looks for it."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))


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
