"""MSPN's heat maps: targets of several widths, and their decoding."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmpose.codecs import MegviiHeatmap

from ..registry import KEYPOINT_CODECS

#: values of a map where it is sure of a keypoint
PEAK = 255.0
#: a score is this at a value of 0
_SCORE_OF_NOTHING = 0.5
#: zeros around a map when it is smoothed, in cells
_BORDER = 10


@KEYPOINT_CODECS.register_module()
class CoarseToFineHeatmap(MegviiHeatmap):
    """Heat maps of MSPN, one for each keypoint and kernel size.

    A target is 1 in the cell of the keypoint, smoothed by a Gaussian
    kernel and scaled to a peak of 255. A map is decoded by smoothing it and
    moving from its peak a quarter of a cell towards the second highest
    cell; the score is value / 255 + .5 of the map itself at that place.

    Paper: https://arxiv.org/abs/1901.00148. Source:
    https://github.com/megvii-research/MSPN.

    Deviations from MMPose's `MegviiHeatmap`: all kernels at once; near the
    border of the map the peak is 255, too; decoding is the original's (there
    the direction comes from the neighbours' signs, and the score from the
    smoothed map).

    Args:
        input_size: Width and height of the image.
        heatmap_size: Width and height of the maps.
        kernel_sizes: Sides of the kernels in cells, odd, the widest first.
        blur_kernel_size: Side of the kernel that smooths a map before it is
            decoded: 5 for COCO, 9 for MPII.

    Raises:
        ValueError: For sizes that cannot be.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        kernel_sizes: Sequence[int] = (15, 11, 9, 7, 5),
        blur_kernel_size: int = 5,
    ):
        _check_kernels('kernel_sizes', kernel_sizes)
        _check_kernels('blur_kernel_size', (blur_kernel_size,))
        if list(kernel_sizes) != sorted(set(kernel_sizes), reverse=True):
            raise ValueError(
                f'kernel_sizes is {tuple(kernel_sizes)}: expected different sizes, the widest first'
            )
        super().__init__(tuple(input_size), tuple(heatmap_size), blur_kernel_size)
        self.kernel_sizes = tuple(kernel_sizes)
        self.blur_kernel_size = blur_kernel_size

    def encode(self, keypoints: np.ndarray, keypoints_visible: np.ndarray | None = None) -> dict:
        """Make the targets of one person.

        Args:
            keypoints: (1, K, 2), x and y in pixels of the input.
            keypoints_visible: (1, K): 0 for what is not labelled, 1/2 for
                hidden, 1 for visible keypoints; None: all visible.

        Returns:
            `heatmaps` (L * K, height, width), those of the first of L
            kernels first; `keypoint_weights` (1, K), the visibility, 0 for
            keypoints outside of the input.

        Raises:
            ValueError: For several people.
        """
        if len(keypoints) != 1:
            raise ValueError(f'keypoints are of {len(keypoints)} people: expected one')
        count = keypoints.shape[1]
        weights = (
            np.ones((1, count)) if keypoints_visible is None else np.array(keypoints_visible)
        ).astype(np.float32)
        points, size = keypoints[0], np.array(self.input_size)
        inside = ((points >= 0) & (points <= size - 1)).all(-1)
        weights[0, ~inside] = 0
        (drawn,) = np.nonzero(weights[0])
        cells = (points[drawn] * self.heatmap_size / size).astype(int)
        width, height = self.heatmap_size
        maps = np.zeros((len(self.kernel_sizes), count, height, width), np.float32)
        for level, kernel in zip(maps, self.kernel_sizes):
            # A Gaussian kernel is a product of one along x and one along y.
            x, y = (
                _bumps(cells[:, axis], length, kernel)
                for axis, length in enumerate((width, height))
            )
            level[drawn] = PEAK * y[:, :, None] * x[:, None, :]
        return dict(heatmaps=maps.reshape(-1, height, width), keypoint_weights=weights)

    def decode(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the keypoints of one person.

        Args:
            encoded: (K, height, width), maps of the network.

        Returns:
            Keypoints (1, K, 2), x and y in pixels of the input, and scores
            (1, K), .5 and 1 for values of 0 and 255.
        """
        count, height, width = encoded.shape
        maps = np.pad(
            encoded.astype(np.float64).transpose(1, 2, 0),
            ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)),
        )
        # OpenCV takes up to 512 channels at once.
        maps = np.concatenate(
            [
                np.atleast_3d(
                    cv2.GaussianBlur(
                        maps[..., start : start + 512],
                        (self.blur_kernel_size, self.blur_kernel_size),
                        0,
                    )
                )
                for start in range(0, count, 512)
            ],
            axis=-1,
        )
        span, flat = maps.shape[1], maps.reshape(-1, count)
        first, second = _two_peaks(flat)
        peak, other = (
            np.stack((index % span, index // span), -1) - _BORDER for index in (first, second)
        )
        way = (other - peak).astype(float)
        # No way at all where nothing but the peak is above zero.
        way /= np.linalg.norm(way, axis=-1).clip(min=1)[:, None]
        cells = peak + 0.25 * way
        cells = cells.clip(0, (width - 1, height - 1))
        x, y = np.round(cells).astype(int).T
        values = encoded[np.arange(count), y, x].astype(np.float64)
        points = (cells + 0.5) * self.scale_factor
        return points[None], values[None] / PEAK + _SCORE_OF_NOTHING


def _check_kernels(name: str, sizes: Sequence[int]) -> None:
    if not sizes or any(not isinstance(size, int) or size < 1 or size % 2 == 0 for size in sizes):
        shown = tuple(sizes) if len(sizes) != 1 else sizes[0]
        raise ValueError(f'{name} is {shown!r}: expected odd numbers of cells, such as 5')


def _bumps(cells: np.ndarray, length: int, kernel: int) -> np.ndarray:
    """A smoothed one at each place, with a peak of 1: (n, length)."""
    ones = np.zeros((len(cells), length), np.float32)
    ones[np.arange(len(cells)), cells] = 1
    if len(ones):
        ones = cv2.GaussianBlur(ones, (kernel, 1), 0)
    return ones / ones.max(-1, keepdims=True)


def _two_peaks(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the highest and the second highest of each column; a peak
    counts as 0 when the second is looked for."""
    columns = np.arange(flat.shape[1])
    first = flat.argmax(0)
    flat[first, columns] = 0
    return first, flat.argmax(0)
