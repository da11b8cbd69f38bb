"""What a checkpoint needs beyond MMEngine's for a resumed run to be exact.

Each process has random states, seeds and statistics of batch norms of its own
and, in the middle of a gradient accumulation, gradients. They are gathered
while a checkpoint is saved, and stored under `exact_resume` as plain data.
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

from ..errors import CheckpointError
from .random_states import check_random_states, get_random_states, set_random_states
from .seeded_loading import find_batches

KEY = 'exact_resume'
_VERSION = 1
_MOST_TIMES = 1024
#: workers, images of a batch, batches of an epoch: a real run has fewer
_LARGEST = 2**31


class ExactResumeHook(Hook):
    """Saves and restores what makes a resumed run equal an unbroken one.

    `PoseRunner` registers it. The training loops of `loops.py` call
    `restore` at the point at which the checkpoint was saved.
    """

    def __init__(self) -> None:
        self._saved: dict | None = None

    @property
    def before_validation(self) -> bool:
        """Whether the resumed checkpoint was saved before the validation
        that was due at its iteration."""
        return self._saved is not None and not self._saved['validated']

    def gather_checkpoint(self, runner, extra: dict) -> None:
        """Collect the states of all processes, which all call this.

        Args:
            runner: A training runner, about to save a checkpoint.
            extra: What the first process adds to it.
        """
        mine = dict(
            random_states=get_random_states(),
            data_seed=None,
            sampler_seed=None,
            gradients=None,
            buffers=None,
        )
        loader = runner.train_dataloader
        draws = find_batches(loader)
        if draws is not None:
            mine['data_seed'] = int(draws.seed)
            seed = getattr(draws.sampler, 'seed', None)
            mine['sampler_seed'] = None if seed is None else int(seed)
        if is_accumulating(runner.optim_wrapper):
            mine['gradients'] = {
                name: parameter.grad.cpu()
                for name, parameter in _model(runner).named_parameters()
                if parameter.grad is not None
            }
        if get_rank():  # those of the first process are in the state dict
            mine['buffers'] = {
                name: buffer.cpu() for name, buffer in _buffers(_model(runner)).items()
            }
        extra[KEY] = dict(
            version=_VERSION,
            workers=loader.num_workers,
            batch_size=_batch_size(loader),
            batches=len(loader),
            validated=runner.message_hub.get_info('loop_stage') == 'val',
            ranks=_gather(mine),
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take what was saved from a checkpoint that is resumed.

        Raises:
            CheckpointError: If it is not what `gather_checkpoint` saves.
        """
        if not runner._resume:
            return
        self._saved = checkpoint.get(KEY)
        if self._saved is None:
            runner.logger.info(
                'The checkpoint has no random states: the resumed run is not '
                'bit-identical to an uninterrupted one.'
            )
            return
        try:
            _check(self._saved, _model(runner))
        except ValueError as error:
            self._saved = None
            raise CheckpointError(
                f'{runner._load_from} cannot be resumed, its entry {KEY!r} is damaged: {error}'
            ) from error
        if self._gradients() is not None:
            MMLogger.get_current_instance().addFilter(_gradients_are_kept)

    def batches_of_epoch(self, epoch: int, iteration: int, length: int) -> int:
        """How many batches of a resumed epoch are done.

        Args:
            epoch: The epochs that are done.
            iteration: The iterations that are done.
            length: Batches per epoch, now.

        Returns:
            The count; 0 without a checkpoint or for a file of MMEngine's.
        """
        if self._saved is None:
            return 0
        before = self._saved['batches']
        done = iteration - epoch * before
        if not 0 <= done <= before:
            return 0  # e.g. the number of batches changed before
        return done if length == before else done * length // before

    def batches_done(self, iteration: int, loader: DataLoader) -> int:
        """How many batches of a training by iterations are done.

        Args:
            iteration: The iterations that are done.
            loader: Of the training data.

        Returns:
            The count: of today's batches, where they had another size or
            went to another number of processes.
        """
        if self._saved is None:
            return iteration
        before = self._saved['batch_size'] * len(self._saved['ranks'])
        now = _batch_size(loader) * get_world_size()
        if before > _MOST_TIMES * now:  # skipping would not end
            raise CheckpointError(
                f'the checkpoint was saved with {before:,} images in an '
                f'iteration, now there are {now}: to go on from its weights, '
                'use --load-from'
            )
        return iteration * before // now

    def restore(self, runner) -> None:
        """Put back what was saved; called right before the next iteration.

        Args:
            runner: Of the resumed run. Nothing is done for a new one.
        """
        MMLogger.get_current_instance().removeFilter(_gradients_are_kept)
        if self._saved is None:
            return
        ranks, workers = self._saved['ranks'], self._saved['workers']
        same = len(ranks) == get_world_size()
        mine = ranks[get_rank()] if same else ranks[0]
        loader = runner.train_dataloader
        if not same:
            runner.logger.warning(
                f'The checkpoint was saved by {len(ranks)} processes, now '
                f'there are {get_world_size()}: the resumed run is not '
                'bit-identical to an uninterrupted one.'
            )
        if workers != loader.num_workers:
            runner.logger.info(
                f'The checkpoint was saved with {workers} data workers, now '
                f'there are {loader.num_workers}: this changes no result, '
                'since every sample has its own seed.'
            )
        if self._saved['batch_size'] != _batch_size(loader):
            runner.logger.warning(
                f'The checkpoint was saved with batches of '
                f'{self._saved["batch_size"]}, now they are of '
                f'{_batch_size(loader)}: the resumed run is not '
                'bit-identical to an uninterrupted one.'
            )
        draws = find_batches(loader)
        if draws is not None and mine['data_seed'] is not None:
            draws.seed = mine['data_seed']
            if mine['sampler_seed'] is not None:
                draws.sampler.seed = mine['sampler_seed']
        if self._gradients() is not None:
            parameters = dict(_model(runner).named_parameters())
            for name, gradient in self._gradients().items():
                parameters[name].grad = gradient.to(parameters[name].device)
        if same:
            buffers = _buffers(_model(runner))
            for name, value in (mine['buffers'] or {}).items():
                buffers[name].copy_(value)
            set_random_states(mine['random_states'])

    def _gradients(self) -> dict[str, torch.Tensor] | None:
        """The accumulated gradients of this process; of another number of
        processes, their mean, as it would have been taken."""
        ranks = self._saved['ranks']
        if ranks[0]['gradients'] is None:
            return None
        if len(ranks) == get_world_size():
            return ranks[get_rank()]['gradients']
        gradients = [rank['gradients'] for rank in ranks]
        return {
            name: sum(one.get(name, 0) for one in gradients) / len(ranks)
            for name in dict.fromkeys(chain(*gradients))
        }


