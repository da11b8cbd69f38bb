"""Draw anti-aliased, transparent lines and points on the part of an image around a person."""

from collections.abc import Sequence

import cv2
import numpy as np

RIM = (20, 20, 20)  # BGR of the rims of lines and points
_INSIDE = 0.62  # radius of the inside of a point, as a fraction of its radius
_MOST = 3 << 22  # maximum number of values in a layer that is drawn enlarged
_SHIFT = 4  # fractional bits of OpenCV's coordinates: 1/16 pixel

Colour = tuple[int, int, int]


class Layer:
    """Transparent layer of anti-aliased lines and points with dark rims.

    Lines and points replace earlier ones where they overlap; they are not blended with each other.
    Thin lines are drawn enlarged and then reduced, so that their width can be a fraction of a
    pixel.

    Args:
        image: (H, W, 3), uint8, BGR.
        points: (n, 2), x and y in pixels of all points that will be drawn, n > 0.
        width: Width of the widest line in pixels, which determines the width of the rims.
    """

    def __init__(self, image: np.ndarray, points: np.ndarray, width: float) -> None:
        self._rim = float(np.clip(0.2 * width, 0.6, 6))
        margin = 2 * width + self._rim + 2
        size = np.array(image.shape[1::-1])
        low = np.clip(points.min(0) - margin, 0, size).astype(int)
        high = np.clip(points.max(0) + margin + 1, 0, size).astype(int)
        self._region = image[low[1] : high[1], low[0] : high[0]]
        self._scale = 4 if width < 2 else 2 if width < 4 else 1
        while self._scale > 1 and self._region.size * self._scale**2 > _MOST:
            self._scale //= 2
        self._low = low.tolist()
        self._near = (low - margin).tolist(), (high + margin).tolist()
        height, width = np.array(self._region.shape[:2]) * self._scale
        self._alpha = np.zeros((height, width), np.uint8)
        self._colour = np.zeros((height, width, 3), np.uint8)

    @property
    def is_empty(self) -> bool:
        """Whether the layer is completely outside the image."""
        return not self._alpha.size

    def line(
        self, start: np.ndarray, end: np.ndarray, width: float, colour: Colour, opacity: float
    ) -> None:
        """Draw a line between two points, `width` pixels wide without rims."""
        rim = self._rim_of(width)
        ends = self._clip(start, end)
        if ends is None:
            return
        start, end = (self._at(point) for point in ends)
        wide, narrow = (max(round(full * self._scale), 1) for full in (width + 2 * rim, width))
        for plane, value, thickness in (
            (self._alpha, _grey(opacity), wide),
            (self._colour, RIM, wide),
            (self._colour, colour, narrow),
        ):
            cv2.line(plane, start, end, value, thickness, cv2.LINE_AA, _SHIFT)

    def dot(
        self,
        centre: np.ndarray,
        radius: float,
        colour: Colour,
        opacity: float,
        inside: Colour | None = None,
    ) -> None:
        """Draw a disc, or, with a colour `inside`, a disc with a coloured edge."""
        self._disc(self._alpha, centre, radius + self._rim_of(radius), _grey(opacity))
        self._disc(self._colour, centre, radius + self._rim_of(radius), RIM)
        self._disc(self._colour, centre, radius, colour)
        if inside is not None:
            self._disc(self._colour, centre, _INSIDE * radius, inside)

    def ring(self, centre: np.ndarray, radius: float, colour: Colour, opacity: float) -> None:
        """Draw a ring with a transparent centre."""
        rim = self._rim_of(radius)
        self.dot(centre, radius, colour, opacity, RIM)
        self._disc(self._alpha, centre, _INSIDE * radius - rim / 2, 0)

    def blend(self) -> None:
        """Blend the layer with the image, in place."""
        alpha, colour = self._alpha, self._colour
        if self._scale > 1:
            size = self._region.shape[1::-1]
            alpha, colour = (
                cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (alpha, colour)
            )
        alpha = cv2.merge((alpha,) * 3)
        drawn = cv2.multiply(colour, alpha, scale=1 / 255)
        ground = cv2.multiply(self._region, 255 - alpha, scale=1 / 255)
        self._region[:] = cv2.add(drawn, ground)

    def _rim_of(self, width: float) -> float:
        return min(self._rim, 0.3 * width)

    def _at(self, point: Sequence[float]) -> tuple[int, int]:
        """Convert image coordinates to OpenCV's fixed-point coordinates in the layer."""
        x, y = (
            round(((float(place) - low + 0.5) * self._scale - 0.5) * (1 << _SHIFT))
            for place, low in zip(point, self._low)
        )
        return x, y

    def _disc(
        self, plane: np.ndarray, centre: Sequence[float], radius: float, value: Colour | int
    ) -> None:
        if not all(
            low <= place <= high for low, place, high in zip(self._near[0], centre, self._near[1])
        ):
            return  # distant coordinates would also overflow OpenCV's integers
        radius = round(radius * self._scale * (1 << _SHIFT))
        cv2.circle(plane, self._at(centre), max(radius, 0), value, -1, cv2.LINE_AA, _SHIFT)

    def _clip(self, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the part of a line that is in or near the region; None if there is none."""
        low, high = self._near
        direction = end - start
        first, last = 0.0, 1.0
        for axis in range(2):
            if direction[axis] == 0:
                if not low[axis] <= start[axis] <= high[axis]:
                    return None
                continue
            near, far = sorted(
                (bound - start[axis]) / direction[axis] for bound in (low[axis], high[axis])
            )
            first, last = max(first, near), min(last, far)
        if first > last:
            return None
        # Clip once more, since digits are lost if the line is very long.
        return (
            np.clip(start + first * direction, low, high),
            np.clip(start + last * direction, low, high),
        )


def _grey(opacity: float) -> int:
    return round(255 * min(max(float(opacity), 0), 1))
