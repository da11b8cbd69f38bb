"""Render the maps of a canvas as an image, with the patterns, folds and shading of clothes."""

from functools import lru_cache
from math import atan2, degrees

import cv2
import numpy as np

from .canvas import CLOTH_BOTTOM, CLOTH_TOP, NEUTRAL, SUPERSAMPLING, Canvas
from .look import Look
from .painter import Painter


@lru_cache(maxsize=1)
def _patterns() -> tuple[np.ndarray, ...]:
    """Return tileable patterns of clothes as (128, 128) uint8 masks."""
    y, x = np.mgrid[0:128, 0:128]
    rng = np.random.default_rng(5)
    spots = np.zeros((128, 128), np.float32)
    spots[rng.integers(0, 128, 260), rng.integers(0, 128, 260)] = 1
    spots = cv2.GaussianBlur(np.tile(spots, (3, 3)), (0, 0), 4)[128:256, 128:256]
    masks = (
        y % 16 < 6,
        y % 32 < 16,
        (x % 16 < 3) | (y % 16 < 3),
        (x % 16 - 8) ** 2 + (y % 16 - 8) ** 2 < 14,
        spots > np.median(spots),
        x % 16 < 3,
    )
    return tuple(m.astype(np.uint8) * 255 for m in masks)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """Return a texture of soft folds and weave, (1024, 1024) uint8 around 128."""
    rng = np.random.default_rng(6)
    total = np.zeros((1024, 1024), np.float32)
    for sigma, weight in ((1, 0.5), (4, 1.0), (10, 1.0)):
        noise = rng.standard_normal((1024, 1024)).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigma)
        total += weight * noise / noise.std()
    return np.clip(128 + 30 * total, 0, 255).astype(np.uint8)


def apply_patterns(painter: Painter) -> None:
    """Apply the patterns of the clothes to the canvas of a person, in place.

    Args:
        painter: Painter of the person.
    """
    canvas, look = painter.canvas, painter.look
    up = painter.xy['neck'] - painter.xy['pelvis']
    for number, mark, colour in (
        (look.pattern[0], CLOTH_TOP, look.top_second),
        (look.pattern[1], CLOTH_BOTTOM, look.bottom_second),
    ):
        if number < 0:
            continue
        grow = max(painter.unit / 420, 0.12)
        turn = cv2.getRotationMatrix2D((0, 0), -degrees(atan2(up[0], -up[1])), grow)
        turn[:, 2] = painter.xy['neck']
        size = canvas.label.shape[1::-1]
        mask = cv2.warpAffine(
            _patterns()[number], turn, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_WRAP
        )
        mask = cv2.bitwise_and(mask, cv2.bitwise_and(canvas.label, mark))
        cv2.copyTo(np.full_like(canvas.colour, colour), mask, canvas.colour)


def shaded(canvas: Canvas, look: Look, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Shade a canvas and resize it to the resolution of the image.

    Args:
        canvas: The canvas.
        look: Appearance, which selects the folds of the clothes.
        unit: Canvas pixels per stature.

    Returns:
        (h, w, 3) BGR uint8 multiplied by the coverage, and (h, w) uint8 coverage, at the
        resolution of the image.
    """
    h, w = canvas.label.shape
    sigma = max(0.7, 0.008 * unit)
    shade = cv2.GaussianBlur(canvas.shade, (0, 0), sigma)
    y, x = look.grain // 256 * 2, look.grain % 256 * 2
    grain = _grain()[y : y + h, x : x + w]
    if grain.shape == shade.shape:
        shade = cv2.addWeighted(shade, 1.0, grain, 0.16, -0.16 * 128)
    image = cv2.multiply(canvas.colour, cv2.merge((shade,) * 3), scale=1 / NEUTRAL)
    mask = cv2.compare(canvas.label, 0, cv2.CMP_GT)
    small = (w // SUPERSAMPLING, h // SUPERSAMPLING)
    return (
        cv2.resize(image, small, interpolation=cv2.INTER_AREA),
        cv2.resize(mask, small, interpolation=cv2.INTER_AREA),
    )
