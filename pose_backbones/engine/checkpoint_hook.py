"""Checkpoint hook that removes old checkpoints only after a new one is saved."""

import hashlib
import io
import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..checkpoints.loading import read_checkpoint
from ..errors import ConfigError, closest
from ..registry import HOOKS
from ..utils.files import is_url
from .checkpoints import is_local, remove_partial, write_pointer
from .saving import write_checkpoint

#: prefixes of the message hub's entries that contain paths of checkpoints
_PATH_KEYS = ('best_ckpt', 'last_ckpt')
#: entry of the message hub: the iteration at which a signal interrupted an epoch
_STOPPED = 'stopped_ckpt'


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """Save checkpoints such that at least one complete checkpoint exists at any time.

    This hook replaces MMEngine's `CheckpointHook` in every run of this package and takes the same
    arguments. Deviations:

    - A checkpoint is written, and `last_checkpoint` is updated, before old checkpoints are removed;
      MMEngine removes them first. For a short time, there is one checkpoint more than
      `max_keep_ckpts`.
    - `last_checkpoint` contains a file name without a directory, as do the records of the last and
      the best checkpoint in the checkpoint itself. Only files in the directory of this run are
      removed, so that a copied run does not affect the original.
    - Partially written files of processes that were killed are removed when training starts.
    - After the validation at the end, the last checkpoint is saved again if the validation has not
      done that. It then records that the validation has finished, see `ExactResumeHook`.
    """

    #: whether the last checkpoint records that the validation that follows it has finished
    _records_validation = False

    def before_train(self, runner: Runner) -> None:
        """Set up the output directory and restore the records of an earlier session."""
        keep = self.max_keep_ckpts
        self.max_keep_ckpts = -1  # prevents super() from removing files here
        super().before_train(runner)
        self.max_keep_ckpts = keep
        info = runner.message_hub.runtime_info
        if self.save_best is not None:
            if len(self.key_indicators) == 1:
                self.best_ckpt_path = self._best_path_in_run(info.get('best_ckpt'))
            else:
                self.best_ckpt_path_dict = {
                    key: self._best_path_in_run(info.get(f'best_ckpt_{key}'))
                    for key in self.key_indicators
                }
        if keep > 0:
            # checkpoints of the earlier session that still exist
            completed = runner.epoch if self.by_epoch else runner.iter
            self.keep_ckpt_ids = [
                step
                for step in info.get('keep_ckpt_ids', [])
                if step <= completed and self._exists(self._path(step))
            ]
        if self._local and is_main_process():
            for folder in (runner.work_dir, self.out_dir):
                remove_partial(folder)

    @property
    def _local(self) -> bool:
        """Whether checkpoints are saved to the local file system."""
        return is_local(self.out_dir, self.file_client_args, self.backend_args)

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _best_path_in_run(self, path: str | None) -> str | None:
        """Return the path, in the directory of this run, of a recorded best checkpoint."""
        name = (path or '').replace('\\', '/').rsplit('/', 1)[-1]
        if not name.startswith('best_'):
            return None
        return self.file_backend.join_path(self.out_dir, name)

    def _exists(self, path: str) -> bool:
        return self.file_backend.isfile(path) or self.file_backend.isdir(path)

    def _remove(self, path: str) -> bool:
        """Remove an old checkpoint; log a warning if that fails."""
        try:
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):  # DeepSpeed saves directories.
                self.file_backend.rmtree(path)
            else:
                return False
        except OSError as error:
            print_log(
                f'failed to remove the old checkpoint {path}: {error}',
                logger='current',
                level=logging.WARNING,
            )
            return False
        return True

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record file names instead of paths, so that they remain valid if the run is copied."""
        info = checkpoint['message_hub']['runtime_info']
        for key, value in info.items():
            if key.startswith(_PATH_KEYS) and isinstance(value, str):
                info[key] = value if is_url(value) else Path(value).name

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint, record it as the newest, and remove old ones."""
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = [*(old for old in self.keep_ckpt_ids if old != step), step]
            # The record includes outdated checkpoints. If the process is killed before they are
            # removed, a resumed run removes them.
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self._save_and_point(runner, self.filename_tmpl.format(step), meta)
        if self.max_keep_ckpts > 0:
            outdated = self.keep_ckpt_ids[: -self.max_keep_ckpts]
            self.keep_ckpt_ids = self.keep_ckpt_ids[-self.max_keep_ckpts :]
            paths = [self._path(old) for old in outdated]
            info = runner.message_hub.runtime_info
            if _STOPPED in info:
                name = f'iter_{info[_STOPPED]}.pth'
                paths.append(self.file_backend.join_path(self.out_dir, name))
                runner.message_hub.pop_info(_STOPPED)
            if is_main_process():
                for path in paths:
                    self._remove(path)

    def _save_and_point(self, runner: Runner, name: str, meta: dict) -> None:
        """Save a checkpoint and write its name to `last_checkpoint`."""
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._records_validation = runner.exact_resume.validated
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            named = name if self._local else self.last_ckpt
            folders = {str(runner.work_dir)}
            if self._local:
                folders.add(str(self.out_dir))
            for folder in folders:
                write_pointer(folder, named)

    def save_now(self, runner: Runner) -> str:
        """Save a checkpoint at the end of an iteration, independently of the interval.

        Args:
            runner: The runner, in `after_train_iter`.

        Returns:
            The path of the checkpoint, `iter_N.pth`. `--resume` continues from it, even within an
            epoch.
        """
        step = runner.iter + 1
        meta = dict(epoch=runner.epoch, iter=step)
        if not self.by_epoch:
            self._save_checkpoint_with_step(runner, step, meta)
        else:
            if self.max_keep_ckpts > 0:
                runner.message_hub.update_info(_STOPPED, step)
            self._save_and_point(runner, f'iter_{step}.pth', meta)
        return self.last_ckpt

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save the best checkpoint, then remove the previous best one."""
        if not self.save_best:
            return
        unknown = [key for key in self.key_indicators if key != 'auto' and key not in metrics]
        if unknown:
            raise ConfigError(unknown_key(unknown[0], metrics))
        # super() removes the checkpoints that are recorded here before it saves.
        if len(self.key_indicators) == 1:
            before = [self.best_ckpt_path]
            self.best_ckpt_path = None
        else:
            before = list(self.best_ckpt_path_dict.values())
            self.best_ckpt_path_dict = dict.fromkeys(self.key_indicators)
        super()._save_best_checkpoint(runner, metrics)
        if len(self.key_indicators) == 1:
            after = [self.best_ckpt_path]
            self.best_ckpt_path = after[0] or before[0]
        else:
            after = list(self.best_ckpt_path_dict.values())
            self.best_ckpt_path_dict = {
                key: new or old for key, new, old in zip(self.key_indicators, after, before)
            }
        for old, new in zip(before, after):
            if old and new and old != new and is_main_process() and self._remove(old):
                runner.logger.info(f'Removed the previous best checkpoint {old}')

    def after_last_validation(self, runner: Runner) -> None:
        """Save the last checkpoint again, unless the validation has; called by the loop."""
        if self._records_validation:
            return
        step = runner.epoch if self.by_epoch else runner.iter
        last = runner.message_hub.get_info('last_ckpt')  # may be that of an earlier session
        if last and Path(last).name == Path(self.filename_tmpl.format(step)).name:
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)

    def after_train(self, runner: Runner) -> None:
        """Publish the last and the best checkpoints, if `published_keys` is set."""
        if self.published_keys is None:
            return
        best = (
            getattr(self, 'best_ckpt_path', None),
            *getattr(self, 'best_ckpt_path_dict', {}).values(),
        )
        for path in (self.last_ckpt if self.save_last else None, *best):
            if path is not None and self._exists(path):  # not if it is in another directory
                self._publish_model(runner, path)

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        """Save the entries in `published_keys` to a file whose name contains a hash."""
        if not self._local:
            super()._publish_model(runner, ckpt_path)
            return
        content = read_checkpoint(ckpt_path)
        left_out = [key for key in content if key not in self.published_keys]
        for key in left_out:
            del content[key]
        buffer = io.BytesIO()
        torch.save(content, buffer)
        digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
        path = Path(ckpt_path)
        path = path.with_name(f'{path.stem}-{digest[:8]}.pth')
        write_checkpoint(content, path)
        without = f' without {", ".join(left_out)}' if left_out else ''
        print_log(f'Published the checkpoint {ckpt_path} as {path}{without}', logger='current')


def unknown_key(key: str, metrics: Iterable[str]) -> str:
    """Return the error message for a metric that the evaluation does not compute.

    Args:
        key: Value of `save_best`.
        metrics: Names of the metrics that the evaluation computes.

    Returns:
        The message, with similar names.
    """
    metrics = list(metrics)
    return (
        f'default_hooks.checkpoint.save_best={key!r}: the evaluation computes no such metric; '
        f'expected one of {", ".join(metrics)}{closest(key, metrics)}'
    )


def is_checkpoint_hook(hook) -> bool:
    """Return whether a hook's config is of MMEngine's `CheckpointHook`.

    Args:
        hook: A hook or its config.
    """
    return isinstance(hook, dict) and (
        hook.get('type') is CheckpointHook
        or hook.get('type')
        in ('CheckpointHook', 'mmengine.CheckpointHook', 'mmpose.CheckpointHook')
    )


def use_safe_checkpoint_hook(hook):
    """Replace `CheckpointHook` in the config of a hook by `SafeCheckpointHook`.

    Args:
        hook: A hook or its config.

    Returns:
        A copy of the config with the other type; any other hook or config is returned unchanged.
    """
    if is_checkpoint_hook(hook):
        return {**hook, 'type': SafeCheckpointHook}
    return hook
