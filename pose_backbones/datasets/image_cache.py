"""Keep decoded images between the samples of one data worker.

`ImageGroupedSampler` (training) and `ImageOrderedSampler` (evaluation) mark the samples whose image
is needed again with `KeptIndex`. A loader that `engine.seeded_loading.seed_loader` has prepared
loads each sample in `ImageCache.loading`, in which `LoadImage` reads its image with `read_cached`.
Elsewhere, `read_cached` does not cache.
"""

import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import numpy as np


class KeptIndex(int):
    """Index of a sample after which the same worker loads another sample of the same image."""


class ImageCache:
    """Decoded images of one process, until their last sample is loaded.

    Images that would exceed the limit are not kept, so they are decoded again.

    Args:
        max_bytes: Limit on the memory of the images.
        advice: How to avoid that images exceed the limit, for the warning.
        copy: Whether each sample gets a copy that it may modify; otherwise, the samples of an image
            share an array that is not writable.

    Attributes:
        num_bytes: Memory of the images that are kept.
        peak: Maximum of `num_bytes` so far.
    """

    def __init__(self, max_bytes: float, advice: str = '', copy: bool = True) -> None:
        self.max_bytes = max_bytes
        self.advice = advice
        self.copy = copy
        self._epoch: int | None = None
        self.clear()
        self.peak = 0

    def __len__(self) -> int:
        return len(self._images)

    def clear(self) -> None:
        """Remove all images."""
        self._images: dict[Hashable, np.ndarray] = {}
        self.num_bytes = 0

    def start_epoch(self, epoch: int) -> None:
        """Remove the images of an earlier epoch, which may not have been completed.

        Args:
            epoch: Index of the epoch of the next samples.
        """
        if epoch != self._epoch:
            self.clear()
            self._epoch = epoch

    @contextmanager
    def loading(self, index: int) -> Iterator[None]:
        """Use the cache for the image of a sample within a `with` statement.

        Only the first image is cached: further images, which transforms such as mosaic load, belong
        to other samples.

        Args:
            index: Index of the sample; a `KeptIndex` if its image is needed again.
        """
        global _request
        _request = self, isinstance(index, KeptIndex)
        try:
            yield
        finally:
            _request = None

    def read(
        self, key: Hashable, read: Callable[[], np.ndarray | None], keep: bool
    ) -> np.ndarray | None:
        """Return an image, which the caller may modify if the cache makes copies.

        Args:
            key: Identifies the image.
            read: Reads and decodes the image; not called if the image is in the cache.
            keep: Whether the image is needed again.

        Returns:
            The image, or what `read` returns.
        """
        image = self._images.get(key)
        if image is None:
            image = read()
            if not keep or image is None or not self._keep(key, image):
                return image
            image.flags.writeable = self.copy
        if keep:
            return image.copy() if self.copy else image
        self.num_bytes -= image.nbytes
        return self._images.pop(key)

    def _keep(self, key: Hashable, image: np.ndarray) -> bool:
        """Add an image, and return whether it is within the limit."""
        if self.num_bytes + image.nbytes > self.max_bytes:
            warnings.warn(
                f'the cache of decoded images is full: a data worker may use '
                f'{self.max_bytes / 2**20:.0f} MiB, and images beyond that are decoded several '
                f'times per epoch; {self.advice}',
                stacklevel=2,
            )
            return False
        self._images[key] = image
        self.num_bytes += image.nbytes
        self.peak = max(self.peak, self.num_bytes)
        return True


#: the cache for the sample that is being loaded, and whether its image is needed again
_request: tuple[ImageCache, bool] | None = None


def read_cached(key: Hashable, read: Callable[[], np.ndarray | None]) -> np.ndarray | None:
    """Return the image of the sample that is being loaded, from the cache if there is one.

    Args:
        key: Identifies the image.
        read: Reads and decodes the image.

    Returns:
        An image that the caller may modify, unless the cache is one without copies, or what `read`
        returns.
    """
    global _request
    if _request is None:
        return read()
    cache, keep = _request
    _request = None
    return cache.read(key, read, keep)
