"""Training from a config: what `tools/train.py` runs."""

import argparse

import torch
from mmengine.config import Config

from ..utils.checkpoint import check_checkpoint_path
from ..utils.errors import ConfigError
from . import checks
from .cli import add_common_options, keep_local_rank
from .config import load_config, merge_options
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
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr') is None:
            raise ConfigError(
                '--auto-scale-lr: the config does not say for which batch '
                'size its learning rate is; add '
                'auto_scale_lr=dict(base_batch_size=…)')
        cfg.auto_scale_lr.enable = True
    merge_options(cfg, args)


def _enable_amp(cfg: Config) -> None:
    if not torch.cuda.is_available():
        raise ConfigError(
            '--amp: mixed-precision training needs a GPU, and this machine '
            'has none that PyTorch can use')
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ConfigError(
            f'--amp: the config has an optimizer wrapper of its own, {kind}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def train(cfg: Config, overwrite: bool = False) -> PoseRunner:
    """Check a config and train it.

    Args:
        cfg: A config with its `work_dir`.
        overwrite: Whether an earlier run in the work dir may be replaced.

    Returns:
        The runner, after training.

    Raises:
        PoseBackbonesError: If something is wrong that shows before training.
    """
    splits = [split for split in ('train', 'val')
              if cfg.get(f'{split}_dataloader') is not None]
    checks.check_types(cfg)
    checks.check_datasets(cfg, splits)
    checks.check_work_dir(cfg, bool(cfg.get('resume')), overwrite)
    if cfg.get('load_from'):
        check_checkpoint_path(cfg.load_from)
    runner = build_runner(cfg)
    for split in splits:
        loop = getattr(runner, f'{split}_loop')
        checks.check_keypoints(cfg, loop.dataloader.dataset, split)
    runner.train()
    return runner


def build_runner(cfg: Config) -> PoseRunner:
    """Build the runner, the model with it.

    Args:
        cfg: A config.

    Returns:
        The runner.

    Raises:
        ConfigError: If the model refuses an argument.
    """
    try:
        return PoseRunner.from_cfg(cfg)
    except (TypeError, ValueError, KeyError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f'{cfg.filename} cannot be built: {error}') from error


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/train.py`."""
    args = parse_args(argv)
    keep_local_rank(args)
    cfg = load_config(args.config)
    merge_train_options(cfg, args)
    train(cfg, overwrite=args.overwrite)
