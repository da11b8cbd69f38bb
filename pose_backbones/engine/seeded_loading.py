"""Data loading whose random numbers do not depend on workers or restarts.

Augmentation draws from the global generators of Python, NumPy and PyTorch.
In a plain `DataLoader` what a sample gets depends on how many samples the
same worker has loaded before, so a resumed run differs from an unbroken one.
Here each sample has a seed made from the run's seed, the process, the epoch,
the number of the batch and the place in it; the generators are seeded with
it just before the sample is loaded. A run's data are then the same with any
number of workers, and batches can be skipped without loading them.
"""

import functools
import random
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader, IterableDataset

from .random_states import preserved_random_states

#: words of 32 bits that seed one sample
_WORDS = 4


class SeededIndices(list):
    """The indices of one batch, with the seeds of its samples.

    Attributes:
        seeds: `_WORDS` integers of 32 bits for each index.
    """

    seeds: list[int]


class SeededBatchSampler:
    """A batch sampler whose batches carry seeds and can be skipped.

    Args:
        batch_sampler: The one to wrap; attributes that are not here are its.
        seed: Of the run.
        rank: Of the process.
    """

    def __init__(self, batch_sampler, seed: int, rank: int) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.rank = rank
        self.epoch = 0
        self._iterated = 0  # epochs that were begun
        self._skipped = None  # the iterator of an epoch, and its position

    def __getattr__(self, name: str):
        if name == 'batch_sampler':  # not there yet: while being copied
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[SeededIndices]:
        batches, number = self._skipped or (self._open(), 0)
        self._skipped = None
        for batch in batches:
            batch = SeededIndices(batch)
            key = (self.seed % 2**64, self.rank, self.epoch, number)
            batch.seeds = np.random.SeedSequence(key).generate_state(_WORDS * len(batch)).tolist()
            yield batch
            number += 1

    def start_epoch(self, epoch: int, skip: int = 0) -> None:
        """Choose what the next iteration yields.

        Args:
            epoch: Its number, from 0. The epochs before it are drawn and
                dropped if the sampler's order depends on them.
            skip: Batches of the epoch to leave out.
        """
        if not isinstance(self.sampler, DefaultSampler):
            while self._iterated < epoch:
                for _ in islice(self._open(), len(self)):
                    pass
        self._iterated = self.epoch = epoch
        if skip:
            batches = self._open()
            for _ in range(skip):
                if next(batches, None) is None:
                    break
            self._skipped = batches, skip

    def skip(self, count: int) -> None:
        """Leave out batches from the start on, over as many epochs as needed.

        Args:
            count: How many.
        """
        batches, number = self._open(), 0
        while count:
            if next(batches, None) is None:
                if not number:
                    break  # no batches at all
                self.next_epoch()
                batches, number = self._open(), 0
                continue
            number += 1
            count -= 1
        self._skipped = batches, number

    def next_epoch(self) -> None:
        """Go on to the next epoch, with a sampler that has an end."""
        self.epoch += 1
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(self.epoch)

    def _open(self) -> Iterator:
        self._iterated += 1
        return iter(self.batch_sampler)


def seed_loader(loader: DataLoader, seed: int, rank: int = 0) -> None:
    """Make a loader's random numbers depend on the seed alone, in place.

    Args:
        loader: Of a data set with indices. Of an `IterableDataset`, only the
            seeds of the workers are fixed.
        seed: Of the run.
        rank: Of the process.
    """
    if loader.generator is None:
        # Otherwise each iterator draws its workers' seed from the global
        # generator.
        loader.generator = torch.Generator().manual_seed(seed % 2**63)
    if (
        isinstance(loader.dataset, IterableDataset)
        or loader.batch_sampler is None
        or find_batches(loader) is not None
    ):
        return
    # DataLoader refuses a new batch sampler through its own __setattr__.
    object.__setattr__(
        loader, 'batch_sampler', SeededBatchSampler(loader.batch_sampler, seed, rank)
    )
    # PyTorch fetches a batch through this method where a data set has it.
    loader.dataset.__getitems__ = functools.partial(fetch_seeded, loader.dataset)


def find_batches(loader: DataLoader) -> SeededBatchSampler | None:
    """The seeded batch sampler of a loader; None if it has another."""
    found = loader.batch_sampler
    return found if isinstance(found, SeededBatchSampler) else None


def fetch_seeded(dataset, indices: SeededIndices) -> list:
    """Load a batch; each sample with its seed.

    The global random generators are the same afterwards: without workers,
    this runs in the process of the model.

    Args:
        dataset: A data set. If its class loads whole batches, by
            `__getitems__`, the batch is seeded once.
        indices: Of a `SeededBatchSampler`; others, from a loader of a
            user's own, are not seeded.

    Returns:
        The samples.
    """
    load_all = getattr(type(dataset), '__getitems__', None)
    if not isinstance(indices, SeededIndices):
        return (
            load_all(dataset, indices)
            if load_all is not None
            else [dataset[index] for index in indices]
        )
    with preserved_random_states(cuda=False):
        if load_all is not None:
            _seed(indices.seeds[:_WORDS])
            return load_all(dataset, list(indices))
        samples = []
        for number, index in enumerate(indices):
            _seed(indices.seeds[number * _WORDS :][:_WORDS])
            samples.append(dataset[index])
        return samples


def _seed(words: list[int]) -> None:
    """Seed the generators with different numbers: two of them would give
    the same sequence for the same one."""
    python, numpy, high, low = words
    random.seed(python)
    np.random.seed(numpy)
    torch.default_generator.manual_seed((high << 31) ^ low)
