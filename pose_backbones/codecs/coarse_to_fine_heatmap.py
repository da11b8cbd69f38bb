"""Codec of MSPN: heatmaps with several kernel sizes."""

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from mmpose.codecs import MegviiHeatmap

from ..registry import KEYPOINT_CODECS

#: value of a map at a keypoint
PEAK = 255.0
#: score of a keypoint whose map is 0
MIN_SCORE = 0.5
#: width of the zero padding of a map that is smoothed, in cells
BORDER = 10
_MAX_CHANNELS = 128  # of an image in OpenCV 5; 512 in OpenCV 4


@KEYPOINT_CODECS.register_module()
class CoarseToFineHeatmap(MegviiHeatmap):
    """Encode a person as heatmaps, one for each keypoint and kernel size, and decode them.

    A target is 1 in the cell of the keypoint, smoothed by a Gaussian kernel and scaled to a peak of
    255. A map is decoded by smoothing it and moving from its peak a quarter of a cell towards the
    second highest cell; the score is value / 255 + 0.5 of the unsmoothed map at this position.

    Paper: https://arxiv.org/abs/1901.00148. Source:
    https://github.com/megvii-research/MSPN.

    Deviations from MMPose's `MegviiHeatmap`: all kernels are encoded at once; the peak is 255 also
    near the border of the map; maps are decoded as in the original code (MMPose takes the direction
    from the signs of differences of neighbours, and the score from the smoothed map).

    Args:
        input_size: Width and height of the image.
        heatmap_size: Width and height of the maps.
        kernel_sizes: Sides of the kernels in cells, odd, the widest first.
        blur_kernel_size: Side of the kernel that smooths a map before it is
            decoded: 5 for COCO, 9 for MPII.

    Raises:
        ValueError: For sizes that are not odd, or not in decreasing order.
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
        """Encode one person.

        Args:
            keypoints: (1, K, 2), x and y in pixels of the input.
            keypoints_visible: (1, K): 0 for unlabelled, 0.5 for occluded, and 1 for visible
                keypoints; None: all are visible.

        Returns:
            `heatmaps` (L * K, height, width), the K maps of the first of L kernels first;
            `keypoint_weights` (1, K), the visibility, 0 for keypoints outside the input.

        Raises:
            ValueError: If there are several people.
        """
        if len(keypoints) != 1:
            raise ValueError(f'keypoints are of {len(keypoints)} people: expected one person')
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
                smoothed_cells(length, kernel)[cells[:, axis]]
                for axis, length in enumerate((width, height))
            )
            level[drawn] = PEAK * y[:, :, None] * x[:, None, :]
        return dict(heatmaps=maps.reshape(-1, height, width), keypoint_weights=weights)

    def decode(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode the keypoints of one person.

        Args:
            encoded: (K, height, width), maps of the network.

        Returns:
            Keypoints (1, K, 2), x and y in pixels of the input, and scores (1, K), 0.5 to 1.5 for
            values from 0 to 255. Both are NaN for a map that contains NaN or infinity.
        """
        count, height, width = encoded.shape
        maps = np.pad(
            encoded.astype(np.float64).transpose(1, 2, 0),
            ((BORDER, BORDER), (BORDER, BORDER), (0, 0)),
        )
        maps = np.concatenate(
            [
                np.atleast_3d(
                    cv2.GaussianBlur(
                        maps[..., start : start + _MAX_CHANNELS],
                        (self.blur_kernel_size, self.blur_kernel_size),
                        0,
                    )
                )
                for start in range(0, count, _MAX_CHANNELS)
            ],
            axis=-1,
        )
        span, flat = maps.shape[1], maps.reshape(-1, count)
        first, second = _two_peaks(flat)
        peak, second_peak = (
            np.stack((index % span, index // span), -1) - BORDER for index in (first, second)
        )
        direction = (second_peak - peak).astype(float)
        # In a map of zeros both peaks are the same cell.
        direction /= np.linalg.norm(direction, axis=-1).clip(min=1)[:, None]
        cells = peak + 0.25 * direction
        cells = cells.clip(0, (width - 1, height - 1))
        x, y = np.round(cells).astype(int).T
        values = encoded[np.arange(count), y, x].astype(np.float64)
        points = (cells + 0.5) * self.scale_factor
        # Smoothing spreads a NaN, and the peak may then be at a cell with another value.
        is_finite = np.isfinite(encoded).all((1, 2))
        points[~is_finite] = values[~is_finite] = np.nan
        return points[None], values[None] / PEAK + MIN_SCORE


def _check_kernels(name: str, sizes: Sequence[int]) -> None:
    if not sizes or any(not isinstance(size, int) or size < 1 or size % 2 == 0 for size in sizes):
        shown = tuple(sizes) if len(sizes) != 1 else sizes[0]
        raise ValueError(f'{name} is {shown!r}: expected odd numbers of cells, such as 5')


@functools.cache
def smoothed_cells(length: int, kernel: int) -> np.ndarray:
    """Smooth a one at each cell and scale it to a peak of 1: (cell, length), read-only."""
    bumps = cv2.GaussianBlur(np.eye(length, dtype=np.float32), (kernel, 1), 0)
    bumps /= bumps.max(-1, keepdims=True)
    bumps.flags.writeable = False
    return bumps


def _two_peaks(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the indices of the highest and second highest value of each column.

    The highest value is set to 0 in place.
    """
    columns = np.arange(flat.shape[1])
    first = flat.argmax(0)
    flat[first, columns] = 0
    return first, flat.argmax(0)
