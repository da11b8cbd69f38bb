"""Images with all their people: sizes, masks, random affine, test scales."""

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
from ...utils.arguments import check_number, check_positive_int, check_positive_numbers

#: OpenCV writes no image with a longer side.
_MAX_SIDE = 32766


@TRANSFORMS.register_module()
class GetPeople(BaseTransform):
    """Add each person's size and area, and where the image is labelled.

    Takes `img_shape`, and what MMPose's data sets give of an image's people
    in bottom-up mode: `keypoints` (n, K, 2), `keypoints_visible` (n, K) and
    `raw_ann_info`, a list of n annotations. Belongs before flips and affine
    transforms. Adds or replaces

    - `area` (n,): the annotation's, else of its box, in image pixels;
    - `sizes` (n,): the square root of width x height of the labelled key
      points' extent; of the box, where that is 0;
    - `img_mask` (H, W, uint8): 0 on crowds and on people without a labelled
      key point, as far as their annotations have a segmentation, else 255.
      MMPose's `RandomFlip` flips it with the image.

    An image without people gets arrays of length 0; K is that of
    `flip_indices`, which MMPose's data sets give.

    Source: https://github.com/CR320/ConvNeXtPose

    Deviations: from MMPose, whose `BottomupGetHeatmapMask` leaves out crowds
    (their segmentation is a dict of run lengths), and whose areas of people
    without one are .53 of the box that is cut to the image.
    """

    def transform(self, results: dict) -> dict:
        """Add the arrays.

        Raises:
            DatasetError: If a segmentation is of another image size.
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
    """Width x height (n,) of the extent of the visible of (n, K, 2)."""
    shown = visible[..., None]
    if not shown.any():
        return np.zeros(len(keypoints))
    extent = np.where(shown, keypoints, -np.inf).max(1) - np.where(shown, keypoints, np.inf).min(1)
    return np.where(visible.any(1), np.prod(np.where(np.isfinite(extent), extent, 0), axis=1), 0)


def _valid_mask(people: list[dict], results: dict) -> np.ndarray:
    """255 where `GetPeople` says, else 0."""
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
                f'{person.get("id")} is of an image of '
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
    """Cut a random, rotated square or oblong out of an image with its people.

    Takes `img`, `img_shape` and, from `GetPeople`, `img_mask` (H, W, uint8),
    `keypoints` (n, K, 2), `area` (n,), `sizes` (n,), `bbox` (n, 4; x1, y1,
    x2, y2). Belongs after the flip: MMPose's `RandomFlip` takes `input_size`
    for height and width. Changes `img` to the input size, `img_shape`, the
    key points, boxes (that of the turned box), areas and sizes to pixels of
    the input; adds `input_size` (w, h), `warp_mat` (2, 3) and `heatmap_mask`
    (1, h, w, bool), which is False where nothing is labelled and outside the
    image; takes `img_mask` away.

    Source: https://github.com/CR320/ConvNeXtPose

    Deviations: the shift is any real number, where the original's is a whole
    number of pixels (and an image of a few pixels has none).

    Args:
        input_size: Width and height of the model's input.
        heatmap_size: Width and height of the mask, of the same shape.
        scale_factor: Least and greatest size of the cut, in units of the
            largest (`'short'`) cut of the input's shape inside the image, or
            the smallest (`'long'`) around it.
        scale_type: `'short'` or `'long'`.
        rotate_factor: Greatest angle in degrees, either way.
        shift_factor: Greatest shift of the cut's centre along an axis, in
            units of the image's side times the drawn scale.

    Raises:
        TypeError, ValueError: If an argument is none of these.
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
        check_positive_numbers('scale_factor', scale_factor, 2, 'the least and the greatest')
        if scale_factor[0] > scale_factor[1]:
            raise ValueError(
                f'scale_factor is {scale_factor!r}: expected the least and '
                'the greatest, in this order'
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
        """Draw the transform (2, 3) of an image (w, h) to the input."""
        size = image_size * np.random.uniform(*self.scale_factor)
        angle = np.random.uniform(-1, 1) * self.rotate_factor
        shift = np.random.uniform(-1, 1, 2) * self.shift_factor * size
        choose = np.max if self.scale_type == 'short' else np.min
        factor = choose(np.divide(self.input_size, size))
        return affine_matrix(image_size / 2 + shift, factor, angle, self.input_size)

    def transform(self, results: dict) -> dict:
        """Draw the cut and make it."""
        matrix = self._matrix(np.array(results['img_shape'][1::-1], float))
        results['img'] = cv2.warpAffine(results['img'], matrix, tuple(map(int, self.input_size)))
        mask = cv2.warpAffine(
            results.pop('img_mask'), matrix / self._stride, tuple(map(int, self.heatmap_size))
        )
        results['heatmap_mask'] = mask[None] > 127
        results['keypoints'] = _moved(results['keypoints'], matrix)
        corners = _moved(results['bbox'][:, [[0, 1], [2, 1], [2, 3], [0, 3]]], matrix)
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
    """The transform that turns and scales an image around a point.

    Args:
        center: (2,) x, y of the point that comes to the middle.
        factor: Of lengths.
        angle: In degrees; the content turns anticlockwise as it is seen.
        size: Width and height of the result.

    Returns:
        (2, 3) float64, from pixels of the image to those of the result.
    """
    turn = factor * np.array(
        ((cos(radians(angle)), sin(radians(angle))), (-sin(radians(angle)), cos(radians(angle))))
    )
    offset = np.asarray(size) / 2 - turn @ np.asarray(center)
    return np.concatenate((turn, offset[:, None]), 1)


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (…, 2) under a transform (2, 3), float32."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


@TRANSFORMS.register_module()
class ResizeAlign(BaseTransform):
    """Resize an image to a given shorter side, and other sizes beside it.

    The longer side is rounded up, so that both are multiples of a number; the
    little that the image lacks then is black, on both sides. A size beside it
    is the first times a factor, exactly, and is made from the image itself.

    Takes `img`; changes it to the first size or, if there are more, to the
    list of all, and `img_shape` to that of the first; adds `input_size`
    (w, h), `input_center` (2,) and `input_scale` (2,), with which MMPose's
    estimators take key points back into the image, and `scale_factors`.

    Source: https://github.com/CR320/ConvNeXtPose

    Args:
        short_side: Of the input, in pixels; rounded up, too.
        size_divisor: Of which the sides are multiples.
        scale_factors: Factors of the input's size, 1 first.
        max_pixels: Most pixels that an input may have; None: any number.

    Raises:
        TypeError, ValueError: If an argument is none of these.
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
            DatasetError: If it would become larger than `max_pixels`, or
                than OpenCV can make.
        """
        image = results['img']
        size = np.array(image.shape[1::-1])
        self.check_size(size, results.get('img_path'))
        shorter = size.min()
        sides = self._sides(size)
        # Python's round, half to even, as the original has it.
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
        """Width and height (2,) of the input for those of an image."""
        sides = (
            np.ceil(size * (self.short_side / size.min()) / self.size_divisor).astype(int)
            * self.size_divisor
        )
        sides[size.argmin()] = self.short_side
        return sides

    def _levels(self, sides: np.ndarray) -> list[tuple[int, int]]:
        """Width and height at each scale."""
        return [
            tuple(int(side * factor) for side in sides.tolist()) for factor in self.scale_factors
        ]

    def check_size(self, size: Sequence[int], path: str | None) -> None:
        """Refuse an image that would become too large.

        Args:
            size: Its width and height in pixels.
            path: Of its file, for the message.

        Raises:
            DatasetError: With both sizes and the limit.
        """
        limit = self.max_pixels
        for level in self._levels(self._sides(np.array(size))):
            if max(level) > _MAX_SIDE:
                reason = f'OpenCV makes no side of more than {_MAX_SIDE}'
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
                f'{self.scale_factors}: {reason}. Take it out of the data, '
                'or set another short_side or max_pixels (ResizeAlign)'
            )


def check_scale_factors(factors: Sequence[float]) -> None:
    """Refuse scale factors of a test that do not begin with 1.

    Args:
        factors: Of the input's size.

    Raises:
        TypeError, ValueError: With the factors and what was expected.
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
    """Pack an image with all its people, at one size or several.

    It differs from MMPose's in two places: images of several sizes become a
    list of tensors; and of the meta keys it knows the test's scales, but not
    `category_id`, a list of one entry a person, which `CocoMetric` would
    write into every prediction.

    Args:
        meta_keys: Of the results, those that the data sample keeps.
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
        """Pack the image or images, and the labels."""
        images = results['img']
        if not isinstance(images, list):
            return super().transform(results)
        packed = super().transform({**results, 'img': images[0]})
        packed['inputs'] = [image_to_tensor(image) for image in images]
        return packed
