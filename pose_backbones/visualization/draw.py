"""Draw keypoints, skeletons and bounding boxes on images."""

from collections.abc import Sequence

import cv2
import numpy as np

from .labels import draw_box, draw_tags
from .overlay import Layer
from .skeleton import FINE, LEFT, MIDDLE, RIGHT, Skeleton

__all__ = [
    'FAINTEST',
    'LEFT',
    'MIDDLE',
    'RIGHT',
    'Skeleton',
    'draw_people',
    'draw_pose',
    'line_width',
    'opacity',
    'to_bgr',
]

POINT = (250, 250, 250)  # BGR, the inside of a keypoint
FAINTEST = 0.5  # opacity of a keypoint with a score at the threshold


def opacity(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Return the opacity of keypoints.

    The opacity is 0 below the threshold and `FAINTEST` at the threshold. It increases smoothly
    to 1 at a score of `threshold + 0.6 * (1 - threshold)`.

    Args:
        scores: Keypoint scores of any shape. NaN counts as below the threshold.
        threshold: The lowest score that is drawn.

    Returns:
        Opacities from 0 to 1, float64, with the shape of `scores`.
    """
    scores = np.nan_to_num(np.asarray(scores, float), nan=-np.inf)
    shown = scores >= threshold
    ratio = (np.where(shown, scores, threshold) - threshold) / max(0.6 * (1 - threshold), 1e-6)
    ratio = np.clip(ratio, 0, 1)
    return shown * (FAINTEST + (1 - FAINTEST) * ratio * ratio * (3 - 2 * ratio))


def to_bgr(image: np.ndarray) -> np.ndarray:
    """Return a copy of an image as BGR, to draw on.

    Args:
        image: (H, W, 3) BGR, (H, W, 4) BGRA, (H, W) or (H, W, 1) grey, uint8.

    Returns:
        (H, W, 3), uint8, BGR.

    Raises:
        ValueError: If the shape or type is unsupported.
    """
    image = np.asarray(image)
    channels = image.shape[2] if image.ndim == 3 else 1
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or channels not in (1, 3, 4)
        or not image.size
    ):
        raise ValueError(
            f'cannot draw on an array of type {image.dtype} and shape '
            f'{image.shape}: expected uint8 and (H, W, 3) BGR, (H, W, 4) '
            'BGRA or (H, W) grey'
        )
    if channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return image[..., :3].copy()


def draw_pose(
    image: np.ndarray,
    keypoints: np.ndarray,
    skeleton: Skeleton,
    shown: Sequence[bool],
    occluded: Sequence[bool] | None = None,
    opacities: Sequence[float] | None = None,
    width: float = 1.0,
    extent: float = 0.0,
) -> None:
    """Draw the pose of one person, in place.

    The line width depends on the sizes of the person and the image. Lines and points have a dark
    rim, so that they are visible on any background. Only pixels near the person are changed.

    Args:
        image: (H, W, 3), uint8, BGR.
        keypoints: (K, 2), x and y in pixels; they may be outside the image.
        skeleton: Names of the K keypoints, and the limbs.
        shown: K flags. A limb is drawn if both its ends are shown. Keypoints that are not finite
            are not drawn.
        occluded: K flags. Occluded keypoints are drawn as rings.
        opacities: K values from 0 to 1. A limb has the lower opacity of its two ends. Default: 1.
        width: Factor for the width of lines and the size of points.
        extent: Longer side of the person in pixels, if it may be larger than that of the bounding
            box of the keypoints.

    Raises:
        ValueError: If `keypoints` does not match the skeleton, or the image has an unsupported
            shape or type.
    """
    keypoints = np.asarray(keypoints, dtype=float)
    count = len(skeleton.names)
    if keypoints.shape != (count, 2):
        raise ValueError(
            f'keypoints has the shape {keypoints.shape}: expected ({count}, 2) for this skeleton'
        )
    if (image.dtype, image.ndim, image.shape[-1]) != (np.uint8, 3, 3):
        raise ValueError(
            f'cannot draw on an array of type {image.dtype} and shape '
            f'{image.shape}: expected uint8 and (H, W, 3), see to_bgr'
        )
    shown = np.asarray(shown, bool) & np.isfinite(keypoints).all(1)
    strengths = np.ones(count) if opacities is None else opacities
    strengths = np.where(shown, np.nan_to_num(strengths), 0)
    occluded = np.zeros(count, bool) if occluded is None else occluded
    drawn = keypoints[strengths > 0]
    if not len(drawn):
        return
    extent = max(extent, np.ptp(drawn, axis=0).max())
    line = width * line_width(extent, image.shape)
    layer = Layer(image, drawn, line)
    if layer.is_empty:
        return
    _paint(layer, keypoints, skeleton, strengths, occluded, line)
    layer.blend()


def _paint(
    layer: Layer,
    keypoints: np.ndarray,
    skeleton: Skeleton,
    strengths: np.ndarray,
    occluded: Sequence[bool],
    line: float,
) -> None:
    """Draw limbs and keypoints in order of increasing opacity, limbs before their ends."""
    parts = [(k,) for k in range(len(keypoints))] + list(skeleton.limbs)
    parts = [
        (
            min(strengths[k] for k in points),
            len(points) == 1,
            min(skeleton.sizes[k] for k in points),
            points,
        )
        for points in parts
    ]
    for strength, is_point, size, points in sorted(parts):
        if strength <= 0:
            continue
        style = line * size, skeleton.colour(*points), strength
        if not is_point:
            layer.line(*keypoints[list(points)], *style)
        elif occluded[points[0]]:
            layer.ring(keypoints[points[0]], *style)
        else:
            layer.dot(keypoints[points[0]], *style, None if size == FINE else POINT)


def line_width(extent: float, shape: tuple[int, ...]) -> float:
    """Return the width of limbs in pixels.

    Args:
        extent: Longer side of the person in pixels; 0 if unknown.
        shape: Shape of the image, height and width first.

    Returns:
        1/55 of the person's extent, clipped to limits that depend on the image size.
    """
    diagonal = float(np.hypot(*shape[:2]))
    extent = extent or diagonal / 20
    least = min(diagonal / 800, extent / 25)
    most = 1 + diagonal / 130
    return float(np.clip(extent / 55, max(least, 0.7), most))


def draw_people(
    image: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    skeleton: Skeleton,
    *,
    boxes: np.ndarray,
    ids: Sequence[int],
    visible: np.ndarray | None = None,
    threshold: float = 0.3,
    show_boxes: bool = False,
    show_ids: bool = False,
    width: float = 1.0,
) -> None:
    """Draw people, in place: first bounding boxes, then poses from large to small, then IDs.

    Args:
        image: (H, W, 3), uint8, BGR.
        keypoints: (n, K, 2), x and y in pixels.
        scores: (n, K), which determine the opacity of the keypoints, see `opacity`.
        skeleton: Names of the K keypoints, and the limbs.
        boxes: (n, 4), left, top, right, bottom in pixels. The line width is that for people of at
            least half the size of their boxes.
        ids: n numbers, which determine the colours of the boxes.
        visible: (n, K), visibility probabilities. Keypoints below 0.5 are drawn as rings.
        threshold: The lowest keypoint score that is drawn.
        show_boxes: Whether to draw the boxes.
        show_ids: Whether to write the IDs, at the boxes if they are drawn, otherwise at the
            keypoints.
        width: Factor for the width of lines and the size of points.
    """
    strengths = opacity(scores, threshold)
    finite = np.isfinite(boxes).all(1, keepdims=True)
    sides = np.where(finite, boxes, 0)
    extents = (sides[:, 2:] - sides[:, :2]).max(1) / 2
    if show_boxes:
        for box, number in zip(boxes, ids):
            draw_box(image, box, number, width)
    for person in np.argsort(-extents, kind='stable'):
        occluded = None if visible is None else visible[person] < 0.5
        draw_pose(
            image,
            keypoints[person],
            skeleton,
            strengths[person] > 0,
            occluded,
            strengths[person],
            width,
            extents[person],
        )
    if show_ids:
        places = _around(keypoints, strengths > 0)
        if show_boxes:
            places = np.where(finite, boxes, places)
        draw_tags(image, places, ids)


def _around(keypoints: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the bounding boxes of the keypoints that are drawn, (n, 4); NaN if there are none.

    Boxes are enlarged by a tenth on each side, since heads, hands and feet extend beyond the
    keypoints.
    """
    boxes = np.full((len(keypoints), 4), np.nan)
    for person, points in enumerate(keypoints):
        drawn = points[shown[person] & np.isfinite(points).all(1)]
        if len(drawn):
            margin = 0.1 * np.ptp(drawn, axis=0).max()
            boxes[person] = [*drawn.min(0) - margin, *drawn.max(0) + margin]

    return boxes
