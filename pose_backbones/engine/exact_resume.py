"""Save and restore the state that makes a resumed run equal to an uninterrupted one.

Each process (rank) has its own states of random number generators, seeds and batch norm statistics
and, during gradient accumulation, its own gradients. When a checkpoint is saved, these are gathered
from all processes and stored in the checkpoint under the key `exact_resume`, as plain dicts, lists,
numbers and tensors.
"""

import logging
from itertools import chain

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn
from torch.utils.data import DataLoader

from ..datasets.image_grouped_sampler import ImageGroupedSampler
from ..errors import CheckpointError, shown
from .random_states import check_random_states, get_random_states, set_random_states
from .seeded_loading import seeded_batch_sampler

KEY = 'exact_resume'
_VERSION = 1
#: maximum of (images per iteration of the checkpoint's run) / (images per iteration of this run)
_MAX_BATCH_RATIO = 1024
#: maximum number of workers, images per batch and batches per epoch
_MAX_COUNT = 2**31


class ExactResumeHook(Hook):
    """Save and restore the state of all processes.

    `PoseRunner` registers this hook. The training loops in `loops.py` call `restore` at the point
    at which the checkpoint was saved.
    """

    def __init__(self) -> None:
        self._saved: dict | None = None
        self.validated = False  # whether a validation has finished since the last iteration
        self._states_before_validation: dict | None = None
        #: epoch, and the iteration at which it started, of an epoch-based training
        self.epoch_start: dict[str, int] | None = None
        #: whether the resumed checkpoint was saved before the validation that was due next
        self.validation_pending = False

    def before_train_iter(self, runner, *args, **kwargs) -> None:
        """Record that the next iteration has not been validated."""
        self.validated = False

    def before_val(self, runner) -> None:
        """Remember the random states: those of a validation do not belong in a checkpoint."""
        self._states_before_validation = get_random_states()

    def after_val(self, runner) -> None:
        """Forget the random states, which the loop restores."""
        self._states_before_validation = None

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Record that the validation has finished; checkpoint hooks run later."""
        self.validated = True

    def gather_checkpoint(self, runner, extra: dict) -> None:
        """Gather the states of all processes in rank 0; every process has to call this method.

        Args:
            runner: A training runner that is about to save a checkpoint.
            extra: Further entries of the checkpoint, to which the states are added under `KEY`.
        """
        state = dict(
            random_states=self._states_before_validation or get_random_states(),
            data_seed=None,
            sampler_seed=None,
            gradients=None,
            buffers=None,
        )
        loader = runner.train_dataloader
        batch_sampler = seeded_batch_sampler(loader)
        if batch_sampler is not None:
            state['data_seed'] = int(batch_sampler.seed)
            seed = getattr(batch_sampler.sampler, 'seed', None)
            state['sampler_seed'] = None if seed is None else int(seed)
        if is_accumulating(runner.optim_wrapper):
            state['gradients'] = {
                name: parameter.grad.cpu()
                for name, parameter in _model(runner).named_parameters()
                if parameter.grad is not None
            }
        if get_rank():  # The state dict of the checkpoint contains the buffers of rank 0.
            state['buffers'] = {
                name: buffer.cpu() for name, buffer in _buffers(_model(runner)).items()
            }
        extra[KEY] = dict(
            version=_VERSION,
            workers=_order_workers(loader),
            batch_size=_batch_size(loader),
            batches=len(loader),
            validated=self.validated,
            saved_after_validation=any(
                hasattr(hook, 'after_last_validation') for hook in runner.hooks
            ),
            epoch_start=self.epoch_start,
            ranks=_gather(state),
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check the saved states of a checkpoint from which training is resumed.

        Raises:
            CheckpointError: If the entry was not written by `gather_checkpoint`.
        """
        if not runner._resume:
            return
        self._saved = checkpoint.get(KEY)
        if self._saved is None:
            runner.logger.info(
                'The checkpoint has no random states: the resumed run is not bit-identical to an '
                'uninterrupted one.'
            )
            return
        try:
            _check(self._saved, _model(runner))
        except ValueError as error:
            self._saved = None
            raise CheckpointError(
                f'{runner._load_from} cannot be resumed, since its entry {KEY!r} is invalid: '
                f'{error}'
            ) from error
        self.validation_pending = is_validation_pending(checkpoint)
        if self._gradients() is not None:
            MMLogger.get_current_instance().addFilter(_drop_gradient_warning)

    def completed_batches_of_epoch(self, epoch: int, iteration: int, length: int) -> int:
        """Return how many batches of a resumed epoch are completed.

        Args:
            epoch: Number of completed epochs.
            iteration: Number of completed iterations.
            length: Number of batches per epoch in this run, which may differ from the number in
                the run that saved the checkpoint.

        Returns:
            The number of batches, in proportion to `length`; 0 if no checkpoint with the states
            of this hook was loaded.
        """
        if self._saved is None:
            return 0
        saved_length = self._saved['batches']
        start = self._saved.get('epoch_start')
        if start is None:  # in checkpoints of earlier versions: correct if all epochs were as long
            start = dict(epoch=epoch, iter=epoch * saved_length)
        completed = iteration - start['iter']
        if epoch != start['epoch'] or not 0 <= completed <= saved_length:
            return 0
        if completed:
            self.validation_pending = False  # it is due at the end of this epoch
        return completed if length == saved_length else completed * length // saved_length

    def completed_batches(self, iteration: int, loader: DataLoader) -> int:
        """Return how many batches of an iteration-based training are completed.

        Args:
            iteration: Number of completed iterations.
            loader: Data loader of the training data.

        Returns:
            The number of batches with this run's batch size and number of processes that contain
            as many images as the completed iterations.

        Raises:
            CheckpointError: If the run that saved the checkpoint had more than 1024 times as many
                images per iteration as this run.
        """
        if self._saved is None:
            return iteration
        saved = self._saved['batch_size'] * len(self._saved['ranks'])  # images per iteration
        images = _batch_size(loader) * get_world_size()
        if saved > _MAX_BATCH_RATIO * images:  # Skipping the batches would take too long.
            raise CheckpointError(
                f'the checkpoint was saved with {saved:,} images per iteration, but this run has '
                f'{images}: to start a new training from its weights, use --load-from'
            )
        return iteration * saved // images

    def restore(self, runner) -> None:
        """Restore the saved state; called right before the next iteration.

        Args:
            runner: The runner. Nothing is done unless it resumes a checkpoint.
        """
        MMLogger.get_current_instance().removeFilter(_drop_gradient_warning)
        if self._saved is None:
            return
        rank_states, workers = self._saved['ranks'], self._saved['workers']
        same_world_size = len(rank_states) == get_world_size()
        state = rank_states[get_rank()] if same_world_size else rank_states[0]
        loader = runner.train_dataloader
        if not same_world_size:
            runner.logger.warning(
                f'The checkpoint was saved by {len(rank_states)} processes, but this run has '
                f'{get_world_size()}: the resumed run is not bit-identical to an uninterrupted '
                'one.'
            )
        if workers != loader.num_workers:
            cost = ''
            if isinstance(loader.sampler, ImageGroupedSampler):
                loader.sampler.num_workers = workers
                cost = ' However, images are decoded several times per epoch.'
            runner.logger.info(
                f'The checkpoint was saved with {workers} data workers, but this run has '
                f'{loader.num_workers}: this does not change any result, since each sample has '
                f'its own seed.{cost}'
            )
        if self._saved['batch_size'] != _batch_size(loader):
            runner.logger.warning(
                f'The checkpoint was saved with a batch size of {self._saved["batch_size"]}, but '
                f'this run has {_batch_size(loader)}: the resumed run is not bit-identical to an '
                'uninterrupted one.'
            )
        batch_sampler = seeded_batch_sampler(loader)
        if batch_sampler is not None and state['data_seed'] is not None:
            batch_sampler.seed = state['data_seed']
            if state['sampler_seed'] is not None:
                batch_sampler.sampler.seed = state['sampler_seed']
        if self._gradients() is not None:
            parameters = dict(_model(runner).named_parameters())
            for name, gradient in self._gradients().items():
                parameters[name].grad = gradient.to(parameters[name].device)
        if same_world_size:
            buffers = _buffers(_model(runner))
            for name, value in (state['buffers'] or {}).items():
                buffers[name].copy_(value)
            set_random_states(state['random_states'])

    def _gradients(self) -> dict[str, torch.Tensor] | None:
        """Return the accumulated gradients of this process.

        If the number of processes has changed, return their mean, as gradient synchronization would
        have computed it.
        """
        rank_states = self._saved['ranks']
        if rank_states[0]['gradients'] is None:
            return None
        if len(rank_states) == get_world_size():
            return rank_states[get_rank()]['gradients']
        gradients = [state['gradients'] for state in rank_states]
        return {
            name: sum(rank_gradients.get(name, 0) for rank_gradients in gradients) / len(gradients)
            for name in dict.fromkeys(chain(*gradients))
        }


