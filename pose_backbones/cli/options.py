"""Command-line options that several tools share, and their effect on a config.

The tools use argparse. cyclopts, tyro and typer were considered, but the options follow MMPose's
tools, including `--cfg-options`, whose `DictAction` is an argparse action. cyclopts also requires
Python 3.11 or later.
"""

import argparse
import copy
import os
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.utils import import_modules_from_strings

from ..configs import as_list, dicts_in, strings_of, type_name
from ..errors import ConfigError, first_line
from ..utils.arguments import check_display
from ..utils.literals import read_literal

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
_SPLITS = ('train', 'val', 'test')


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share, named as in MMPose."""
    parser.add_argument(
        '--work-dir', help='directory of logs and results (default: work_dirs/<name of the config>)'
    )
    parser.add_argument(
        '--data-root',
        metavar='DIR',
        help="directory of the dataset, in place of the config's `data_root`",
    )
    parser.add_argument(
        '--non-strict',
        action='store_true',
        help='load a checkpoint that matches only in part, and log the missing, unexpected and '
        'mismatched keys; without it, every tensor must match',
    )
    parser.add_argument('--amp', action='store_true', help='use automatic mixed precision')
    parser.add_argument(
        '--show-dir', metavar='DIR', help='save images with drawn predictions in this directory'
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
        help='seconds to show each window (default: 1)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override config entries, as in model.backbone.with_cp=True or out_indices="[0,3]"',
    )
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='launcher of a distributed run (default: none, a single process)',
    )
    # torchrun sets an environment variable; older launchers pass this option.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


class ConfigOptions(DictAction):
    """Parse `--cfg-options` as MMEngine does, and values with dicts as Python literals.

    MMEngine reads a dict in a list as text, or does not return.
    """

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add the options to the dict in the namespace."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for option in values:
            key, equals, text = option.partition('=')
            if not key or not equals:
                parser.error(f'{option_string} {option}: expected KEY=VALUE')
            options[key] = self._parse(f'{option_string} {option}', text)
        setattr(namespace, self.dest, options)

    def _parse(self, option: str, text: str):
        try:
            if '{' in text or 'dict(' in text:
                return read_literal(text.strip('"'))
            return self._parse_iterable(text)
        except (ValueError, AssertionError, RecursionError) as error:
            raise ConfigError(
                f'{option}: the value cannot be read ({first_line(error)}): expected a value such '
                "as 0.1, name, [1,2] or [dict(type='A'),dict(type='B')], in quotation marks"
            ) from error


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Check that options are at least 1.

    Args:
        args: The parsed command line.
        names: Names of the options, with underscores. A value of None is skipped; of a list, each
            value is checked.

    Raises:
        ConfigError: If a value is below 1.
    """
    for name in names:
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and value < 1:
                raise ConfigError(f'--{name.replace("_", "-")} {value}: expected at least 1')


