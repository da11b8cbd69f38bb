"""Encode masks in COCO's formats, run lengths and polygons.

pycocotools encodes only compressed run lengths, and this subpackage needs no compiled dependency
other than NumPy and OpenCV.
"""

import cv2
import numpy as np

#: resolution at which polygons are traced, as a multiple of the mask resolution
_FINER = 4


def encode_rle(mask: np.ndarray) -> dict:
    """Encode a mask as COCO's uncompressed run lengths.

    Args:
        mask: (h, w) bool.

    Returns:
        `counts`, the lengths of the runs in column-major order beginning
        with background, and `size`, [h, w].
    """
    flat = np.asarray(mask, bool).ravel(order='F')
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate(([0], turns, [flat.size]))).tolist()
    if flat.size and flat[0]:
        counts = [0, *counts]
    return {'counts': counts, 'size': [int(v) for v in mask.shape]}


def _bridge(outer: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Join a hole to the surrounding outline by an edge that is traversed twice."""
    gap = ((outer[:, None] - hole[None]) ** 2).sum(2)
    i, j = np.unravel_index(int(gap.argmin()), gap.shape)
    return np.concatenate((outer[: i + 1], hole[j:], hole[: j + 1], outer[i:]))


def _outline(contours: tuple[np.ndarray, ...], tree: np.ndarray, i: int, near: float) -> np.ndarray:
    """Return contour i with its holes as one line (n, 2), simplified with tolerance `near`."""
    outline = cv2.approxPolyDP(contours[i], near, True)[:, 0]
    if len(outline) < 3:
        outline = contours[i][:, 0]
    child = tree[i][2]
    while child >= 0:
        if _size(contours[child]) >= 1.5:
            outline = _bridge(outline, cv2.approxPolyDP(contours[child], near, True)[:, 0])
        child = tree[child][0]
    return outline


def _size(contour: np.ndarray) -> float:
    """Return the area of a contour in pixels of the mask."""
    return cv2.contourArea(contour) / _FINER**2


def encode_polygons(mask: np.ndarray) -> list[list[float]]:
    """Encode a mask as COCO polygons.

    Holes are joined to their outline, so that the polygons cover the same
    pixels as the mask. Slivers of less than four pixels are dropped unless
    there is nothing else.

    Args:
        mask: (h, w) bool with at least one pixel set.

    Returns:
        Polygons as flat lists x0, y0, x1, y1, ... in pixels, where a
        pixel's left edge is at its index.

    Raises:
        ValueError: If the mask is empty.
    """
    grey = np.asarray(mask, np.uint8)
    x, y, w, h = cv2.boundingRect(grey)
    if w == 0:
        raise ValueError('expected a mask with pixels, got an empty one')
    part = np.zeros((h * _FINER + 2, w * _FINER + 2), np.uint8)
    part[1:-1, 1:-1] = grey[y : y + h, x : x + w].repeat(_FINER, 0).repeat(_FINER, 1)
    contours, tree = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    tree = tree[0]
    tops = [i for i in range(len(contours)) if tree[i][3] < 0]
    keep = [i for i in tops if _size(contours[i]) >= 4] or [
        max(tops, key=lambda i: _size(contours[i]))
    ]
    near = 2.3 if np.count_nonzero(grey) > 1500 else 1.0
    polygons = []
    for i in keep:
        places = (_outline(contours, tree, i, near) - 0.5) / _FINER + (x, y)
        polygons.append(np.round(places, 2).ravel().tolist())
    return polygons
