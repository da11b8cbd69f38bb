"""Training from a config: what `tools/train.py` runs."""

import argparse
import os
import re
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from ..utils.checkpoint import read_checkpoint
from ..utils.config import building, load_config
from ..utils.errors import ConfigError, DatasetError
from . import checks
from .cli import add_common_options, keep_local_rank
from .config import merge_options
from .runner import PoseRunner


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `tools/train.py`."""
    parser = argparse.ArgumentParser(
        description='Train a pose model.', prog='train.py')
    parser.add_argument('config', help='a config file')
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CHECKPOINT',
        help='continue from this checkpoint; without a name, from the '
        'newest one in the work dir (from the start if there is none)')
    parser.add_argument(
        '--load-from', metavar='CHECKPOINT',
        help='start from the weights of this file or URL; with --resume, '
        'only if there is nothing to continue')
    parser.add_argument(
        '--overwrite', action='store_true',
        help="replace an earlier run's checkpoints in the work dir")
    parser.add_argument(
        '--no-validate', action='store_true',
        help='do not evaluate during training')
    parser.add_argument(
        '--auto-scale-lr', action='store_true',
        help='scale the learning rate by actual / original batch size')
    add_common_options(parser)
    return parser.parse_args(argv)


def merge_train_options(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options of `tools/train.py` to a config, in place.

    Args:
        cfg: A config.
        args: From `parse_args`.

    Raises:
        ConfigError: If an option does not go with the config.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        _enable_amp(cfg)
    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr') is None:
            raise ConfigError(
                '--auto-scale-lr: the config does not say for which batch '
                'size its learning rate is; add '
                'auto_scale_lr=dict(base_batch_size=…)')
        cfg.auto_scale_lr.enable = True
    merge_options(cfg, args)
    _choose_start(cfg, args)


def _choose_start(cfg: Config, args: argparse.Namespace) -> None:
    """Set `resume` and `load_from`, which MMEngine reads together."""
    if args.resume is not None and args.overwrite:
        raise ConfigError(
            '--resume and --overwrite exclude each other: the one continues '
            'the earlier run, the other removes it')
    if args.resume not in (None, 'auto'):
        if args.load_from is not None:
            raise ConfigError(
                '--resume CHECKPOINT and --load-from exclude each other: '
                'the one continues a run, the other begins one')
        cfg.resume, cfg.load_from = True, args.resume
        return
    if args.load_from is not None:
        cfg.load_from = args.load_from
    if args.resume == 'auto':
        latest = latest_checkpoint(cfg.work_dir)
        cfg.resume = latest is not None
        cfg.load_from = latest or cfg.load_from


def require_gpu() -> None:
    """Refuse `--amp` where MMEngine and MMPose cannot do it."""
    if not torch.cuda.is_available():
        raise ConfigError(
            '--amp: mixed precision needs a GPU, and this machine has none '
            'that PyTorch can use')


def _enable_amp(cfg: Config) -> None:
    require_gpu()
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ConfigError(
            f'--amp: the config has an optimizer wrapper of its own, {kind}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def latest_checkpoint(work_dir: str) -> str | None:
    """The newest checkpoint of a run.

    Args:
        work_dir: Of the run.

    Returns:
        Its path: what `last_checkpoint` names or, where that file is missing
        or out of date, the newest `iter_N.pth` or `epoch_N.pth`. None if
        there is none.
    """
    pointer = Path(work_dir, 'last_checkpoint')
    if pointer.is_file():
        named = pointer.read_text().strip()
        for path in (Path(named), Path(work_dir, Path(named).name)):
            if named and path.is_file():
                return str(path)
    found = {int(match[1]): file for file in Path(work_dir).glob('*.pth')
             if (match := re.fullmatch(r'(?:iter|epoch)_(\d+)', file.stem))}
    return str(found[max(found)]) if found else None


def is_complete(cfg: Config, checkpoint: dict) -> bool:
    """Whether the run of a checkpoint has no step left to do."""
    meta = checkpoint.get('meta', {})
    for limit, done in (('max_iters', 'iter'), ('max_epochs', 'epoch')):
        if cfg.train_cfg.get(limit):
            return meta.get(done, 0) >= cfg.train_cfg[limit]
    return False


def train(cfg: Config, overwrite: bool = False) -> PoseRunner | None:
    """Check a config and train it.

    Args:
        cfg: A config with its `work_dir`.
        overwrite: Whether an earlier run in the work dir may be replaced.

    Returns:
        The runner, after training; None if the run to be resumed is complete.

    Raises:
        PoseBackbonesError: If something is wrong that shows before training.
    """
    splits = [split for split in ('train', 'val')
              if cfg.get(f'{split}_dataloader') is not None]
    checks.check_types(cfg)
    checks.check_trainable(cfg)
    checks.check_precision(cfg)
    checks.check_data_mode(cfg, splits)
    checks.check_datasets(cfg, splits)
    checks.check_work_dir(cfg, bool(cfg.get('resume')), overwrite)
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from = latest_checkpoint(cfg.work_dir)
        cfg.resume = cfg.load_from is not None
    if cfg.get('load_from'):
        checkpoint = read_checkpoint(cfg.load_from)
        if cfg.get('resume') and is_complete(cfg, checkpoint):
            print_log(f'The run in {cfg.work_dir} is complete.')
            return None
    if overwrite:
        checks.check_overwrite(cfg)
        if int(os.environ.get('RANK', 0)) == 0:
            checks.clear_work_dir(cfg.work_dir)
    runner = build_runner(cfg)
    checks.check_same_start(cfg)
    checks.check_input_size(cfg, runner.model)
    checks.check_targets(cfg, runner.model, splits)
    for split in splits:
        checks.check_keypoints(cfg, load_dataset(runner, split), split)
    runner.train()
    return runner


def load_dataset(runner: PoseRunner, split: str):
    """Load the data set of a split now, and not when its loop starts.

    Args:
        runner: Its loop of the split is built.
        split: `'train'`, `'val'` or `'test'`.

    Returns:
        The data set.

    Raises:
        DatasetError: If nobody is annotated in it.
    """
    try:
        return getattr(runner, f'{split}_loop').dataloader.dataset
    except ValueError as error:
        if 'need at least one array' not in str(error):
            raise
        # MMEngine packs the list of people into one array.
        raise DatasetError(
            f'the {split} data is empty: not one annotated person is in '
            f'{runner.cfg[f"{split}_dataloader"].dataset.ann_file}'
        ) from error


def build_runner(cfg: Config) -> PoseRunner:
    """Build the runner, the model with it.

    Args:
        cfg: A config.

    Returns:
        The runner.

    Raises:
        ConfigError: If the model refuses an argument.
    """
    with building(cfg):
        return PoseRunner.from_cfg(cfg)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/train.py`."""
    args = parse_args(argv)
    keep_local_rank(args)
    cfg = load_config(args.config)
    merge_train_options(cfg, args)
    train(cfg, overwrite=args.overwrite)
