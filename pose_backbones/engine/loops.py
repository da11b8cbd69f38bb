"""MMEngine's training loops, which resume exactly and without loading again.

They differ from MMEngine's in three places: batches that a resumed run has
had already are skipped by their indices, also in the middle of an epoch;
seeds, random states and accumulated gradients are put back before the first
resumed iteration (see `ExactResumeHook`); and validation leaves the random
states alone. A validation that was due right after the checkpoint is run
first: it can change the schedule and the best score.
"""

from collections.abc import Generator
from itertools import islice

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader

from .exact_resume import ExactResumeHook
from .random_states import preserved_random_states
from .seeded_loading import find_batches, seed_loader


class _ResumableLoop(BaseLoop):
    """What both loops have in common."""

    #: of the runner; set when the loop is built
    exact_resume: ExactResumeHook

    def _validation_is_due(self) -> bool:
        """Whether the loop validates at this point."""
        raise NotImplementedError

    def _validate(self) -> None:
        """Validate if it is time to; random states stay as they are."""
        self._decide_current_val_interval()
        if self.runner.val_loop is not None and self._validation_is_due():
            with preserved_random_states():
                self.runner.val_loop.run()

    def _validate_again(self) -> None:
        """Run the validation that came after the resumed checkpoint."""
        if self.exact_resume.before_validation:
            self._validate()


class ResumableEpochLoop(_ResumableLoop, EpochBasedTrainLoop):
    """Training by epochs; arguments as MMEngine's `EpochBasedTrainLoop`."""

    def __init__(self, runner, dataloader, *args, **kwargs) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        seed_loader(self.dataloader, runner.seed, runner.rank)
        self.exact_resume = runner.exact_resume
        self._skip = 0

    def run(self):
        """Train; returns the model."""
        self.runner.call_hook('before_train')
        self._skip = self.exact_resume.batches_of_epoch(
            self._epoch, self._iter, len(self.dataloader)
        )
        if not self._skip:
            self.exact_resume.restore(self.runner)
            self._validate_again()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train one epoch, or what is left of a resumed one."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        skip, self._skip = self._skip, 0
        if skip:
            self.exact_resume.restore(self.runner)
        draws = find_batches(self.dataloader)
        if draws is not None:
            draws.start_epoch(self._epoch, skip)
        batches = iter(self.dataloader)
        if draws is None:  # nothing to skip by: load and drop
            batches = islice(batches, skip, None)
        for index, batch in enumerate(batches, skip):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _validation_is_due(self) -> bool:
        return self._epoch >= self.val_begin and (
            self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        )


class ResumableIterLoop(_ResumableLoop, IterBasedTrainLoop):
    """Training by iterations; arguments as MMEngine's `IterBasedTrainLoop`.

    Its data workers start with the training, not when it is built.
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
        # Not IterBasedTrainLoop's, which draws the first batches.
        BaseLoop.__init__(self, runner, dataloader)
        if int(max_iters) != max_iters:
            raise ValueError(f'max_iters={max_iters}: expected an integer')
        self._max_iters = int(max_iters)
        self._max_epochs = 1  # as MMEngine's
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
        """Train; returns the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.exact_resume.restore(self.runner)
        self._validate_again()
        self.dataloader_iterator = self._batches(
            self.exact_resume.batches_done(self._iter, self.dataloader)
        )
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate()
        self.dataloader_iterator.close()  # ends its workers
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _batches(self, skip: int) -> Generator:
        """Batches without an end, but for the first `skip`."""
        draws = find_batches(self.dataloader)
        if draws is None:  # nothing to skip by: load and drop
            yield from islice(_InfiniteDataloaderIterator(self.dataloader), skip, None)
            return
        draws.skip(skip)
        while len(self.dataloader):
            yield from self.dataloader
            draws.next_epoch()

    def _validation_is_due(self) -> bool:
        return self._iter >= self.val_begin and (
            self._iter % self.val_interval == 0 or self._iter == self._max_iters
        )


def use_resumable_loop(train_cfg: dict) -> dict:
    """Put these loops in the place of MMEngine's.

    Args:
        train_cfg: Of a config. Another loop that it names stays.

    Returns:
        A copy with the loop's class as its `type`.
    """
    train_cfg = dict(train_cfg)
    kind = train_cfg.pop('type', None)
    if kind is None:
        by_epoch = train_cfg.pop('by_epoch', True)
        kind = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    name = kind if isinstance(kind, str) else kind.__name__
    ours = {'EpochBasedTrainLoop': ResumableEpochLoop, 'IterBasedTrainLoop': ResumableIterLoop}
    return dict(train_cfg, type=ours.get(name.split('.')[-1], kind))
