"""Sampler with which an image of several people is decoded once per epoch."""

from collections.abc import Iterator, Sized

import numpy as np

from ..errors import ConfigError
from ..registry import DATA_SAMPLERS
from ..utils.arguments import check_positive_int
from .image_sampler import ImageSampler, image_numbers, is_last, mark_kept, worker_of_position


@DATA_SAMPLERS.register_module()
class ImageGroupedSampler(ImageSampler):
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

    advice = 'increase cache_mb of ImageGroupedSampler, or reduce window'

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
        super().__init__(dataset, shuffle, seed, round_up, cache_mb)
        self.window = window
        #: number of the image of each sample
        self.images = image_numbers(dataset)

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
        if self.batch_size is None:
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