def is_validation_pending(checkpoint: dict) -> bool:
    """Return whether a checkpoint was saved before the validation that follows it had finished.

    Args:
        checkpoint: Content of a checkpoint, which may be malformed.

    Returns:
        False for a checkpoint of MMEngine, which does not contain this information.
    """
    saved = checkpoint.get(KEY)
    return isinstance(saved, dict) and saved.get('validated') is False


def records_last_validation(checkpoint: dict) -> bool:
    """Return whether a checkpoint is from a run that records the end of its last validation.

    Runs of earlier versions, and with other hooks that save checkpoints, record it only if a
    checkpoint is saved during the validation.

    Args:
        checkpoint: Content of a checkpoint, which may be malformed.
    """
    saved = checkpoint.get(KEY)
    return isinstance(saved, dict) and saved.get('saved_after_validation') is True


def _drop_gradient_warning(record: logging.LogRecord) -> bool:
    """Logging filter: return False for MMEngine's warning about lost accumulated gradients."""
    return 'Resumed iteration number is not divisible' not in record.getMessage()


def _model(runner) -> nn.Module:
    return getattr(runner.model, 'module', runner.model)


def _buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the entries of a state dict that are not parameters.

    They include the statistics of batch norms, which differ between processes.
    """
    parameters = dict(model.named_parameters())
    return {
        name: value
        for name, value in model.state_dict().items()
        if name not in parameters and isinstance(value, torch.Tensor)
    }


def _batch_size(loader: DataLoader) -> int:
    return getattr(loader.batch_sampler, 'batch_size', None) or 1


def _order_workers(loader: DataLoader) -> int:
    """Return the number of data workers of the run that determined the order of the data."""
    if isinstance(loader.sampler, ImageGroupedSampler) and loader.sampler.batch_size is not None:
        return loader.sampler.num_workers
    return loader.num_workers


def is_accumulating(optim_wrapper) -> bool:
    """Return whether the next optimizer step includes gradients of earlier iterations.

    Args:
        optim_wrapper: MMEngine's `OptimWrapper` or `OptimWrapperDict`.
    """
    return any(
        isinstance(wrapper, OptimWrapper) and not wrapper.should_update()
        for wrapper in optim_wrappers(optim_wrapper)
    )


def optim_wrappers(optim_wrapper) -> list:
    """Return the wrappers in an `OptimWrapperDict`, or a single wrapper as a list."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return list(optim_wrapper.values())
    return [optim_wrapper]


