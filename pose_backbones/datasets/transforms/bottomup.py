"""Transforms for bottom-up models: targets of all people, random affine, test scales."""

from collections.abc import Sequence
from math import ceil, cos, radians, sin

import cv2
import numpy as np
import xtcocotools.mask as run_lengths
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import PackPoseInputs
from mmpose.datasets.transforms.formatting import image_to_tensor

from ...errors import DatasetError
from ...registry import TRANSFORMS
from ...utils.arguments import check_ints, check_number, check_positive_int, check_positive_numbers

#: maximum side of an image that OpenCV can write
_MAX_SIDE = 32766


@TRANSFORMS.register_module()
class GetPeople(BaseTransform):
    """Add the size and area of each person, and the mask of the labelled part of the image.

    Uses `img_shape` and the fields that MMPose's datasets provide in bottom-up mode: `keypoints`
    (n, K, 2), `keypoints_visible` (n, K) and `raw_ann_info`, a list of n annotations. Must come
    before flips and affine transforms. Adds or replaces

    - `area` (n,): the annotated area, else the area of the box, in square pixels;
    - `sizes` (n,): the square root of width x height of the extent of the labelled keypoints, or of
      the box if that is 0;
    - `img_mask` (H, W, uint8): 0 on crowds and on people without a labelled keypoint, if their
      annotations have a segmentation, else 255. MMPose's `RandomFlip` flips it with the image.

    An image without people gets arrays of length 0, with K from `flip_indices`.

    Source: https://github.com/CR320/ConvNeXtPose

    Deviations: MMPose's `BottomupGetHeatmapMask` ignores crowds (their segmentation is a dict of
    run lengths), and MMPose sets a missing area to 0.53 times the area of the box, clipped to the
    image.
    """

    def transform(self, results: dict) -> dict:
        """Add the arrays.

        Raises:
            DatasetError: If a segmentation belongs to another image size.
        """
        people = results.get('raw_ann_info') or []
        if not people:
            count = len(results['flip_indices'])
            results.update(
                keypoints=np.zeros((0, count, 2), np.float32),
                keypoints_visible=np.zeros((0, count), np.float32),
                bbox=np.zeros((0, 4), np.float32),
                bbox_score=np.zeros(0, np.float32),
            )
        visible = results['keypoints_visible']
        visible = (visible[..., 0] if visible.ndim == 3 else visible) > 0
        boxes = [float(np.prod(person['bbox'][2:])) for person in people]
        sizes = np.sqrt(_extent_areas(results['keypoints'], visible))
        results['sizes'] = np.where(sizes > 0, sizes, np.sqrt(boxes)).astype(np.float32)
        results['area'] = np.array(
            [person.get('area', box) for person, box in zip(people, boxes, strict=True)], np.float32
        )
        results['img_mask'] = _valid_mask(people, results)
        return results


