"""Drawing key points, skeletons and boxes on images."""

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

POINT = (250, 250, 250)  # the inside of a key point
FAINTEST = 0.25  # opacity of a key point at the threshold


def opacity(scores: np.ndarray, threshold: float) -> np.ndarray:
    """How opaque key points are.

    A smooth step from the threshold, where the opacity is `FAINTEST`, to 0.6
    of the way from there to a score of 1; 0 below the threshold.

    Args:
        scores: Of any shape; NaN is below any threshold.
        threshold: The lowest score that is shown.

    Returns:
        0 to 1, of the same shape, float64.
    """
    scores = np.nan_to_num(np.asarray(scores, float), nan=-np.inf)
    shown = scores >= threshold
    way = (np.where(shown, scores, threshold) - threshold) / max(0.6 * (1 - threshold), 1e-6)
    way = np.clip(way, 0, 1)
    return shown * (FAINTEST + (1 - FAINTEST) * way * way * (3 - 2 * way))


def to_bgr(image: np.ndarray) -> np.ndarray:
    """A copy to draw on.

    Args:
        image: (H, W, 3) BGR, (H, W, 4) BGRA, (H, W) or (H, W, 1) grey, uint8.

    Returns:
        (H, W, 3), uint8, BGR.

    Raises:
        ValueError: If it is something else.
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
            f'cannot draw on an array of {image.dtype} of the shape '
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
    """Draw one person, in place.

    Lines are as wide as suits the person's size and the image's, with a dark
    rim so that they stand out on any ground. Pixels away from the person are
    not touched.

    Args:
        image: (H, W, 3), uint8, BGR.
        keypoints: (K, 2), x and y in pixels; they may lie outside the image.
        skeleton: K names and their limbs.
        shown: K flags; a limb needs both its ends. Key points that are not
            finite are not shown.
        occluded: K flags; such points are drawn as rings.
        opacities: K, 0 to 1; a limb has that of its fainter end. None: 1.
        width: Factor on the width of lines and the size of points.
        extent: The person's longer side in pixels, where it may be more than
            that of the box around the key points.

    Raises:
        ValueError: If `keypoints` does not fit the skeleton, or the image is
            of another kind.
    """
    keypoints = np.asarray(keypoints, dtype=float)
    count = len(skeleton.names)
    if keypoints.shape != (count, 2):
        raise ValueError(
            f'keypoints has the shape {keypoints.shape}: expected ({count}, 2) for this skeleton'
        )
    if (image.dtype, image.ndim, image.shape[-1]) != (np.uint8, 3, 3):
        raise ValueError(
            f'cannot draw on an array of {image.dtype} of the shape '
            f'{image.shape}: expected uint8 and (H, W, 3), see to_bgr'
        )
    shown = np.asarray(shown, bool) & np.isfinite(keypoints).all(1)
    strengths = np.ones(count) if opacities is None else opacities
    strengths = np.where(shown, np.nan_to_num(strengths), 0)
    occluded = np.zeros(count, bool) if occluded is None else occluded
    known = keypoints[strengths > 0]
    if not len(known):
        return
    extent = max(extent, np.ptp(known, axis=0).max())
    line = width * line_width(extent, image.shape)
    layer = Layer(image, known, line)
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
    """Limbs and key points: the surer, the later; limbs before their ends."""
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
    """Width of limbs in pixels.

    Args:
        extent: Longer side of a person in pixels; 0: not known.
        shape: Height and width of the image first.

    Returns:
        A 55th of the person, within what suits the image.
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
    """Draw people, in place: boxes, then poses, large ones first, then ids.

    Args:
        image: (H, W, 3), uint8, BGR.
        keypoints: (n, K, 2), x and y in pixels.
        scores: (n, K); they make the key points opaque, see `opacity`.
        skeleton: K names and their limbs.
        boxes: (n, 4), left, top, right, bottom in pixels; lines are as wide
            as suits people of at least half their size.
        ids: n numbers; they give the boxes their colours.
        visible: (n, K), probabilities; key points below 0.5 are rings.
        threshold: The lowest score of a key point that is shown.
        show_boxes: Whether to draw the boxes.
        show_ids: Whether to write the numbers, at the boxes if these are
            drawn, or else at the key points.
        width: Factor on the width of lines and the size of points.
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
    """Boxes about what is shown of people, or NaN: (n, 4).

    A tenth larger on each side, for what is beyond the joints: of a head, a
    hand, a foot.
    """
    boxes = np.full((len(keypoints), 4), np.nan)
    for person, points in enumerate(keypoints):
        known = points[shown[person] & np.isfinite(points).all(1)]
        if len(known):
            margin = 0.1 * np.ptp(known, axis=0).max()
            boxes[person] = [*known.min(0) - margin, *known.max(0) + margin]
    return boxes