def _gather(state: dict) -> list[dict] | None:
    """Return the dicts of all processes in rank 0, and None in the other processes."""
    if get_world_size() == 1:
        return [state]
    rank_states = [None] * get_world_size() if get_rank() == 0 else None
    dist.gather_object(state, rank_states)
    return rank_states


def _check(saved: object, model: nn.Module) -> None:
    """Check an entry of a checkpoint that should have been written by `gather_checkpoint`.

    Raises:
        ValueError: With the invalid item and the expected value.
    """
    if not isinstance(saved, dict) or saved.get('version') != _VERSION:
        version = saved.get('version') if isinstance(saved, dict) else saved
        raise ValueError(f'its version is {shown(version)}; expected {_VERSION}')
    for name, minimum in (('workers', 0), ('batch_size', 1), ('batches', 1)):
        _check_integer(saved.get(name), name, minimum)
    if type(saved.get('validated')) is not bool:
        raise ValueError(f'validated is {shown(saved.get("validated"))}; expected True or False')
    for name in ('workers', 'batch_size', 'batches'):
        if saved[name] > _MAX_COUNT:
            raise ValueError(f'{name} is {saved[name]}; expected at most {_MAX_COUNT:,}')
    start = saved.get('epoch_start')
    if start is not None and not (
        isinstance(start, dict) and all(type(start.get(key)) is int for key in ('epoch', 'iter'))
    ):
        raise ValueError(f'epoch_start is {shown(start)}; expected an epoch and an iteration')
    rank_states = saved.get('ranks')
    if not isinstance(rank_states, list) or not rank_states:
        raise ValueError(
            f'ranks is {shown(rank_states)}; expected a list with a dict for each process'
        )
    parameters = dict(model.named_parameters())
    buffers = _buffers(model)
    for rank, state in enumerate(rank_states):
        if not isinstance(state, dict):
            raise ValueError(f'rank {rank} is {shown(state)}; expected a dict')
        check_random_states(state.get('random_states'))
        for name in ('data_seed', 'sampler_seed'):
            if state.get(name) is not None:
                _check_integer(state[name], name, 0)
        for kind, expected in (('gradients', parameters), ('buffers', buffers)):
            _check_tensors(state.get(kind), kind, expected)
    if len({state.get('gradients') is None for state in rank_states}) > 1:
        raise ValueError('only some of the processes have gradients')


def _check_integer(value: object, name: str, minimum: int) -> None:
    if type(value) is not int or not minimum <= value < 2**63:
        raise ValueError(f'{name} is {shown(value)}; expected an integer of at least {minimum}')


def _check_tensors(saved: object, kind: str, expected: dict[str, torch.Tensor]) -> None:
    if saved is None:
        return
    if not isinstance(saved, dict):
        raise ValueError(f'{kind} is {shown(saved)}; expected a dict of tensors')
    for name, value in saved.items():
        if name not in expected:
            raise ValueError(f'{kind}: {shown(name)} is not in the model')
        if (
            not isinstance(value, torch.Tensor)
            or value.dtype.is_floating_point != expected[name].dtype.is_floating_point
            or value.shape != expected[name].shape
        ):
            raise ValueError(
                f'{kind}: {name} is not a tensor of shape {tuple(expected[name].shape)} and type '
                f'{expected[name].dtype}'
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f'{kind}: {name} is not finite')