def _gradients_are_kept(record: logging.LogRecord) -> bool:
    """Drops MMEngine's warning that accumulated gradients are lost."""
    return 'Resumed iteration number is not divisible' not in (record.getMessage())


def _model(runner) -> nn.Module:
    return getattr(runner.model, 'module', runner.model)


def _buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a state dict holds beside the parameters: statistics of batch
    norms, for example, which each process has of its own."""
    parameters = dict(model.named_parameters())
    return {
        name: value
        for name, value in model.state_dict().items()
        if name not in parameters and isinstance(value, torch.Tensor)
    }


def _batch_size(loader: DataLoader) -> int:
    return getattr(loader.batch_sampler, 'batch_size', None) or 1


def is_accumulating(optim_wrapper) -> bool:
    """Whether the next step has gradients of earlier iterations.

    Args:
        optim_wrapper: Of MMEngine, or a dict of them.
    """
    return any(
        isinstance(one, OptimWrapper) and not one.should_update()
        for one in optim_wrappers(optim_wrapper)
    )


def optim_wrappers(optim_wrapper) -> list:
    """The wrappers of an `OptimWrapperDict`, or the one there is."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return list(optim_wrapper.values())
    return [optim_wrapper]


def _gather(mine: dict) -> list[dict] | None:
    """The dicts of all processes, in the first one."""
    if get_world_size() == 1:
        return [mine]
    ranks = [None] * get_world_size() if get_rank() == 0 else None
    dist.gather_object(mine, ranks)
    return ranks


def _check(saved: object, model: nn.Module) -> None:
    """Refuse an entry of a file that `gather_checkpoint` has not written.

    Raises:
        ValueError: With the item and what it should be.
    """
    if not isinstance(saved, dict) or saved.get('version') != _VERSION:
        version = saved.get('version') if isinstance(saved, dict) else saved
        raise ValueError(f'its version is {version!r:.60}; expected {_VERSION}')
    for name, low in (('workers', 0), ('batch_size', 1), ('batches', 1)):
        _check_integer(saved.get(name), name, low)
    if type(saved.get('validated')) is not bool:
        raise ValueError(f'validated is {saved.get("validated")!r:.60}; expected True or False')
    for name in ('workers', 'batch_size', 'batches'):
        if saved[name] > _LARGEST:
            raise ValueError(f'{name} is {saved[name]}; expected at most {_LARGEST:,}')
    ranks = saved.get('ranks')
    if not isinstance(ranks, list) or not ranks:
        raise ValueError(f'ranks is {ranks!r:.60}; expected a list with a dict of each process')
    parameters = dict(model.named_parameters())
    buffers = _buffers(model)
    for number, rank in enumerate(ranks):
        if not isinstance(rank, dict):
            raise ValueError(f'rank {number} is {rank!r:.60}; expected a dict')
        check_random_states(rank.get('random_states'))
        for name in ('data_seed', 'sampler_seed'):
            if rank.get(name) is not None:
                _check_integer(rank[name], name, 0)
        for kind, own in (('gradients', parameters), ('buffers', buffers)):
            _check_tensors(rank.get(kind), kind, own)
    if len({rank.get('gradients') is None for rank in ranks}) > 1:
        raise ValueError('only some of the processes have gradients')


def _check_integer(value: object, name: str, low: int) -> None:
    if type(value) is not int or not low <= value < 2**63:
        raise ValueError(f'{name} is {value!r:.60}; expected an integer of at least {low}')


def _check_tensors(saved: object, kind: str, own: dict[str, torch.Tensor]) -> None:
    if saved is None:
        return
    if not isinstance(saved, dict):
        raise ValueError(f'{kind} is {saved!r:.60}; expected a dict of tensors')
    for name, value in saved.items():
        if name not in own:
            raise ValueError(f'{kind}: {name!r:.60} is not in the model')
        if (
            not isinstance(value, torch.Tensor)
            or value.dtype.is_floating_point != own[name].dtype.is_floating_point
            or value.shape != own[name].shape
        ):
            raise ValueError(
                f'{kind}: {name} is not a tensor of shape {tuple(own[name].shape)} and its kind'
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f'{kind}: {name} is not finite')
