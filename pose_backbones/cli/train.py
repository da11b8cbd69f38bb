"""Command line of `tools/train.py`: train a model from a config."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from .. import preflight
from ..checkpoints.loading import read_checkpoint
from ..configs import as_list, load_config, type_name
from ..engine.checkpoints import checkpoint_dir, find_latest
from ..engine.device_targets import uses_device_targets
from ..engine.distributed import num_restarts, translate_launcher
from ..engine.exact_resume import is_validation_pending, records_last_validation
from ..engine.loops import validates_at_end
from ..engine.memory_format import use_channels_last
from ..engine.resuming import check_limits, check_training_state
from ..engine.runner import PoseRunner, build_runner, load_dataset
from ..engine.signals import RunStopped, SaveOnSignalHook, SignalFlag, signal_number
from ..errors import ConfigError, WorkDirError
from ..report.training import last_validation
from ..utils.files import DISK_FULL_ERRNOS, check_writable_dir, os_error_reason
from ..utils.lock import lock_directory
from ..utils.option_values import SAVED_STATUS
from ..zoo.names import config_path
from .allocator import TRAINING_BYTES, keep_freed_memory
from .options import keep_local_rank, merge_options
from .stopping import when_stopped
from .train_options import parse_args


def merge_train_options(cfg: Config, args: argparse.Namespace) -> None:
    """Apply the options of `tools/train.py` to a config, in place.

    Args:
        cfg: The config.
        args: The parsed command line, from `parse_args`.

    Raises:
        ConfigError: If an option is not valid for the config.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        _enable_amp(cfg)
    if args.deterministic:
        cfg.randomness = {**(cfg.get('randomness') or {}), 'deterministic': True}
    if args.non_finite:
        cfg.non_finite = args.non_finite
    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr') is None:
            raise ConfigError(
                '--auto-scale-lr: the config does not set the batch size of its learning rate: '
                'add auto_scale_lr=dict(base_batch_size=…)'
            )
        cfg.auto_scale_lr.enable = True
    merge_options(cfg, args)
    if args.targets_on_device and not uses_device_targets(cfg):
        hook = dict(type='pose_backbones.DeviceTargetHook')
        cfg.custom_hooks = [*as_list(cfg.get('custom_hooks')), hook]
    _choose_start(cfg, args)


def _choose_start(cfg: Config, args: argparse.Namespace) -> None:
    """Set `resume` and `load_from`; with `resume`, MMEngine resumes from `load_from`."""
    if args.resume is not None and args.overwrite:
        raise ConfigError(
            '--resume and --overwrite exclude each other: the one continues '
            'the earlier run, the other removes it'
        )
    if num_restarts():
        # torchrun --max-restarts has started the processes again, with the same arguments.
        args.resume, args.overwrite = 'auto', False
    if args.resume not in (None, 'auto'):
        if args.load_from is not None:
            raise ConfigError(
                '--resume CHECKPOINT and --load-from exclude each other: '
                '--resume continues a run, --load-from starts one'
            )
        cfg.resume, cfg.load_from = True, args.resume
        return
    if args.load_from is not None:
        cfg.load_from = args.load_from
    if args.resume == 'auto':
        cfg.resume = 'auto'  # takes precedence over `load_from`; see `_find_start`