def _extent_areas(keypoints: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Compute width x height (n,) of the extent of the visible keypoints (n, K, 2)."""
    shown = visible[..., None]
    if not shown.any():
        return np.zeros(len(keypoints))
    extent = np.where(shown, keypoints, -np.inf).max(1) - np.where(shown, keypoints, np.inf).min(1)
    return np.where(visible.any(1), np.prod(np.where(np.isfinite(extent), extent, 0), axis=1), 0)


def _valid_mask(people: list[dict], results: dict) -> np.ndarray:
    """Compute `img_mask` of `GetPeople`."""
    shape = tuple(results['img_shape'][:2])
    parts = []
    for person in people:
        outline = person.get('segmentation')
        labelled = any(v > 0 for v in person['keypoints'][2::3])
        if not outline or (labelled and not person.get('iscrowd')):
            continue
        if isinstance(outline, dict) and tuple(outline['size']) != shape:
            raise DatasetError(
                f'{results.get("img_path")} is {shape[1]}x{shape[0]} pixels '
                f'(width x height), but the segmentation of annotation '
                f'{person.get("id")} is for an image of '
                f'{outline["size"][1]}x{outline["size"][0]}'
            )
        if not isinstance(outline, dict) or isinstance(outline['counts'], list):
            outline = run_lengths.frPyObjects(outline, *shape)
        parts += outline if isinstance(outline, list) else [outline]
    if not parts:
        return np.full(shape, 255, np.uint8)
    return 255 * (1 - run_lengths.decode(run_lengths.merge(parts)))


@TRANSFORMS.register_module()
class RandomAffine(BaseTransform):
    """Crop a randomly scaled, rotated and shifted rectangle of an image with all its people.

    Uses `img`, `img_shape` and, from `GetPeople`, `img_mask` (H, W, uint8), `keypoints` (n, K, 2),
    `area` (n,), `sizes` (n,), `bbox` (n, 4; x1, y1, x2, y2). Must come after the flip, because
    MMPose's `RandomFlip` takes `input_size` for the size of the image. Converts `img`, `img_shape`,
    keypoints, boxes (to the box around the rotated box), areas and sizes to the input; adds
    `input_size` (w, h), `warp_mat` (2, 3) and `heatmap_mask` (1, h, w, bool), which is False for
    unlabelled parts and outside the image; removes `img_mask`.

    Source: https://github.com/CR320/ConvNeXtPose

    Deviations: the shift is a real number; in the original it is a whole number of pixels (and
    always 0 for an image of a few pixels).

    Args:
        input_size: Width and height of the input of the model.
        heatmap_size: Width and height of the mask, with the same aspect ratio.
        scale_factor: Minimum and maximum size of the crop, relative to the largest crop inside the
            image (`'short'`) or the smallest crop around the image (`'long'`), with the aspect
            ratio of the input.
        scale_type: `'short'` or `'long'`.
        rotate_factor: Maximum angle in degrees, in both directions.
        shift_factor: Maximum shift of the centre of the crop along an axis, relative to the side of
            the image times the sampled scale.

    Raises:
        TypeError, ValueError: If an argument has a wrong type or is out of range.
    """

    def __init__(
        self,
        input_size: Sequence[int],
        heatmap_size: Sequence[int],
        scale_factor: Sequence[float] = (0.75, 1.5),
        scale_type: str = 'short',
        rotate_factor: float = 30.0,
        shift_factor: float = 0.2,
    ):
        for name, size in (('input_size', input_size), ('heatmap_size', heatmap_size)):
            check_positive_numbers(name, size, 2, 'width and height')
        ratio = np.divide(input_size, heatmap_size)
        if ratio[0] != ratio[1]:
            raise ValueError(
                f'heatmap_size is {heatmap_size!r}: expected the shape of input_size={input_size!r}'
            )
        check_positive_numbers('scale_factor', scale_factor, 2, 'the minimum and the maximum')
        if scale_factor[0] > scale_factor[1]:
            raise ValueError(
                f'scale_factor is {scale_factor!r}: expected the minimum and '
                'the maximum, in this order'
            )
        if scale_type not in ('short', 'long'):
            raise ValueError(f"scale_type is {scale_type!r}: expected 'short' or 'long'")
        for name, value in (('rotate_factor', rotate_factor), ('shift_factor', shift_factor)):
            check_number(name, value, 'a number of at least 0')
            if value < 0:
                raise ValueError(f'{name} is {value!r}: expected a number of at least 0')
        self.input_size, self.heatmap_size = input_size, heatmap_size
        self.scale_factor, self.scale_type = scale_factor, scale_type
        self.rotate_factor, self.shift_factor = rotate_factor, shift_factor
        self._stride = float(ratio[0])

    def _matrix(self, image_size: np.ndarray) -> np.ndarray:
        """Sample the transform (2, 3) from an image (w, h) to the input."""
        size = image_size * np.random.uniform(*self.scale_factor)
        angle = np.random.uniform(-1, 1) * self.rotate_factor
        shift = np.random.uniform(-1, 1, 2) * self.shift_factor * size
        choose = np.max if self.scale_type == 'short' else np.min
        factor = choose(np.divide(self.input_size, size))
        return affine_matrix(image_size / 2 + shift, factor, angle, self.input_size)

    def transform(self, results: dict) -> dict:
        """Sample a crop and apply it."""
        matrix = self._matrix(np.array(results['img_shape'][1::-1], float))
        results['img'] = cv2.warpAffine(results['img'], matrix, tuple(map(int, self.input_size)))
        mask = cv2.warpAffine(
            results.pop('img_mask'), matrix / self._stride, tuple(map(int, self.heatmap_size))
        )
        results['heatmap_mask'] = mask[None] > 127
        results['keypoints'] = _transform_points(results['keypoints'], matrix)
        corners = _transform_points(results['bbox'][:, [[0, 1], [2, 1], [2, 3], [0, 3]]], matrix)
        results['bbox'] = np.concatenate((corners.min(1), corners.max(1)), 1)
        factor = np.float32(np.linalg.det(matrix[:, :2]))
        results['area'] = results['area'] * factor
        results['sizes'] = results['sizes'] * np.sqrt(factor)
        results.update(
            img_shape=tuple(self.input_size[::-1]),
            warp_mat=matrix,
            input_size=tuple(self.input_size),
        )
        return results


def affine_matrix(
    center: np.ndarray, factor: float, angle: float, size: Sequence[float]
) -> np.ndarray:
    """Compute the transform that rotates and scales an image around a point.

    Args:
        center: (2,) x, y of the point that becomes the centre of the result.
        factor: Scale factor.
        angle: In degrees, anticlockwise as displayed.
        size: Width and height of the result.

    Returns:
        (2, 3) float64, from pixels of the image to those of the result.
    """
    turn = factor * np.array(
        ((cos(radians(angle)), sin(radians(angle))), (-sin(radians(angle)), cos(radians(angle))))
    )
    offset = np.asarray(size) / 2 - turn @ np.asarray(center)
    return np.concatenate((turn, offset[:, None]), 1)


def _transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a transform (2, 3) to points (…, 2); returns float32."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


@TRANSFORMS.register_module()
class ResizeAlign(BaseTransform):
    """Resize an image to a given shorter side, and optionally to further scales.

    The longer side is rounded up, so that both sides are multiples of `size_divisor`; the remaining
    pixels on both sides are black. A further size is exactly the first size times a factor, and is
    resized from the original image.

    Replaces `img` by the image of the first size or, with several scales, by a list, and
    `img_shape` by the first size; adds `input_size` (w, h), `input_center` (2,) and `input_scale`
    (2,), with which MMPose's estimators convert keypoints back to the image, and `scale_factors`.

    Source: https://github.com/CR320/ConvNeXtPose

    Args:
        short_side: Shorter side of the input in pixels; rounded up as well.
        size_divisor: The sides are multiples of this number.
        scale_factors: Factors of the input size; the first is 1.
        max_pixels: Maximum number of pixels of an input; None: unlimited.

    Raises:
        TypeError, ValueError: If an argument has a wrong type or is out of range.
    """

    def __init__(
        self,
        short_side: int,
        size_divisor: int = 64,
        scale_factors: Sequence[float] = (1.0,),
        max_pixels: int | None = None,
    ):
        check_positive_int('short_side', short_side)
        check_positive_int('size_divisor', size_divisor)
        check_scale_factors(scale_factors)
        if max_pixels is not None:
            check_positive_int('max_pixels', max_pixels)
        self.short_side = ceil(short_side / size_divisor) * size_divisor
        self.size_divisor = size_divisor
        self.scale_factors = tuple(scale_factors)
        self.max_pixels = max_pixels

    def transform(self, results: dict) -> dict:
        """Resize the image.

        Raises:
            DatasetError: If the result would exceed `max_pixels` or the limit of OpenCV.
        """
        image = results['img']
        size = np.array(image.shape[1::-1])
        self.check_size(size, results.get('img_path'))
        shorter = size.min()
        sides = self._sides(size)
        # Python's round, half to even, as in the original.
        center = np.array([round(side / 2) for side in size.tolist()], float)
        levels = self._levels(sides)
        images = [
            cv2.warpAffine(
                image, affine_matrix(center, level[size.argmin()] / shorter, 0, level), level
            )
            for level in levels
        ]
        results.update(
            img=images if len(images) > 1 else images[0],
            img_shape=levels[0][::-1],
            input_size=levels[0],
            input_center=center,
            input_scale=sides * (shorter / self.short_side),
            scale_factors=self.scale_factors,
        )
        return results

    def _sides(self, size: np.ndarray) -> np.ndarray:
        """Return width and height (2,) of the input for an image of the given size."""
        sides = (
            np.ceil(size * (self.short_side / size.min()) / self.size_divisor).astype(int)
            * self.size_divisor
        )
        sides[size.argmin()] = self.short_side
        return sides

    def _levels(self, sides: np.ndarray) -> list[tuple[int, int]]:
        """Return width and height at each scale."""
        return [
            tuple(int(side * factor) for side in sides.tolist()) for factor in self.scale_factors
        ]

    def check_size(self, size: Sequence[int], path: str | None) -> None:
        """Check that an image does not become too large.

        Args:
            size: Width and height of the image in pixels.
            path: Path of its file, for the message.

        Raises:
            DatasetError: If it does. The message contains both sizes and the limit.
        """
        limit = self.max_pixels
        for level in self._levels(self._sides(np.array(size))):
            if max(level) > _MAX_SIDE:
                reason = f'OpenCV supports sides of up to {_MAX_SIDE}'
            elif limit is not None and level[0] * level[1] > limit:
                reason = (
                    f'{level[0] * level[1]} pixels are more than '
                    f'max_pixels={limit}, the limit on memory'
                )
            else:
                continue
            raise DatasetError(
                f'the image {path or "given"} of {size[0]}x{size[1]} pixels '
                f'(width x height) would be resized to {level[0]}x{level[1]} '
                f'for a shorter side of {self.short_side} and scale factors '
                f'{self.scale_factors}: {reason}. Remove it from the data, '
                'or set another short_side or max_pixels (ResizeAlign)'
            )


@TRANSFORMS.register_module()
class ResizePad(BaseTransform):
    """Resize an image so that it fits into a fixed size, with black borders on both sides.

    Replaces `img` and `img_shape`; adds `input_size` (w, h), `input_center` (2,), `input_scale`
    (2,) and `scale_factors`, see `ResizeAlign`.

    Args:
        input_size: Width and height of the result.

    Raises:
        TypeError, ValueError: If `input_size` is invalid.
    """

    def __init__(self, input_size: Sequence[int]):
        check_ints('input_size', input_size, 2, each='width and height')
        self.input_size = tuple(input_size)

    def transform(self, results: dict) -> dict:
        """Resize the image."""
        image = results['img']
        size = np.array(image.shape[1::-1])
        factor = np.divide(self.input_size, size).min()
        results.update(
            img=cv2.warpAffine(
                image, affine_matrix(size / 2, factor, 0, self.input_size), self.input_size
            ),
            img_shape=self.input_size[::-1],
            input_size=self.input_size,
            input_center=size / 2,
            input_scale=self.input_size / factor,
            scale_factors=(1.0,),
        )
        return results


def check_scale_factors(factors: Sequence[float]) -> None:
    """Check the scale factors of a test, of which the first must be 1.

    Args:
        factors: Factors of the input size.

    Raises:
        TypeError, ValueError: If they are invalid. The message contains the factors and the
            expected values.
    """
    message = (
        f'scale_factors is {factors!r}: expected positive numbers of '
        'which the first is 1, such as (1, 0.75, 1.25)'
    )
    if (
        not isinstance(factors, Sequence)
        or isinstance(factors, str)
        or any(isinstance(f, bool) or not isinstance(f, (int, float)) for f in factors)
    ):
        raise TypeError(message)
    if not factors or factors[0] != 1 or not all(0 < f < float('inf') for f in factors):
        raise ValueError(message)


@TRANSFORMS.register_module()
class PackBottomupInputs(PackPoseInputs):
    """Pack an image with all its people, at one scale or several.

    Differences from MMPose's `PackPoseInputs`: images of several scales become a list of tensors,
    and the default meta keys contain `scale_factors`, but not `category_id`, a list with an entry
    per person, which `CocoMetric` would write into every prediction.

    Args:
        meta_keys: Keys of the results that the data sample keeps.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            'id',
            'img_id',
            'img_path',
            'crowd_index',
            'ori_shape',
            'img_shape',
            'input_size',
            'input_center',
            'input_scale',
            'scale_factors',
            'flip',
            'flip_direction',
            'flip_indices',
            'raw_ann_info',
            'dataset_name',
        ),
    ):
        super().__init__(meta_keys=tuple(meta_keys))

    def transform(self, results: dict) -> dict:
        """Pack the images and the labels."""
        images = results['img']
        if not isinstance(images, list):
            return super().transform(results)
        packed = super().transform({**results, 'img': images[0]})
        packed['inputs'] = [image_to_tensor(image) for image in images]
        return packed
