"""MMEngine's training loops, with exact resuming.

They differ from MMEngine's loops as follows:

- Batches that were trained before a run was resumed are skipped by their indices, without loading
  them, also within an epoch.
- Seeds, random states and accumulated gradients are restored before the first resumed iteration,
  see `ExactResumeHook`.
- Validation does not change the random states.
- A validation that was due right after the checkpoint was saved is run first, because it can change
  the schedule and the best score. This also applies to the validation at the end.
- After the validation at the end, the hooks' method `after_last_validation(runner)` is called.
"""

from collections.abc import Generator
from itertools import islice

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader

from ..configs import type_name
from .exact_resume import ExactResumeHook
from .random_states import preserved_random_states
from .seeded_loading import seed_loader, seeded_batch_sampler


class _ResumableLoop(BaseLoop):
    """Methods that both loops share."""

    #: the runner's hook, set when the loop is built
    exact_resume: ExactResumeHook

    def _steps(self) -> tuple[int, int]:
        """Return the number of completed epochs or iterations, and their number at the end."""
        raise NotImplementedError

    def _validate(self) -> None:
        """Run the validation if it is due; preserve the random states."""
        self._decide_current_val_interval()
        step, end = self._steps()
        is_due = step >= self.val_begin and (step % self.val_interval == 0 or step == end)
        if self.runner.val_loop is None or not is_due:
            return
        with preserved_random_states():
            self.runner.val_loop.run()
        if step == end:
            self.runner.call_hook('after_last_validation')

    def _run_pending_validation(self) -> None:
        """Run the validation that was due right after the resumed checkpoint was saved."""
        if self.exact_resume.validation_pending:
            self._validate()


class ResumableEpochLoop(_ResumableLoop, EpochBasedTrainLoop):
    """Epoch-based training loop with the arguments of MMEngine's `EpochBasedTrainLoop`."""

    def __init__(self, runner, dataloader, *args, **kwargs) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        seed_loader(self.dataloader, runner.seed, runner.rank)
        self.exact_resume = runner.exact_resume
        self._skip = 0

    def run(self):
        """Train, and return the model."""
        self.runner.call_hook('before_train')
        if self._epoch < self._max_epochs:
            self._skip = self.exact_resume.completed_batches_of_epoch(
                self._epoch, self._iter, len(self.dataloader)
            )
        self._record_epoch_start()
        if not self._skip:
            self.exact_resume.restore(self.runner)
            self._run_pending_validation()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for one epoch, or for the remaining part of a resumed one."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self._record_epoch_start()
        skip, self._skip = self._skip, 0
        if skip:
            self.exact_resume.restore(self.runner)
        batch_sampler = seeded_batch_sampler(self.dataloader)
        if batch_sampler is not None:
            batch_sampler.start_epoch(self._epoch, skip)
        batches = iter(self.dataloader)
        if batch_sampler is None:  # Batches can only be skipped by loading them.
            batches = islice(batches, skip, None)
        for index, batch in enumerate(batches, skip):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _record_epoch_start(self) -> None:
        """Record the iteration at which the epoch started, for checkpoints."""
        self.exact_resume.epoch_start = dict(epoch=self._epoch, iter=self._iter - self._skip)

    def _steps(self) -> tuple[int, int]:
        return self._epoch, self._max_epochs


class ResumableIterLoop(_ResumableLoop, IterBasedTrainLoop):
    """Iteration-based training loop with the arguments of MMEngine's `IterBasedTrainLoop`.

    Data workers are started when training starts, not when the loop is built.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        # The constructor of IterBasedTrainLoop would load the first batches.
        BaseLoop.__init__(self, runner, dataloader)
        if int(max_iters) != max_iters:
            raise ValueError(f'max_iters={max_iters}: expected an integer')
        self._max_iters = int(max_iters)
        self._max_epochs = 1  # as in MMEngine
        self._epoch = self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False  # EarlyStoppingHook sets it
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            val_interval, dynamic_intervals
        )
        self.dataloader_iterator: Generator | None = None
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        seed_loader(self.dataloader, runner.seed, runner.rank)
        self.exact_resume = runner.exact_resume

    def run(self):
        """Train, and return the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.exact_resume.restore(self.runner)
        self._run_pending_validation()
        self.dataloader_iterator = self._batches(
            self.exact_resume.completed_batches(self._iter, self.dataloader)
        )
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate()
        self.dataloader_iterator.close()  # stops its workers
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _batches(self, skip: int) -> Generator:
        """Iterate over batches without end, starting after the first `skip` batches."""
        batch_sampler = seeded_batch_sampler(self.dataloader)
        if batch_sampler is None:  # Batches can only be skipped by loading them.
            yield from islice(_InfiniteDataloaderIterator(self.dataloader), skip, None)
            return
        batch_sampler.skip(skip)
        # An endless sampler has batches even if the dataset is smaller than one.
        while isinstance(batch_sampler.sampler, InfiniteSampler) or len(self.dataloader):
            yield from self.dataloader
            batch_sampler.next_epoch()

    def _steps(self) -> tuple[int, int]:
        return self._iter, self._max_iters


def use_resumable_loop(train_cfg: dict) -> dict:
    """Replace MMEngine's training loop in a config by the resumable one.

    Args:
        train_cfg: The `train_cfg` of a config. Any other loop that it selects is kept.

    Returns:
        A copy whose `type` is the class of the loop.
    """
    train_cfg = dict(train_cfg)
    kind = train_cfg.pop('type', None)
    if kind is None:
        by_epoch = train_cfg.pop('by_epoch', True)
        kind = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    resumable = {'EpochBasedTrainLoop': ResumableEpochLoop, 'IterBasedTrainLoop': ResumableIterLoop}
    return dict(train_cfg, type=resumable.get(type_name(dict(type=kind)), kind))


def validates_at_end(cfg: Config) -> bool:
    """Return whether the training of a config ends with a validation that `--resume` makes up.

    Args:
        cfg: A config with a `train_cfg`.

    Returns:
        False for custom training loops, which resume as in MMEngine.
    """
    train_cfg = use_resumable_loop(cfg.train_cfg)
    limits = {ResumableEpochLoop: 'max_epochs', ResumableIterLoop: 'max_iters'}
    if cfg.get('val_dataloader') is None or train_cfg['type'] not in limits:
        return False
    return train_cfg[limits[train_cfg['type']]] >= train_cfg.get('val_begin', 1)
