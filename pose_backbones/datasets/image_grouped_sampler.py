"""Sampler with which an image of several people is decoded once per epoch."""

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dataset import BaseDataset, DefaultSampler

from ..errors import ConfigError
from ..registry import DATA_SAMPLERS
from ..utils.arguments import check_number, check_positive_int
from .image_cache import ImageCache, KeptIndex
from .transforms.loading import LoadImage


@DATA_SAMPLERS.register_module()
class ImageGroupedSampler(DefaultSampler):
    """Shuffle samples so that each image is decoded once per epoch, for all its people.

    In top-down training, a sample is a person, and COCO has 2.65 annotated people per image.
    `DefaultSampler` decodes an image anew for each of them. This sampler shuffles the images,
    spaces the people of an image evenly over the next `window` images with several people, and
    mixes them with the samples of the other images. All people of an image are loaded by the same
    data worker, which keeps the decoded image until the last of them (`ImageCache`).

    - Each sample is used once per epoch, and every position of the epoch has the same probability.
    - The people of an image are in different batches (if it has fewer people than a worker has
      batches within the window), in random order.
    - In distributed training, each process has different images, and as many samples as with
      `DefaultSampler`. An image at the border between two workers or processes may be decoded by
      both.
    - The random numbers of the augmentation are those of any other sampler: they depend on the
      position of the sample in the epoch.
    - The order depends on the batch size and the number of data workers. A resumed run keeps the
      order of the run that saved the checkpoint.

    Memory per process (GPU), summed over its data workers: `window` images or `cache_mb`, whichever
    is less. An image of 640x480 pixels has 0.88 MiB, so the default of 1000 images of COCO's size
    takes up to 0.9 GiB; images without further people are not kept.

    The pipeline has to read images with `pose_backbones.LoadImage`, and the loader has to be
    prepared with `engine.seeded_loading.seed_loader`, as `tools/train.py` does.

    Args:
        dataset: A dataset of MMPose or MMEngine with `img_path` in each sample, or MMPose's
            `CombinedDataset`.
        shuffle: True; other values are not supported.
        seed: Seed of the order, the same in all processes. Default: random.
        round_up: Whether to repeat samples so that all processes have the same number.
        window: Maximum number of images that are kept per process.
        cache_mb: Limit on the memory of the kept images per process, in MiB. Images that exceed it
            are decoded several times; the order does not change.

    Raises:
        ConfigError: If the images of the samples are not known, or are not read by `LoadImage`.
        TypeError, ValueError: If an argument has a wrong type or is out of range.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
        window: int = 1000,
        cache_mb: float = 1024,
    ) -> None:
        if shuffle is not True:
            raise ValueError(
                f'shuffle is {shuffle!r}: expected True; without shuffling, use DefaultSampler'
            )
        check_positive_int('window', window)
        check_number('cache_mb', cache_mb, 'a positive number of MiB')
        if cache_mb <= 0:
            raise ValueError(f'cache_mb is {cache_mb!r}: expected a positive number of MiB')
        super().__init__(dataset, shuffle, seed, round_up)
        self.window = window
        self.cache_mb = cache_mb
        #: number of samples per batch and of data workers, set by `use_loader`
        self.batch_size: int | None = None
        self.num_workers: int | None = None
        #: number of the image of each sample
        self.images = image_numbers(dataset)

    def use_loader(self, batch_size: int, num_workers: int) -> ImageCache:
        """Set the properties of the loader on which the order depends.

        Args:
            batch_size: Number of samples per batch.
            num_workers: Number of data workers; 0 if the process itself loads the data.

        Returns:
            An empty cache for each of the workers.
        """
        self.batch_size = batch_size
        self.num_workers = num_workers
        return ImageCache(
            self.cache_mb * 2**20 / max(1, num_workers),
            'increase cache_mb of ImageGroupedSampler, or reduce window',
        )

    def __iter__(self) -> Iterator[int]:
        """Return the indices of an epoch; those whose image is needed again are `KeptIndex`."""
        return iter(mark_kept(*self.order()))

    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute the samples of this process in the current epoch.

        Returns:
            Indices of the samples, and whether the same worker loads another sample of the same
            image later; both of shape (number of samples of the process,).

        Raises:
            ConfigError: If `use_loader` was not called.
        """
        if self.batch_size is None or self.num_workers is None:
            raise ConfigError(
                'ImageGroupedSampler needs the batch size and the number of workers: train with '
                'tools/train.py, or call pose_backbones.engine.seeded_loading.seed_loader with '
                'the data loader'
            )
        samples = self._samples_of_process()
        order = np.empty(len(samples), np.int64)
        kept = np.empty(len(samples), bool)
        workers = worker_of_position(len(samples), self.batch_size, self.num_workers)
        # NumPy does not distinguish (seed, epoch, 0) from (seed, epoch).
        rng = np.random.default_rng((self.seed % 2**64, self.epoch, 1 + self.rank))
        first = 0
        for worker in range(max(1, self.num_workers)):
            positions = np.flatnonzero(workers == worker)
            part = samples[first : first + len(positions)]
            part = part[self._mixing_order(self.images[part], rng)]
            order[positions], kept[positions] = part, ~is_last(self.images[part])
            first += len(positions)
        return order, kept

    def _samples_of_process(self) -> np.ndarray:
        """Return the samples of this process, image after image, in random order of the images."""
        rng = np.random.default_rng((self.seed % 2**64, self.epoch))
        place_of_image = rng.random(self.images.max(initial=0) + 1)[self.images]
        samples = np.argsort(place_of_image, kind='stable')
        # The first `larger` processes have one sample more than the others.
        share, larger = divmod(self.total_size, self.world_size)
        start = self.rank * share + min(self.rank, larger)
        return np.resize(samples, self.total_size)[start : start + self.num_samples]

    def _mixing_order(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sort the samples of a worker by random times, so that only few images are in use.

        The times of the samples of an image are evenly spaced in an interval of constant length.
        For the images with several samples, the starts of the intervals are evenly spaced, too, so
        that at most `window` of them overlap.

        Args:
            images: Numbers of the images, image after image.
            rng: Source of random numbers.

        Returns:
            Indices into `images`.
        """
        starts = np.flatnonzero(np.diff(images, prepend=-1))
        counts = np.diff(starts, append=len(images))
        has_several = counts > 1
        number = has_several.sum()
        window = max(1, self.window // max(1, self.num_workers))
        length = 1.0 if window >= number else window / (number + window)
        begin = rng.random(len(starts))
        begin[has_several] = (np.arange(number) + rng.random()) / max(1, number)
        # A random order within each image:
        image_of_sample = np.repeat(np.arange(len(starts)), counts)
        place = np.empty(len(images), np.int64)
        place[np.lexsort((rng.random(len(images)), image_of_sample))] = np.arange(len(images))
        step = (place - np.repeat(starts, counts) + np.repeat(rng.random(len(starts)), counts)) / (
            np.repeat(counts, counts)
        )
        time = (1 - length) * np.repeat(begin, counts) + length * step
        return np.argsort(time, kind='stable')


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
        dataset: See `ImageGroupedSampler`.

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
