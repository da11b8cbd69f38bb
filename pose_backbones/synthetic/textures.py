"""Textures and colours of backgrounds.

Colours are (3,) float64 BGR from 0 to 255.
"""

from functools import lru_cache

import cv2
import numpy as np


def _noise(rng: np.random.Generator, sigma: float, size: int = 512) -> np.ndarray:
    """Return tileable noise, (size, size) float32 with standard deviation 1."""
    flat = rng.standard_normal((size, size)).astype(np.float32)
    flat = cv2.GaussianBlur(np.tile(flat, (2, 2)), (0, 0), sigma)
    flat = np.roll(
        flat[size // 2 : -(size // 2), size // 2 : -(size // 2)], (size // 2, size // 2), (0, 1)
    )
    return flat / flat.std()


@lru_cache(maxsize=1)
def textures() -> dict[str, np.ndarray]:
    """Generate tileable grey textures with a fixed seed.

    Returns:
        (512, 512) uint8 textures by name: fine, soft, cloud, leaf, brick, plank, tile, carpet and
        plaster.
    """
    rng = np.random.default_rng(7)
    fine, mid, soft = (_noise(rng, s) for s in (0.8, 4.0, 24.0))
    y, x = np.mgrid[0:512, 0:512]
    row = y // 16
    joint = (y % 16 < 2) | ((x + 16 * (row % 2)) % 32 < 2)
    tone = rng.normal(0, 0.8, (32, 34))[row, (x + 16 * (row % 2)) // 32]
    plank = rng.normal(0, 0.9, 16)[x // 32]
    grain = cv2.GaussianBlur(rng.standard_normal((512, 512)), (0, 0), sigmaX=0.8, sigmaY=14)
    check = ((x // 64 + y // 64) % 2) * 2.0 - 1
    leaf = _noise(rng, 1.3)
    maps = {
        'fine': 0.7 * fine + 0.5 * mid,
        'soft': soft + 0.3 * mid,
        'cloud': 1.4 * soft + 0.6 * mid,
        'leaf': 1.5 * leaf + 0.5 * mid,
        'brick': 1.2 * tone - 2.2 * joint + 0.3 * fine,
        'plank': plank + 3 * grain - 2 * (x % 32 < 2),
        'tile': 0.9 * check + 0.4 * mid - ((x % 64 < 2) | (y % 64 < 2)),
        'carpet': fine + 0.8 * mid + 0.5 * soft,
        'plaster': 0.35 * fine + 0.6 * soft,
    }
    return {k: np.clip(128 + 42 * v, 0, 255).astype(np.uint8) for k, v in maps.items()}


def tint(grey: np.ndarray, dark: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Map the values of a grey image to colours between two given ones.

    Args:
        grey: (h, w) uint8.
        dark: Colour for the value 0.
        light: Colour for the value 255.

    Returns:
        (h, w, 3) BGR uint8.
    """
    ramp = np.linspace(0, 1, 256)[:, None] * (np.asarray(light, float) - dark) + dark
    table = np.clip(ramp, 0, 255).astype(np.uint8)[None]
    return cv2.LUT(cv2.merge((grey,) * 3), table)


def any_colour(
    rng: np.random.Generator,
    hue: tuple[int, int] = (0, 180),
    sat: tuple[int, int] = (10, 130),
    val: tuple[int, int] = (60, 220),
) -> np.ndarray:
    """Sample a colour.

    Args:
        rng: Random number generator.
        hue: Range of hues in steps of 2 degrees, 0 to 180.
        sat: Range of saturations, 0 to 255.
        val: Range of brightness, 0 to 255.

    Returns:
        The colour, (3,) float64 BGR.
    """
    pixel = np.uint8([[[rng.integers(*hue) % 180, rng.integers(*sat), rng.integers(*val)]]])
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float64)


def grey_piece(rng: np.random.Generator, kind: str, w: int, h: int) -> np.ndarray:
    """Crop a random piece of a texture, which is tiled if it is too small.

    Args:
        rng: Random number generator.
        kind: Name of the texture.
        w: Width in pixels.
        h: Height in pixels.

    Returns:
        (h, w) uint8.
    """
    grey = textures()[kind]
    x, y = rng.integers(0, 512, 2)
    if x + w <= 512 and y + h <= 512:
        return grey[y : y + h, x : x + w]
    return grey.take(range(y, y + h), 0, mode='wrap').take(range(x, x + w), 1, mode='wrap')


def tinted_piece(
    rng: np.random.Generator, kind: str, w: int, h: int, colour: np.ndarray, contrast: float = 0.3
) -> np.ndarray:
    """Crop a random piece of a texture and colour it.

    Args:
        rng: Random number generator.
        kind: Name of the texture.
        w: Width in pixels.
        h: Height in pixels.
        colour: (3,) mean BGR colour, 0 to 255.
        contrast: Maximum relative deviation from the colour.

    Returns:
        (h, w, 3) BGR uint8.
    """
    grey = grey_piece(rng, kind, w, h)
    return tint(grey, colour * (1 - contrast), colour * (1 + contrast))


def fill_box(
    image: np.ndarray,
    rng: np.random.Generator,
    box: tuple,
    kind: str,
    colour: np.ndarray,
    contrast: float = 0.25,
) -> None:
    """Fill a box with texture.

    Args:
        image: (h, w, 3) BGR uint8, changed in place.
        rng: Random number generator.
        box: x0, y0, x1, y1 in pixels, clipped to the image.
        kind: Name of the texture.
        colour: (3,) mean BGR colour, 0 to 255.
        contrast: Maximum relative deviation from the colour.
    """
    h, w = image.shape[:2]
    x0, y0, x1, y1 = (int(v) for v in box)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, w), min(y1, h)
    if x1 > x0 and y1 > y0:
        image[y0:y1, x0:x1] = tinted_piece(rng, kind, x1 - x0, y1 - y0, colour, contrast)
