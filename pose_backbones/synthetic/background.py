"""Draw the background of a scene."""

import cv2
import numpy as np

from .indoors import draw_indoors
from .outdoors import draw_outdoors
from .props import draw_props


def draw_background(
    rng: np.random.Generator, size: tuple[int, int]
) -> tuple[np.ndarray, int, bool]:
    """Draw a background without people.

    Args:
        rng: Random number generator.
        size: Width and height of the image in pixels.

    Returns:
        (h, w, 3) BGR uint8 image, the row of the horizon in pixels, and whether the scene is
        outdoors.
    """
    w, h = size
    horizon = int(rng.uniform(0.22, 0.55) * h)
    image = np.empty((h, w, 3), np.uint8)
    outdoors = rng.random() < 0.6
    (draw_outdoors if outdoors else draw_indoors)(image, rng, horizon)
    draw_props(image, rng, horizon)
    sigma = float(rng.choice((0.0, 0.0, 0.6, 1.0, 1.8)))
    if sigma:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    return image, horizon, outdoors
