"""What samplers have in common with which a data worker keeps decoded images."""

from collections.abc import Sized

import numpy as np
from mmengine.dataset import BaseDataset, DefaultSampler

from ..errors import ConfigError
from ..utils.arguments import check_number
from .image_cache import ImageCache, KeptIndex
from .transforms.loading import LoadImage


class ImageSampler(DefaultSampler):
    """Base class of `ImageGroupedSampler` and `ImageOrderedSampler`.

    Args:
        dataset, shuffle, seed, round_up: See `DefaultSampler`.
        cache_mb: Limit on the memory of the kept images per process, in MiB.

    Raises:
        TypeError, ValueError: If `cache_mb` has a wrong type or is out of range.
    """

    #: what to do if the limit is too small, for a message
    advice = ''
    #: whether a transform may write into a kept image, so that it has to be copied
    copies = True

    def __init__(
        self, dataset: Sized, shuffle: bool, seed: int | None, round_up: bool, cache_mb: float
    ) -> None:
        check_number('cache_mb', cache_mb, 'a positive number of MiB')
        if cache_mb <= 0:
            raise ValueError(f'cache_mb is {cache_mb!r}: expected a positive number of MiB')
        super().__init__(dataset, shuffle, seed, round_up)
        self.cache_mb = cache_mb
        #: number of samples per batch, None before `use_loader` is called
        self.batch_size: int | None = None
        #: number of data workers
        self.num_workers = 0

    def use_loader(self, batch_size: int, num_workers: int) -> ImageCache:
        """Set the properties of the loader, which determine what a data worker keeps.

        Args:
            batch_size: Number of samples per batch.
            num_workers: Number of data workers; 0 if the process itself loads the data.

        Returns:
            An empty cache for each of the workers.
        """
        self.batch_size = batch_size
        self.num_workers = num_workers
        return ImageCache(
            self.cache_mb * 2**20 / max(1, num_workers), self.advice, copy=self.copies
        )


def is_last(images: np.ndarray) -> np.ndarray:
    """Return whether no later element has the same value."""
    last = np.zeros(len(images), bool)
    last[len(images) - 1 - np.unique(images[::-1], return_index=True)[1]] = True
    return last


def worker_of_position(count: int, batch_size: int, num_workers: int) -> np.ndarray:
    """Return the data worker (count,) that loads each sample of an epoch.

    Args:
        count: Number of samples.
        batch_size: Number of samples per batch.
        num_workers: Number of data workers, or 0.
    """
    # PyTorch assigns the batches to the workers in turn.
    return np.arange(count) // batch_size % max(1, num_workers)


def mark_kept(order: np.ndarray, kept: np.ndarray) -> list[int]:
    """Return indices, with a `KeptIndex` for each one that is marked in `kept`."""
    return [
        KeptIndex(index) if keep else index for index, keep in zip(order.tolist(), kept.tolist())
    ]


def image_numbers(dataset) -> np.ndarray:
    """Return the number of the image of each sample, (number of samples,).

    Args:
        dataset: A dataset of MMPose or MMEngine with `img_path` in each sample, or MMPose's
            `CombinedDataset`.

    Raises:
        ConfigError: If the images of the samples are not known, or are not read by `LoadImage`.
    """
    _check_pipelines(dataset)
    return np.unique(np.array(_image_paths(dataset)), return_inverse=True)[1]


def _image_paths(dataset) -> list[str]:
    """Return the path of the image of each sample.

    Raises:
        ConfigError: If the dataset does not provide it.
    """
    if hasattr(dataset, 'datasets') and not getattr(dataset, 'resample', False):
        paths = [path for part in dataset.datasets for path in _image_paths(part)]
        if len(paths) == len(dataset):
            return paths
    elif isinstance(dataset, BaseDataset) and not getattr(dataset, 'resample', False):
        dataset.full_init()
        # The method of the base class: MMPose's datasets copy their metainfo in addition.
        samples = (BaseDataset.get_data_info(dataset, index) for index in range(len(dataset)))
        paths = [sample.get('img_path') for sample in samples]
        if all(isinstance(path, str) for path in paths):
            return paths
    raise ConfigError(
        f'ImageGroupedSampler cannot group the samples of {type(dataset).__name__} by image: '
        'expected a dataset with one image file per sample, or a CombinedDataset of them without '
        'sample_ratio_factor; use DefaultSampler'
    )


def _check_pipelines(dataset) -> None:
    """Check that images are read by `LoadImage`, which uses the cache.

    Raises:
        ConfigError: If another transform reads them.
    """
    for part in getattr(dataset, 'datasets', ()):
        _check_pipelines(part)
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    names = [type(transform).__name__ for transform in transforms]
    if any(name.startswith('LoadImage') for name in names) and not any(
        isinstance(transform, LoadImage) for transform in transforms
    ):
        raise ConfigError(
            f'ImageGroupedSampler: the pipeline {", ".join(names)} does not use the cache of '
            "decoded images: replace its first transform by type='pose_backbones.LoadImage'"
        )
