"""MMEngine's runner with strict loading, safe checkpoints, exact resume and CPU support."""

import logging
import os
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import mmengine
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.dist import get_rank
from mmengine.fileio import join_path
from mmengine.hooks import EMAHook, LoggerHook
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import Runner
from mmengine.runner import save_checkpoint as save_by_backend
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import apply_to
from torch import nn
from torch.utils.data import DataLoader

from .._compat import mmpose_registry
from ..checkpoints.loading import get_weights, load_weights, read_checkpoint
from ..checkpoints.names.vitpose import is_mixture
from ..configs import building
from ..errors import CheckpointError, ConfigError, DatasetError, PoseBackbonesError
from ..structures.metainfo import read_metainfo
from ..utils.files import atomic_write, convert_write_errors
from ..zoo.metainfo import config_metainfo
from .checkpoint_hook import use_safe_checkpoint_hook
from .checkpoints import checkpoint_dir, is_local, latest_checkpoint, newest_saved
from .distillation import load_teacher
from .distributed import check_devices, init_process_group, num_restarts, translate_launcher
from .exact_resume import ExactResumeHook
from .finite_predictions import FinitePredictionsHook
from .grouped_evaluation import group_by_image, share_images
from .loops import ResumableIterLoop, use_resumable_loop
from .non_finite import NonFiniteHook
from .optimizer_states import check_optimizer, check_schedules, load_optimizer, load_schedules
from .resuming import (
    check_limits,
    check_training_state,
    dataset_differences,
    load_hub,
    resume_report,
)
from .saving import check_finite, make_checkpoint_plain, write_checkpoint
from .seeded_loading import seed_loader

#: seconds; the default of NCCL, whereas that of gloo is 30 minutes
_TIMEOUT = 600


