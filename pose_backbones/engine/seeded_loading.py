"""Load data such that random numbers depend neither on the workers nor on restarts.

Data augmentation uses the global generators of Python, NumPy and PyTorch. With a plain
`DataLoader`, the random numbers of a sample depend on how many samples the same worker has loaded
before, so a resumed run differs from an uninterrupted one. Here, each sample has its own seed,
which is derived from the seed of the run, the rank of the process, the epoch, the index of the
batch, and the position in the batch. The generators are seeded right before the sample is loaded.
The data of a run is then the same for any number of workers, and batches can be skipped without
loading them.
"""

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from ..datasets.image_cache import ImageCache
from ..datasets.image_sampler import ImageSampler
from .random_states import preserved_random_states

#: number of 32-bit words that seed a sample
_WORDS = 4


class SeededIndices(list):
    """Indices of a batch, with the seeds of its samples.

    Attributes:
        seeds: `_WORDS` 32-bit integers for each index.
        epoch: Index of the epoch.
    """

    seeds: list[int]
    epoch: int


class SeededBatchSampler:
    """Batch sampler whose batches contain seeds and can be skipped.

    Args:
        batch_sampler: The batch sampler to wrap. Its attributes are accessible.
        seed: Seed of the run.
        rank: Rank of the process.
    """

    def __init__(self, batch_sampler, seed: int, rank: int) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.rank = rank
        self.epoch = 0
        self._iterated = 0  # number of epochs that were started
        self._skipped = None  # the iterator of an epoch, and its position

    def __getattr__(self, name: str):
        if name == 'batch_sampler':  # It does not exist yet while the object is being copied.
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[SeededIndices]:
        batches, index = self._skipped or (self._open(), 0)
        self._skipped = None
        for batch in batches:
            batch = SeededIndices(batch)
            key = (self.seed % 2**64, self.rank, self.epoch, index)
            batch.epoch = self.epoch
            batch.seeds = np.random.SeedSequence(key).generate_state(_WORDS * len(batch)).tolist()
            yield batch
            index += 1

    def start_epoch(self, epoch: int, skip: int = 0) -> None:
        """Select the batches that the next iteration yields.

        Args:
            epoch: Index of the epoch, from 0. If the order of the sampler depends on earlier
                epochs, they are iterated over without loading data.
            skip: Number of batches at the start of the epoch to skip.
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

    def skip(self, number: int) -> None:
        """Skip batches from the start on, over several epochs if necessary.

        Whole epochs of a `DefaultSampler` are not iterated over, and the indices of an
        `InfiniteSampler` are skipped without forming batches.

        Args:
            number: Number of batches.
        """
        if type(self.batch_sampler) is BatchSampler and type(self.sampler) is InfiniteSampler:
            _advance(self.sampler, number * self.batch_size)
            self._skipped = self._open(), number
            return
        if isinstance(self.sampler, DefaultSampler) and len(self):
            epochs, number = divmod(number, len(self))
            self.epoch += epochs - 1
            self.next_epoch()
        batches, index = self._open(), 0
        while number:
            if next(batches, None) is None:
                if not index:
                    break  # The sampler yields no batches.
                self.next_epoch()
                batches, index = self._open(), 0
                continue
            index += 1
            number -= 1
        self._skipped = batches, index

    def next_epoch(self) -> None:
        """Advance to the next epoch of a finite sampler."""
        self.epoch += 1
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(self.epoch)

    def _open(self) -> Iterator:
        self._iterated += 1
        return iter(self.batch_sampler)


def _advance(sampler: InfiniteSampler, skip: int) -> None:
    """Skip indices of the process in a sampler that has not been iterated over."""
    start = sampler.rank + skip * sampler.world_size
    sampler.indices = islice(_shuffled_indices(sampler, start), 0, None, sampler.world_size)


def _shuffled_indices(sampler: InfiniteSampler, start: int) -> Iterator[int]:
    """Yield the indices of all processes as MMEngine's sampler does, from a position on."""
    generator = torch.Generator().manual_seed(sampler.seed)
    passes, start = divmod(start, sampler.size)
    for number in count():
        if sampler.shuffle:
            indices = torch.randperm(sampler.size, generator=generator)
        else:
            indices = torch.arange(sampler.size)
        if number >= passes or not sampler.shuffle:
            yield from indices[start:].tolist()
            start = 0


