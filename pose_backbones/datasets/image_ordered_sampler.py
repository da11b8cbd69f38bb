"""Sampler with which an evaluation decodes an image once for all its boxes."""

from collections.abc import Iterable, Iterator, Sized
from functools import cached_property

import numpy as np
from mmpose.datasets import transforms as mmpose_transforms

from ..errors import ConfigError
from ..registry import DATA_SAMPLERS
from .image_sampler import ImageSampler, image_numbers, is_last, mark_kept, worker_of_position
from .transforms.loading import LoadImage
from .transforms.mmpose_transforms import TopdownAffine

#: transforms that do not write into the image
_READERS = (LoadImage, mmpose_transforms.GetBBoxCenterScale, mmpose_transforms.KeypointConverter)
#: transforms that replace the image by a crop
_CROPS = (mmpose_transforms.TopdownAffine, TopdownAffine)


@DATA_SAMPLERS.register_module()
class ImageOrderedSampler(ImageSampler):
    """Load the samples of an evaluation image after image.

    In top-down evaluation, a sample is a box, and COCO's person detections have 21 boxes per image.
    `DefaultSampler` decodes an image anew for each of them. With this sampler, a data worker keeps
    a decoded image (`ImageCache`) while it loads further boxes of it.

    - Without `group`, order and processes of the samples are those of `DefaultSampler`.
    - With `group`, the boxes of an image follow each other, and each process has other images. The
      order does not change for one process and a file whose boxes are already grouped by image. The
      results have to be sorted by `positions` afterwards, as `engine.grouped_evaluation` does.
    - An image whose boxes are in several batches is decoded by each of the data workers that load
      them.

    The pipeline has to read images with `pose_backbones.LoadImage`, and the loader has to be
    prepared with `engine.seeded_loading.seed_loader`. If that is not so, or if no image has several
    samples, the sampler is equal to `DefaultSampler`.

    Args:
        dataset: The dataset.
        shuffle: False; other values are not supported.
        seed: Not used; for MMEngine, which sets the seed of all samplers.
        round_up: Whether to repeat samples so that all processes have the same number.
        cache_mb: Limit on the memory of the kept images per process, in MiB. Images that exceed it
            are decoded several times. With `group`, a data worker keeps one image at a time.

    Attributes:
        group: Whether the samples are sorted by image; may be changed between epochs.

    Raises:
        TypeError, ValueError: If an argument has a wrong type or is out of range.
    """

    advice = 'increase eval_cache_mb in the config'

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = False,
        seed: int | None = None,
        round_up: bool = True,
        cache_mb: float = 512,
    ) -> None:
        if shuffle is not False:
            raise ValueError(
                f'shuffle is {shuffle!r}: expected False; for training, use ImageGroupedSampler'
            )
        super().__init__(dataset, shuffle, seed, round_up, cache_mb)
        self.group = False
        self.copies = not _only_crops(dataset)

    @cached_property
    def images(self) -> np.ndarray | None:
        """Number of the image of each sample; None if nothing can be shared."""
        try:
            images = image_numbers(self.dataset)
        except ConfigError:
            return None
        return images if images.max() + 1 < len(images) else None

    @property
    def positions(self) -> np.ndarray:
        """Positions of the samples of this process in the order of `DefaultSampler`, as loaded.

        The samples of all processes of `DefaultSampler`, taken in turn, have the positions 0 to
        `total_size - 1`; position `p` is the sample `p % len(dataset)`.
        """
        everything = np.arange(self.total_size)
        if self.images is None or not self.group:
            return everything[self.rank :: self.world_size]
        images = self.images[everything % len(self.dataset)]
        _, first, image = np.unique(images, return_index=True, return_inverse=True)
        order = np.argsort(first[image], kind='stable')
        # The first processes have one sample more than the others, as with DefaultSampler.
        return np.array_split(order, self.world_size)[self.rank]

    def __iter__(self) -> Iterator[int]:
        """Return the indices of the process; those whose image is needed again are `KeptIndex`."""
        order = self.positions % len(self.dataset)
        kept = np.zeros(len(order), bool)
        if self.images is not None and self.batch_size is not None:
            workers = worker_of_position(len(order), self.batch_size, self.num_workers)
            for worker in range(max(1, self.num_workers)):
                part = workers == worker
                kept[part] = ~is_last(self.images[order[part]])
        return iter(mark_kept(order, kept))


def _only_crops(dataset, following: Iterable = ()) -> bool:
    """Return whether no transform writes into the image before it is cropped.

    Args:
        dataset: A dataset, or a wrapper of several datasets.
        following: Transforms of the wrapper.
    """
    transforms = [*getattr(getattr(dataset, 'pipeline', None), 'transforms', ()), *following]
    if hasattr(dataset, 'datasets'):
        return all(_only_crops(part, transforms) for part in dataset.datasets)
    for transform in transforms:
        if type(transform) in _CROPS:
            return True
        if type(transform) not in _READERS:
            return False
    return False
