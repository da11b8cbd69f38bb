"""MMEngine's checkpoint hook, which removes a file only after the next."""

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

#: entries of the message hub that hold paths of checkpoints
_PATHS = ('best_ckpt', 'last_ckpt')
#: entry for the iteration at which an epoch was interrupted by a signal
_STOPPED = 'stopped_ckpt'


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """Save checkpoints; never be without a whole one.

    It replaces MMEngine's `CheckpointHook` in every run of this package and
    takes the same arguments. Deviations:

    - A checkpoint is written, and named in `last_checkpoint`, before old
      ones are removed; MMEngine removes them first. Between the two there is
      one checkpoint more than `max_keep_ckpts`.
    - `last_checkpoint` holds the name of a file without a directory, as do
      the checkpoint's records of the last and the best checkpoint. Only
      files of this run's own directory are removed, so that a copied run
      does not touch the original.
    - Half-written files of killed processes are removed at the start.
    """

    def before_train(self, runner: Runner) -> None:
        """Find the directory, and what an earlier session has saved there."""
        keep = self.max_keep_ckpts
        self.max_keep_ckpts = -1  # super() would remove files here
        super().before_train(runner)
        self.max_keep_ckpts = keep
        info = runner.message_hub.runtime_info
        if self.save_best is not None:
            if len(self.key_indicators) == 1:
                self.best_ckpt_path = self._own(info.get('best_ckpt'))
            else:
                self.best_ckpt_path_dict = {
                    key: self._own(info.get(f'best_ckpt_{key}')) for key in self.key_indicators
                }
        if keep > 0:
            # Of what the earlier session has saved, what is still there.
            done = runner.epoch if self.by_epoch else runner.iter
            self.keep_ckpt_ids = [
                step
                for step in info.get('keep_ckpt_ids', [])
                if step <= done and self._exists(self._path(step))
            ]
        if self._local and is_main_process():
            for folder in (runner.work_dir, self.out_dir):
                remove_partial(folder)

    @property
    def _local(self) -> bool:
        """Whether checkpoints are files of this machine."""
        return is_local(self.out_dir, self.file_client_args, self.backend_args)

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _own(self, path: str | None) -> str | None:
        """The best checkpoint of that name in this run's directory."""
        name = (path or '').replace('\\', '/').rsplit('/', 1)[-1]
        if not name.startswith('best_'):
            return None
        return self.file_backend.join_path(self.out_dir, name)

    def _exists(self, path: str) -> bool:
        return self.file_backend.isfile(path) or self.file_backend.isdir(path)

    def _remove(self, path: str) -> bool:
        """Remove an old checkpoint; that it cannot be is no error."""
        try:
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):  # of DeepSpeed
                self.file_backend.rmtree(path)
            else:
                return False
        except OSError as error:
            print_log(
                f'the old checkpoint {path} cannot be removed: {error}',
                logger='current',
                level=logging.WARNING,
            )
            return False
        return True

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record names of files, which stay right when a run is copied."""
        info = checkpoint['message_hub']['runtime_info']
        for key, value in info.items():
            if key.startswith(_PATHS) and isinstance(value, str):
                info[key] = value if is_url(value) else Path(value).name

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint, name it as the newest, then remove old ones."""
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = [*(old for old in self.keep_ckpt_ids if old != step), step]
            # With those to be removed: after a kill it is made up for.
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
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
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
        """Save in the middle of things, at the end of an iteration.

        Args:
            runner: In `after_train_iter`.

        Returns:
            The path of the checkpoint, `iter_N.pth`; `--resume` goes on from
            it, inside of an epoch, too.
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
        # super() removes what it finds here before it saves.
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
                runner.logger.info(f'The previous best checkpoint {old} is removed')

    def after_train(self, runner: Runner) -> None:
        """Publish the checkpoints that there are."""
        if self.published_keys is None:
            return
        best = (
            getattr(self, 'best_ckpt_path', None),
            *getattr(self, 'best_ckpt_path_dict', {}).values(),
        )
        for path in (self.last_ckpt if self.save_last else None, *best):
            if path is not None:
                self._publish_model(runner, path)

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        """Save what `published_keys` names under a name with a hash."""
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
        left = f' without {", ".join(left_out)}' if left_out else ''
        print_log(f'The checkpoint {ckpt_path} is published as {path}{left}', logger='current')


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for a metric that the evaluation does not give.

    Args:
        key: Of `save_best`.
        known: What the evaluation gives.

    Returns:
        The message, with what is meant, perhaps.
    """
    known = list(known)
    return (
        f'default_hooks.checkpoint.save_best={key!r}: the evaluation '
        f'gives no such metric, but {", ".join(known)}' + closest(key, known)
    )


def is_checkpoint_hook(hook) -> bool:
    """Whether a hook's config is of MMEngine's `CheckpointHook`.

    Args:
        hook: A hook's config, or a hook.
    """
    return isinstance(hook, dict) and (
        hook.get('type') is CheckpointHook
        or hook.get('type')
        in ('CheckpointHook', 'mmengine.CheckpointHook', 'mmpose.CheckpointHook')
    )


def stand_in(hook):
    """Put `SafeCheckpointHook` where a config says `CheckpointHook`.

    Args:
        hook: A hook's config, or a hook.

    Returns:
        The same, or a copy of the config with the other type.
    """
    if is_checkpoint_hook(hook):
        return {**hook, 'type': SafeCheckpointHook}
    return hook