def keep_local_rank(args: argparse.Namespace) -> None:
    """Set the environment variable LOCAL_RANK, which MMEngine reads, from `--local-rank`."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))


def merge_options(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options of `add_common_options` to a config, in place.

    Args:
        cfg: The config.
        args: The parsed command line.

    Raises:
        ConfigError: If an option is not valid for the config.
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
    """Set entries of a config by their dotted names, in place.

    An entry that is None, such as `init_cfg`, becomes a dict if one of its keys is set.
    MMEngine's `merge_from_dict` raises an error in that case. The codec is set first, also in its
    copies, see `_update_codec_copies`; so are pipelines, such as `train_pipeline`, in the datasets.

    Args:
        cfg: The config.
        values: Dotted name → value.

    Raises:
        ConfigError: If a name is not valid for the config.
    """
    codecs = copy.deepcopy(as_list(cfg.get('codec')))
    of_codec = {key: value for key, value in values.items() if key.split('.')[0] == 'codec'}
    _merge(cfg, of_codec)
    if of_codec:
        _update_codec_copies(cfg, codecs, list(of_codec))
    pipelines = {
        name: copy.deepcopy(cfg[name])
        for name in {key.split('.')[0] for key in values}
        if name.endswith('_pipeline') and isinstance(cfg.get(name), list)
    }
    of_pipelines = {key: value for key, value in values.items() if key.split('.')[0] in pipelines}
    _merge(cfg, of_pipelines)
    for name, old in pipelines.items():
        _update_pipeline_copies(cfg, name, old)
    rest = {key: value for key, value in values.items() if key not in {**of_codec, **of_pipelines}}
    _merge(cfg, rest)
    if any(key.split('.')[0] == 'custom_imports' for key in values):
        _import_custom_modules(cfg)


def _import_custom_modules(cfg: Config) -> None:
    """Import the modules of `custom_imports`, which MMEngine only does when it reads the file."""
    modules = as_list((cfg.get('custom_imports') or {}).get('imports'))
    try:
        import_modules_from_strings(modules)
    except (ImportError, TypeError) as error:
        raise ConfigError(
            f'custom_imports.imports={modules!r}: {first_line(error)}. Expected a list of '
            'modules that can be imported; set PYTHONPATH to their directory'
        ) from error


def _update_codec_copies(cfg: Config, old: list[dict], names: list[str]) -> None:
    """Make the changes of the codec in the head and the pipelines, where configs copy it to.

    A config file evaluates `decoder=codec` when it is loaded, so that a change of `codec` alone
    would have no effect.

    Args:
        cfg: The config, whose `codec` has been changed.
        old: The codecs before the change.
        names: Names of the changed entries, for the message.

    Raises:
        ConfigError: If the config has no copy of a codec that was changed.
    """
    for before, after in zip(old, as_list(cfg.codec)):
        if before == after or not isinstance(after, dict):
            continue
        copies = 0
        parts = {key: value for key, value in cfg._cfg_dict.items() if key != 'codec'}
        for part in dicts_in(parts):
            if all(key in part and part[key] == value for key, value in before.items()):
                for key in before.keys() - after.keys():
                    del part[key]
                part.update(copy.deepcopy(after))
                copies += 1
            elif type_name(part) == 'TopdownAffine':
                if part.get('input_size') == before.get('input_size'):
                    part['input_size'] = after.get('input_size')
        if not copies:
            raise ConfigError(
                f'--cfg-options {" ".join(names)}: the model and the pipelines have another codec, '
                'so this has no effect: set model.head.decoder, and the encoder of GenerateTarget '
                'in the pipelines'
            )


def _update_pipeline_copies(cfg: Config, name: str, old: list) -> None:
    """Make the changes of a pipeline in the datasets, where configs copy it to.

    Args:
        cfg: The config, whose entry `name` has been changed.
        name: Name of the entry.
        old: The pipeline before the change.

    Raises:
        ConfigError: If no dataset had the pipeline.
    """
    users = [part for part in dicts_in(cfg._cfg_dict) if part.get('pipeline') == old]
    if not users:
        raise ConfigError(
            f'--cfg-options {name}: no dataset has this pipeline, so this has no effect: set the '
            'pipeline of the dataset, such as train_dataloader.dataset.pipeline'
        )
    for part in users:
        part['pipeline'] = copy.deepcopy(cfg[name])


def _merge(cfg: Config, values: dict) -> None:
    """Merge values, see `_merge_values`."""
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
            f'--cfg-options are not valid for the config: {str(error).splitlines()[0]}'
        ) from error


def _enable_drawing(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ConfigError(
            '--show and --show-dir need the hook PoseVisualizationHook: add '
            "default_hooks=dict(visualization=dict(type='"
            "PoseVisualizationHook')) to the config"
        )
    if type_name(hook) == 'PoseVisualizationHook':
        hook.type = 'pose_backbones.IntervalVisualizationHook'
    hook.update(
        enable=True,
        show=args.show,
        out_dir=args.show_dir and str(Path(args.show_dir).absolute()),
        interval=args.interval,
    )
    if args.show:
        check_display('--show', '--show-dir DIR')
        hook.wait_time = args.wait_time


def set_data_root(cfg: Config, data_root: str) -> None:
    """Replace the `data_root` of a config in all data paths, in place.

    Args:
        cfg: A config with a top-level `data_root`.
        data_root: The new directory, which has the same layout.

    Raises:
        ConfigError: If the config has no `data_root`, or no path that starts with it.
    """
    old = cfg.get('data_root') or ''
    old = old.rstrip('/') + '/'
    if old == '/':
        raise ConfigError(
            "--data-root: the config has no top-level 'data_root': set the paths with "
            '--cfg-options train_dataloader.dataset.data_root=…'
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
            f'--data-root {data_root}: no path of the config starts with its data_root, {old}: '
            'set the paths with --cfg-options train_dataloader.dataset.data_root=…'
        )
    for key in keys:
        cfg[key] = _map_strings(cfg[key], move)
    cfg.data_root = new


def _map_strings(value, change: Callable[[str], str]):
    """Return `value` with `change` applied to every string in it."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return type(value)({key: _map_strings(item, change) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(_map_strings(item, change) for item in value)
    return value