def seed_loader(loader: DataLoader, seed: int, rank: int = 0) -> None:
    """Make the random numbers of a loader depend only on the seed, in place.

    Args:
        loader: Loader of a map-style dataset. For an `IterableDataset`, only the seeds of the
            workers are set.
        seed: Seed of the run.
        rank: Rank of the process.
    """
    if loader.generator is None:
        # By default, each iterator takes the seed of its workers from the global generator.
        loader.generator = torch.Generator().manual_seed(seed % 2**63)
    if (
        isinstance(loader.dataset, IterableDataset)
        or loader.batch_sampler is None
        or seeded_batch_sampler(loader) is not None
    ):
        return
    # DataLoader.__setattr__ does not allow the batch sampler to be replaced.
    object.__setattr__(
        loader, 'batch_sampler', SeededBatchSampler(loader.batch_sampler, seed, rank)
    )
    cache = None
    if isinstance(loader.sampler, ImageSampler):
        cache = loader.sampler.use_loader(loader.batch_size or 1, loader.num_workers)
    if loader.num_workers:
        loader.collate_fn = functools.partial(_collate, loader.collate_fn)
    # PyTorch loads a batch with this method if the dataset has it.
    loader.dataset.__getitems__ = functools.partial(fetch_seeded, loader.dataset, cache=cache)


def seeded_batch_sampler(loader: DataLoader) -> SeededBatchSampler | None:
    """Return the seeded batch sampler of a loader; None if it has another batch sampler."""
    batch_sampler = loader.batch_sampler
    return batch_sampler if isinstance(batch_sampler, SeededBatchSampler) else None


def fetch_seeded(dataset, indices: SeededIndices, cache: ImageCache | None = None) -> list:
    """Load a batch, with a separate seed for each sample.

    The states of the global generators are restored afterwards, since without workers this function
    runs in the process of the model.

    Args:
        dataset: A dataset. If its class loads whole batches with `__getitems__`, the batch is
            seeded once.
        indices: Indices from a `SeededBatchSampler`. Other indices, from a user-defined loader, are
            not seeded.
        cache: The images that this process keeps for later samples.

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
        if cache is not None:
            cache.start_epoch(indices.epoch)
        samples = []
        for position, index in enumerate(indices):
            _seed(indices.seeds[position * _WORDS :][:_WORDS])
            with cache.loading(index) if cache is not None else nullcontext():
                samples.append(dataset[index])
        return samples


class _Images(list):
    """List of tensors of one shape, which a data worker sends as a single tensor.

    PyTorch opens a shared memory file for each tensor. The receiving process gets a list of views.
    """

    def __reduce__(self) -> tuple:
        return _unstack, (torch.stack(list(self)),)


def _unstack(images: Tensor) -> list[Tensor]:
    return list(images)


def _collate(collate: Callable[[list], Any], samples: list) -> Any:
    """Form a batch in a data worker, such that it is sent quickly.

    Args:
        collate: Function that forms the batch.
        samples: The samples.

    Returns:
        The batch, equal to that of `collate`.
    """
    batch = collate(samples)
    images = batch.get('inputs') if isinstance(batch, dict) else None
    if (
        type(images) is list
        and all(isinstance(image, Tensor) for image in images)
        and len({(image.shape, image.dtype) for image in images}) == 1
    ):
        batch['inputs'] = _Images(images)
    return batch


def _seed(words: list[int]) -> None:
    """Seed the global generators, with different numbers.

    With the same number, two of them would generate the same sequence.
    """
    python, numpy, high, low = words
    random.seed(python)
    np.random.seed(numpy)
    torch.default_generator.manual_seed((high << 31) ^ low)
