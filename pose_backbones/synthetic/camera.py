"""Camera: position and image effects."""

from dataclasses import dataclass

import cv2
import numpy as np

from .textures import grey_piece


@dataclass(frozen=True)
class Camera:
    """Position and tilt of a camera.

    Attributes:
        horizon: Row of the horizon in pixels.
        drop: Distance of people's feet below the horizon, in heights of a standing adult in the
            image.
        tilt: Downward tilt in degrees.
    """

    horizon: float
    drop: float
    tilt: float

    def ground(self, height: float) -> float:
        """Return the image row of the ground below people of a given size.

        Args:
            height: Height of a standing adult in pixels.

        Returns:
            Row of the ground in pixels.
        """
        return self.horizon + self.drop * height


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply exposure, colour cast, blur, vignette and noise of a camera.

    Args:
        image: (h, w, 3) BGR uint8.
        rng: Random number generator.

    Returns:
        (h, w, 3) BGR uint8.
    """
    h, w = image.shape[:2]
    gamma = float(np.exp(rng.normal(0, 0.13)))
    gain = np.exp(rng.normal(0, 0.035, 3)) * np.exp(rng.normal(0, 0.07))
    ramp = np.linspace(0, 1, 256)[:, None] ** gamma
    low = rng.uniform(0, 18)
    table = np.clip(low + (255 - low) * ramp * gain, 0, 255)
    image = cv2.LUT(image, table.astype(np.uint8)[None])
    corners = np.float32(rng.uniform(0.78, 1.06, (2, 2)))
    if rng.random() < 0.7:
        field = cv2.resize(corners, (w, h), interpolation=cv2.INTER_LINEAR)
        field = np.minimum(field * 200, 255).astype(np.uint8)
        image = cv2.multiply(image, cv2.merge((field,) * 3), scale=1 / 190)
    blur = rng.random()
    if blur < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    elif blur < 0.40:
        kernel = np.zeros((5, 5), np.float32)
        kernel[2] = 0.2
        image = cv2.filter2D(image, -1, kernel if rng.random() < 0.5 else kernel.T.copy())
    grain = grey_piece(rng, 'fine', w, h)
    amount = float(rng.choice((0.0, 0.02, 0.04, 0.08)))
    return cv2.addWeighted(image, 1, cv2.merge((grain,) * 3), amount, -128 * amount)