class PoseRunner(Runner):
    """Runner that the command-line tools use.

    It differs from MMEngine's runner as follows:

    - Weights are loaded strictly, unless the config contains `strict_load=False`.
    - A checkpoint gets its name only when it is complete, and is not removed before the next one is
      complete.
    - A checkpoint is resumed as data, see `resume`.
    - Distributed training also works without GPUs, with gloo.
    - More processes than GPUs raise an error.
    - Validation and testing decode an image once for all its boxes, see `grouped_evaluation`.
    """

    #: path and content of the checkpoint to resume, which is read before the model is built
    _resumed: tuple[str, dict] | None = None
    #: how the seed of the config differs from that of the checkpoint
    _seed_differences: list[str] = []

    def setup_env(self, env_cfg: dict) -> None:
        """Initialize the process group, with gloo if there is no GPU."""
        if self.distributed and not dist.is_initialized():
            translate_launcher(self.launcher)
            if torch.cuda.is_available():
                check_devices(int(os.environ['LOCAL_WORLD_SIZE']))
            if not torch.cuda.is_available() or num_restarts():
                init_process_group(_timeout(env_cfg))
        super().setup_env(env_cfg)

    def register_hooks(self, *args, **kwargs) -> None:
        """Register the hooks of the config, and those that every run has."""
        super().register_hooks(*args, **kwargs)
        self._log_metrics_by_iteration()
        self.exact_resume = ExactResumeHook()
        self.register_hook(self.exact_resume)
        action = self.cfg.get('non_finite', 'stop')
        self.register_hook(FinitePredictionsHook(action))
        if self._train_dataloader is not None:
            self.register_hook(NonFiniteHook(action))

    def _log_metrics_by_iteration(self) -> None:
        """Let validations of a run without epochs be logged at their iterations.

        By default, MMEngine logs all of them at epoch 0.
        """
        if not isinstance(self._train_loop, dict):
            return
        kind = use_resumable_loop(self._train_loop)['type']
        settings = (self.cfg.get('default_hooks') or {}).get('logger') or {}
        if kind is not ResumableIterLoop or 'log_metric_by_epoch' in settings:
            return
        for hook in self.hooks:
            if isinstance(hook, LoggerHook):
                hook.log_metric_by_epoch = False

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader whose random numbers depend only on the seed.

        The arguments are those of MMEngine's method.
        """
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if seed is not None:
            seed_loader(loader, seed, get_rank())
        return loader

    def build_optim_wrapper(self, optim_wrapper):
        """Build the optimizer; an error of its arguments is one of the config."""
        with building(self.cfg):
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler):
        """Build the schedules; an error of their arguments is one of the config."""
        with building(self.cfg):
            return super().build_param_scheduler(scheduler)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop; MMEngine's loops are replaced by loops that resume exactly."""
        if isinstance(loop, dict):
            loop = use_resumable_loop(loop)
        return super().build_train_loop(loop)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the validation loop, which decodes an image once for all its boxes."""
        if isinstance(loop, dict):
            self._val_dataloader = self._share_images(self._val_dataloader)
            loop = super().build_val_loop(loop)
            group_by_image(loop, self.hooks)
        return super().build_val_loop(loop)

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the test loop, which decodes an image once for all its boxes."""
        if isinstance(loop, dict):
            self._test_dataloader = self._share_images(self._test_dataloader)
            loop = super().build_test_loop(loop)
            group_by_image(loop, self.hooks)
        return super().build_test_loop(loop)

    def _share_images(self, dataloader: DataLoader | dict) -> DataLoader | dict:
        return share_images(dataloader, self.cfg.get('eval_cache_mb', 512))

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for distributed training; on a CPU, without device IDs."""
        if not self.distributed or model_wrapper_cfg is not None or get_device() != 'cpu':
            return super().wrap_model(model_wrapper_cfg, model)
        return MMDistributedDataParallel(
            module=revert_sync_batchnorm(model),
            broadcast_buffers=False,
            find_unused_parameters=self.cfg.get('find_unused_parameters', False),
        )

    def _init_model_weights(self) -> None:
        """Initialize the weights, unless a checkpoint will replace all of them."""
        if self._resume or (self._load_from and self.cfg.get('strict_load', True)):
            return
        load_teacher(self.model)
        super()._init_model_weights()

    def register_hook(self, hook, priority=None) -> None:
        """Register a hook; MMEngine's `CheckpointHook` is replaced by `SafeCheckpointHook`."""
        super().register_hook(use_safe_checkpoint_hook(hook), priority)

    def load_checkpoint(
        self,
        filename: str,
        map_location='cpu',
        strict: bool | None = None,
        revise_keys: list | None = None,
        checkpoint: dict | None = None,
    ) -> dict:
        """Load weights; keys that do not match raise an error, or are logged with `strict=False`.

        Args:
            filename: A path or URL.
            map_location: See `torch.load`.
            strict: Whether all keys have to match. Default: `strict_load` of the config, or True.
            revise_keys: Not supported; MMEngine's option to rename keys.
            checkpoint: Content of the file, if it has already been read.

        Returns:
            The checkpoint.

        Raises:
            CheckpointError: If the file cannot be read or does not match the model.
        """
        if revise_keys:
            raise CheckpointError(
                f'revise_keys={revise_keys} is not supported: rename the keys in the file'
            )
        if strict is None:
            strict = self.cfg.get('strict_load', True)
        if checkpoint is None:
            checkpoint = read_checkpoint(filename, map_location)
        try:
            self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, PoseBackbonesError):
                raise
            raise CheckpointError(
                f'{filename} does not match the hooks of the config: '
                f'{str(error).strip() or type(error).__name__}'
            ) from error
        model = getattr(self.model, 'module', self.model)
        weights = get_weights(checkpoint)
        load_weights(
            model,
            weights,
            filename,
            strict=strict,
            hint='To load the keys that match, add --non-strict',
            dataset=self._dataset_name() if is_mixture(weights) else None,
        )
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    def _dataset_name(self) -> str | None:
        """Return the name of the dataset whose keypoints the model predicts, or None."""
        return (config_metainfo(self.cfg) or {}).get('dataset_name')

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed the generators; a resumed run keeps its seed.

        The checkpoint is read here, because samplers use the seed when they are built, before
        `resume`.
        """
        if self._resumed is None and self.cfg.get('resume'):
            start = self.cfg.get('load_from') or self._latest()
            if start:
                self._resumed = start, read_checkpoint(start)
                meta = check_training_state(self._resumed[1], start)
                seed = self._keep_seed(meta, seed)
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def _latest(self) -> str | None:
        """Return the path of the newest checkpoint in the work directory."""
        return latest_checkpoint(
            checkpoint_dir(self.cfg) if self.cfg.get('work_dir') else self.work_dir
        )

    def _keep_seed(self, meta: dict, seed: int | None) -> int | None:
        """Return the seed of a checkpoint if it has one, else the given seed."""
        saved = meta.get('seed')
        if saved is None:
            return seed
        if seed is not None and seed != saved:
            self._seed_differences = [f'randomness.seed: checkpoint {saved}, config {seed}']
        self._randomness_cfg = {**self._randomness_cfg, 'seed': saved}
        return saved

    def load_or_resume(self) -> None:
        """Load or resume the checkpoint that the config selects."""
        if self._resume and self._load_from is None:
            self._load_from = self._resumed[0] if self._resumed else self._latest()
            if self._load_from is None:
                self.logger.info(
                    f'{self.work_dir} contains no checkpoint: training starts from scratch'
                )
                self._resume = False
                # No checkpoint replaces the weights.
                self._init_model_weights()
        super().load_or_resume()

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location='default',
    ) -> None:
        """Resume training; the checkpoint needs a training state in addition to weights.

        The checkpoint is treated as data: no code in it is run, and it is checked completely before
        any of it is used. If its settings differ from those of the config, a warning lists them.

        Args:
            filename: A path or URL.
            resume_optimizer: Whether to restore the state of the optimizer.
            resume_param_scheduler: Whether to restore the states of the schedules.
            map_location: See `torch.load`. By default, the checkpoint is loaded to the CPU, and its
                values are copied to the device of the model.

        Raises:
            CheckpointError: If the checkpoint is malformed, belongs to another model, optimizer or
                schedule, or does not contain their state. The run is not changed.
        """
        checkpoint = None
        if self._resumed is not None and self._resumed[0] == filename:
            checkpoint = self._resumed[1]
        self._resumed = None  # frees its memory at the end of this method
        if checkpoint is None:
            checkpoint = read_checkpoint(
                filename, 'cpu' if map_location == 'default' else map_location
            )
        meta = check_training_state(checkpoint, filename)
        check_limits(meta, self.cfg.get('train_cfg') or {}, filename)
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        if self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
        settings = list(self._seed_differences)
        if resume_optimizer:
            settings += check_optimizer(
                self.optim_wrapper, checkpoint['optimizer'], filename, meta['iter']
            )
        if resume_param_scheduler:
            settings += check_schedules(
                self.param_schedulers, checkpoint.get('param_schedulers'), filename
            )
        settings += self._ema_differences(checkpoint)
        self.load_checkpoint(filename, checkpoint=checkpoint)

        self.train_loop._epoch = meta['epoch']
        self.train_loop._iter = meta['iter']
        if meta.get('seed') not in (None, self._randomness_cfg.get('seed')):
            self._keep_seed(meta, None)
            super().set_randomness(**self._randomness_cfg)
        load_hub(self.message_hub, checkpoint['message_hub'])
        if resume_optimizer:
            load_optimizer(self.optim_wrapper, checkpoint['optimizer'])
        if resume_param_scheduler:
            load_schedules(self.param_schedulers, checkpoint.get('param_schedulers'))
        self._has_loaded = True
        self.logger.info(f'resumed epoch: {self.epoch}, iter: {self.iter}')
        report = resume_report(
            filename,
            settings,
            dataset_differences(
                meta.get('dataset_meta'), getattr(self.train_dataloader.dataset, 'metainfo', None)
            ),
        )
        if report:
            self.logger.warning(report)

    def _ema_differences(self, checkpoint: dict) -> list[str]:
        """Return a line if the averaged weights of the checkpoint will not be averaged further."""
        if 'ema_state_dict' not in checkpoint or any(
            isinstance(hook, EMAHook) for hook in self.hooks
        ):
            return []
        return [
            'custom_hooks: the checkpoint is from a run with EMAHook, but the config has none; '
            'the averaged weights are used'
        ]

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Save a checkpoint atomically, as plain data and with finite weights.

        All processes have to call this method; the first one writes the file. Hooks can add to the
        checkpoint in `gather_checkpoint(runner, extra)`, which is called in all processes and may
        add entries to the dict `extra`, and then in MMEngine's `before_save_checkpoint(runner,
        checkpoint)`, which is called in the first process.

        Args:
            See MMEngine's method.

        Raises:
            TrainingError: If weights or optimizer state are not finite.
            WorkDirError: If the disk is full or cannot be written. Earlier checkpoints are kept in
                both cases.
        """
        extra: dict = {}
        self.call_hook('gather_checkpoint', extra=extra)
        if self.rank != 0:
            return
        checkpoint = self._collect(save_optimizer, save_param_scheduler, dict(meta or {}), by_epoch)
        checkpoint.update(extra)
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        for key in ('state_dict', 'ema_state_dict'):  # after `EMAHook` has exchanged them
            weights = checkpoint.get(key, {})
            for name, value in weights.items():
                # safetensors, for example, does not save the memory format of `use_channels_last`
                if isinstance(value, torch.Tensor):
                    weights[name] = value.contiguous()
        check_finite(checkpoint, filename)
        make_checkpoint_plain(checkpoint)
        if not is_local(out_dir, file_client_args, backend_args):
            save_by_backend(
                checkpoint,
                join_path(str(out_dir), filename, backend_args=backend_args),
                file_client_args=file_client_args,
                backend_args=backend_args,
            )
            return

        def hint() -> str:
            newest = newest_saved(out_dir)
            return (
                f'. The newest complete checkpoint is {newest}; continue with --resume'
                if newest
                else '. There is no earlier checkpoint'
            )

        write_checkpoint(checkpoint, Path(out_dir, filename), hint)

    def _collect(
        self, save_optimizer: bool, save_param_scheduler: bool, meta: dict, by_epoch: bool
    ) -> dict:
        """Return the content of a checkpoint in MMEngine's layout."""
        # Hooks save before the loop increments the epoch or iteration.
        meta.setdefault('epoch', self.epoch + int(by_epoch))
        meta.setdefault('iter', self.iter + int(not by_epoch))
        meta.update(
            cfg=self.cfg.pretty_text,
            seed=self.seed,
            experiment_name=self.experiment_name,
            time=time.strftime('%Y%m%d_%H%M%S'),
            mmengine_version=mmengine.__version__,
        )
        if hasattr(self.train_dataloader.dataset, 'metainfo'):
            meta['dataset_meta'] = self.train_dataloader.dataset.metainfo
        model = getattr(self.model, 'module', self.model)
        checkpoint = {
            'meta': meta,
            'state_dict': weights_to_cpu(model.state_dict()),
            'message_hub': _to_cpu(self.message_hub.state_dict()),
        }
        if save_optimizer:
            checkpoint['optimizer'] = _to_cpu(self.optim_wrapper.state_dict())
        schedules = self.param_schedulers
        if save_param_scheduler and schedules is not None:
            checkpoint['param_schedulers'] = (
                {
                    name: [schedule.state_dict() for schedule in group]
                    for name, group in schedules.items()
                }
                if isinstance(schedules, dict)
                else [schedule.state_dict() for schedule in schedules]
            )
        return checkpoint

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger; raise an error if its file cannot be written.

        Python's logging would print a traceback and continue.
        """
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _raise_disk_error
        return logger

    def dump_config(self) -> None:
        """Save the config in the work directory atomically."""
        if self.rank != 0:
            return
        name = Path(self.cfg.filename).name if self.cfg.filename else f'{self.timestamp}.py'
        path = Path(self.work_dir, name)
        if self.cfg.filename and path.exists() and path.samefile(self.cfg.filename):
            return  # The config is already in the work directory.
        with convert_write_errors(path, '--work-dir'), atomic_write(path) as draft:
            draft.write_text(self.cfg.pretty_text, encoding='utf-8')


def _raise_disk_error(record: logging.LogRecord) -> None:
    """Raise the error of writing to a log file; called while the error is handled."""
    error = sys.exc_info()[1]
    if isinstance(error, OSError):
        raise error
    logging.Handler().handleError(record)


def _to_cpu(state: dict) -> dict:
    return apply_to(state, lambda value: hasattr(value, 'cpu'), lambda value: value.cpu())


def _timeout(env_cfg: dict) -> timedelta:
    """Return how long a process waits for another one that does not respond."""
    value = (env_cfg.get('dist_cfg') or {}).get('timeout', _TIMEOUT)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < 1e9):
        raise ConfigError(f'env_cfg.dist_cfg.timeout={value!r}: expected a number of seconds')
    return timedelta(seconds=value)


def load_dataset(runner: PoseRunner, split: str):
    """Load the dataset of a split before its loop starts.

    Args:
        runner: A runner whose loop for the split has been built.
        split: `'train'`, `'val'` or `'test'`.

    Returns:
        The dataset.

    Raises:
        DatasetError: If the dataset contains no annotated person, or no video that is long
            enough for a sequence, or its class cannot read the annotations.
        ConfigError: If the constructor of the dataset or of a transform raises an error, for
            example because an optional package is missing.
    """
    with building(runner.cfg):
        dataset = _load_dataset(runner, split)
    if split != 'train':
        _use_flips_of_model(runner.cfg, dataset)
    return dataset


def _use_flips_of_model(cfg: Config, dataset) -> None:
    """Set the flip indices of a dataset if the model returns only some of its keypoints.

    MMPose mirrors all keypoints that the model predicts with the flip indices of the dataset.
    """
    if (cfg.model.get('test_cfg') or {}).get('output_keypoint_indices') is None:
        return
    metainfo = cfg.model.get('metainfo')
    metainfo = config_metainfo(cfg) if metainfo is None else read_metainfo(metainfo)
    if metainfo:
        dataset._metainfo['flip_indices'] = metainfo['flip_indices']


def _load_dataset(runner: PoseRunner, split: str):
    try:
        return getattr(runner, f'{split}_loop').dataloader.dataset
    except (AttributeError, LookupError, TypeError) as error:
        reader = _reader_of_annotations(error)
        if reader is None:
            raise
        raise DatasetError(
            f'{type(reader).__name__} cannot read the {split} annotations {reader.ann_file} '
            f'({type(error).__name__}: {error}): check that they have the format of this type of '
            'dataset'
        ) from error
    except ValueError as error:
        if 'need at least one array' not in str(error):
            raise
        # MMEngine serializes the list of instances into one array.
        dataset = runner.cfg[f'{split}_dataloader'].dataset
        length = dataset.get('multiple_target') or dataset.get('seq_len', 1)
        reason = 'no person is annotated in' if length == 1 else f'no video of {length} frames in'
        hint = '' if length == 1 else ' (multiple_target or seq_len)'
        for name in ('indices', 'sample_interval', 'filter_cfg', 'bbox_file'):
            if dataset.get(name) and not hint:
                reason, hint = 'no person is left in', f' with {name}={dataset[name]!r}'
        raise DatasetError(
            f'the {split} data is empty: {reason} {dataset.ann_file}{hint}'
        ) from error


def _reader_of_annotations(error: Exception) -> BaseDataset | None:
    """Return the dataset whose annotations were being read when an error was raised, or None."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        dataset = frame.f_locals.get('self')
        if frame.f_code.co_name == 'load_data_list' and isinstance(dataset, BaseDataset):
            return dataset
    return None


def build_runner(cfg: Config) -> PoseRunner:
    """Build the runner and the model of a config.

    Args:
        cfg: A config.

    Returns:
        The runner.

    Raises:
        ConfigError: If the constructor of the model raises an error.
    """
    # Imported here, since importing the datasets and metrics of MMPose takes seconds.
    from ..datasets import coco_style

    coco_style.patch()
    mmpose_registry.apply_patches()
    with building(cfg):
        return PoseRunner.from_cfg(cfg)
