"""The ground or floor in perspective."""

import cv2
import numpy as np

from .textures import textures, tint


def lay_ground(
    image: np.ndarray, rng: np.random.Generator, horizon: int, kind: str, colour: np.ndarray
) -> None:
    """Draw a texture in perspective below the horizon.

    Args:
        image: (h, w, 3) BGR uint8, changed in place.
        rng: Random number generator.
        horizon: Row where the ground ends, in pixels.
        kind: Name of the texture.
        colour: (3,) mean BGR colour, 0 to 255.
    """
    h, w = image.shape[:2]
    near, far = rng.uniform(110, 260), rng.uniform(500, 1100)
    middle, deep = rng.uniform(0, 512), rng.uniform(700, 1400)
    source = np.float32(
        [[middle - far, 0], [middle + far, 0], [middle + near, deep], [middle - near, deep]]
    )
    target = np.float32([[0, 0], [w, 0], [w, h - horizon], [0, h - horizon]])
    warp = cv2.getPerspectiveTransform(source, target)
    grey = cv2.warpPerspective(
        textures()[kind], warp, (w, h - horizon), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_WRAP
    )
    grey = cv2.blur(grey, (3, 1))
    image[horizon:] = tint(grey, colour * 0.72, colour * 1.2)