def _enable_amp(cfg: Config) -> None:
    preflight.require_gpu('--amp')
    wrapper_type = type_name(cfg.optim_wrapper)
    if wrapper_type not in ('', 'OptimWrapper', 'AmpOptimWrapper'):
        raise ConfigError(
            f'--amp: the config already has a custom optimizer wrapper, {wrapper_type}'
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def is_complete(cfg: Config, checkpoint: dict) -> bool:
    """Return whether nothing remains to be done after a checkpoint.

    Args:
        cfg: A config with a `work_dir`.
        checkpoint: Content of the checkpoint.

    Returns:
        Whether the checkpoint has reached the last iteration or epoch of the config, and the
        validation at the end, if there is one, has finished.
    """
    meta = checkpoint.get('meta', {})
    for limit_key, progress_key in (('max_iters', 'iter'), ('max_epochs', 'epoch')):
        end = cfg.train_cfg.get(limit_key)
        if not end:
            continue
        if meta.get(progress_key, 0) < end:
            return False
        if not (validates_at_end(cfg) and is_validation_pending(checkpoint)):
            return True
        if records_last_validation(checkpoint):
            return False
        if cfg.get('launcher', 'none') != 'none':  # Not all machines may have the log.
            return False
        return last_validation(cfg.work_dir) == end
    return False


def _find_start(cfg: Config) -> dict | None:
    """Choose the checkpoint to start from, and set `resume` and `load_from` in place.

    Args:
        cfg: The config. If its `resume` is `'auto'`, the run resumes from the newest checkpoint
            or, if there is none, starts from `load_from`.

    Returns:
        The checkpoint to start from, checked for resuming if `resume` is set; None for a start
        without a checkpoint.
    """
    checkpoint = None
    if cfg.get('resume') == 'auto' or (cfg.get('resume') and not cfg.get('load_from')):
        latest = find_latest(checkpoint_dir(cfg))
        cfg.resume = latest is not None
        if latest is None:
            print_log(
                f'No checkpoint to resume in {cfg.work_dir}: starting a new run', logger='current'
            )
        else:
            cfg.load_from, checkpoint = str(latest[0]), latest[1]
    if cfg.get('load_from') and checkpoint is None:
        checkpoint = read_checkpoint(cfg.load_from)
    if cfg.get('resume'):
        meta = check_training_state(checkpoint, cfg.load_from)
        check_limits(meta, cfg.train_cfg, cfg.load_from)
    return checkpoint


def _is_first(cfg: Config) -> bool:
    """Return whether this is the process of rank 0, or the only process of the run."""
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        return True
    translate_launcher(launcher)
    return int(os.environ['RANK']) == 0


@contextmanager
def _full_disk(work_dir: str | Path) -> Iterator[None]:
    """Context manager that turns the error of a full disk into one that lists what was saved.

    Raises:
        WorkDirError: If the block raises an `OSError` because the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        raise WorkDirError(
            f'{error.filename or work_dir} cannot be written: '
            f'{os_error_reason(error)}. Free some space. '
            f'{preflight.saved_summary(work_dir)}'
        ) from error


def train(
    cfg: Config, overwrite: bool = False, save_on: SignalFlag | None = None
) -> PoseRunner | None:
    """Check a config and train it.

    Args:
        cfg: A config with a `work_dir`.
        overwrite: Whether to replace an earlier run in the work dir.
        save_on: Flag that a signal sets, and on which the run saves a checkpoint and stops; None
            for no such signal.

    Returns:
        The runner, after training; None if the run to resume is already complete.

    Raises:
        PoseBackbonesError: If a check before training fails, the disk is full, or weights become
            NaN or infinite.
        RunStopped: If the signal of `save_on` has arrived and a checkpoint has been saved.
    """
    splits = [split for split in ('train', 'val') if cfg.get(f'{split}_dataloader') is not None]
    preflight.check_config(cfg, splits)
    is_first = _is_first(cfg)
    with lock_directory(cfg.work_dir) if is_first else nullcontext():
        return _train_alone(cfg, overwrite, save_on, splits, is_first)


def _train_alone(
    cfg: Config, overwrite: bool, save_on: SignalFlag | None, splits: list[str], is_first: bool
) -> PoseRunner | None:
    """Run the part of `train` that requires exclusive use of the work dir."""
    save_dir = checkpoint_dir(cfg)
    when_stopped(lambda: preflight.saved_summary(save_dir))
    if is_first:
        check_writable_dir(save_dir, 'the directory of checkpoints')
    preflight.check_work_dir(cfg, bool(cfg.get('resume')), overwrite)
    checkpoint = _find_start(cfg)
    if cfg.get('resume') and is_complete(cfg, checkpoint):
        print_log(f'The run in {cfg.work_dir} is complete.')
        return None
    del checkpoint
    if overwrite:
        preflight.check_overwrite(cfg)
        if is_first:
            for folder in {Path(cfg.work_dir), save_dir}:
                preflight.clear_work_dir(folder)
    runner = build_runner(cfg)
    if get_device() == 'cpu' and not runner.distributed:
        use_channels_last(runner.model)
    preflight.check_same_start(cfg)
    preflight.check_model(
        cfg, runner.model, {split: load_dataset(runner, split) for split in splits}
    )
    if save_on is not None:
        runner.register_hook(SaveOnSignalHook(save_on))
    with _full_disk(save_dir):
        runner.train()
    return runner


def main(argv: list[str] | None = None) -> int:
    """Train a model from a config.

    Args:
        argv: Command-line arguments. Default: `sys.argv[1:]`.

    Returns:
        The exit status: 0, or 143 if the run has saved a checkpoint and stopped on a signal
        (`--save-on-signal`).
    """
    args = parse_args(argv)
    keep_local_rank(args)
    if get_device() == 'cpu' and args.launcher == 'none':
        keep_freed_memory(TRAINING_BYTES)
    save_on = None
    if args.save_on_signal is not None:
        save_on = SignalFlag(signal_number(args.save_on_signal))
    with save_on or nullcontext():
        args.config = config_path(args.config)
        cfg = load_config(args.config)
        merge_train_options(cfg, args)
        try:
            train(cfg, args.overwrite, save_on)
        except RunStopped as stopped:
            if _is_first(cfg):
                print_log(str(stopped), logger='current')
            return SAVED_STATUS
    return 0
