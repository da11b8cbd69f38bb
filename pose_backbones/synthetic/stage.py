"""Composite people and objects into an image, and record which one is visible at each pixel."""

import cv2
import numpy as np

from .person import PersonDrawing

#: rows of the ankles in `PersonDrawing.joints`
ANKLES = slice(15, 17)


class Stage:
    """An image and the object that is visible at each pixel.

    Attributes:
        image: (h, w, 3) BGR uint8 image, changed in place.
        light: (3,) unit vector towards the light.
        shadows: Darkness of shadows, 0 to 1.
        owner: (h, w) int16 number of the visible object, 0 for the background. Objects are
            numbered in the order in which they are added.

    Args:
        image: (h, w, 3) BGR uint8 background.
        light: (3,) unit vector: x right, y down, z to the camera.
        shadows: Darkness of shadows, 0 to 1.
    """

    def __init__(self, image: np.ndarray, light: np.ndarray, shadows: float) -> None:
        self.image, self.light, self.shadows = image, light, shadows
        self.owner = np.zeros(image.shape[:2], np.int16)
        self._count = 0

    def add_mask(self, mask: np.ndarray, corner: tuple[int, int] = (0, 0)) -> int:
        """Assign pixels to a new object.

        Args:
            mask: (h, w) uint8, greater than 127 inside the object.
            corner: Position (x, y) of the mask's top left corner in the image, in pixels.

        Returns:
            The number of the object.
        """
        self._count += 1
        h, w = mask.shape
        x, y = corner
        self.owner[y : y + h, x : x + w][mask > 127] = self._count
        return self._count

    def shadow(self, drawing: PersonDrawing, ground_y: float, height: float) -> None:
        """Draw the shadow of a person on the ground.

        Args:
            drawing: Drawing of the person.
            ground_y: Row of the ground below the person, in pixels.
            height: Stature of the person in pixels.
        """
        h, w = self.owner.shape
        x0, y0 = drawing.origin
        drawing_width = drawing.alpha.shape[1]
        slope = -0.7 * self.light[0]
        left = int(max(0, x0 - abs(slope) * height))
        right = int(min(w, x0 + drawing_width + abs(slope) * height))
        top = int(max(0, ground_y - 0.3 * height))
        bottom = int(min(h, ground_y + 0.08 * height))
        if right - left < 2 or bottom - top < 2:
            return
        mask = np.zeros((bottom - top, right - left), np.uint8)
        if self.shadows > 0:
            warp = np.float64(
                [
                    [1, -slope, x0 - left + slope * (ground_y - y0)],
                    [0, 0.2, ground_y - top - 0.2 * (ground_y - y0)],
                ]
            )
            mask = cv2.warpAffine(drawing.alpha, warp, mask.shape[::-1])
            mask = cv2.convertScaleAbs(mask, alpha=self.shadows)
        for x, y in drawing.joints[ANKLES, :2]:
            if abs(y - ground_y) < 0.12 * height:
                cv2.ellipse(
                    mask,
                    (int(x - left), int(min(y + 0.03 * height, ground_y) - top)),
                    (int(0.075 * height), int(0.02 * height)),
                    0,
                    0,
                    360,
                    225,
                    -1,
                )
        sigma = max(0.8, 0.011 * height)
        self._darken(cv2.GaussianBlur(mask, (0, 0), sigma), (left, top, right, bottom), 0.62)

    def add(self, drawing: PersonDrawing) -> int:
        """Composite the drawing of a person into the image.

        Args:
            drawing: Drawing of the person.

        Returns:
            The number of the object.
        """
        x, y = drawing.origin
        h, w = drawing.alpha.shape
        part = self.image[y : y + h, x : x + w]
        inverse_alpha = cv2.merge((cv2.bitwise_not(drawing.alpha),) * 3)
        part[:] = cv2.add(cv2.multiply(part, inverse_alpha, scale=1 / 255), drawing.image)
        return self.add_mask(drawing.alpha, (x, y))

    def _darken(self, mask: np.ndarray, box: tuple, strength: float) -> None:
        """Darken the pixels of a box where a uint8 mask is set."""
        x0, y0, x1, y1 = box
        part = self.image[y0:y1, x0:x1]
        factor = cv2.bitwise_not(cv2.convertScaleAbs(mask, alpha=strength))
        part[:] = cv2.multiply(part, cv2.merge((factor,) * 3), scale=1 / 255)
