"""Canvas on which a person is drawn: colour, shade and label maps."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

#: resolution of the canvas, as a multiple of the image resolution
SUPERSAMPLING = 2
#: shade value that does not change the colour
NEUTRAL = 160
#: ambient brightness, and additional brightness of surfaces that face the light
AMBIENT, DIFFUSE = 0.54, 0.60

#: labels of body parts that exist once
TORSO, PELVIS, NECK, HEAD, HAIR, SKIRT, BAG = 1, 2, 3, 4, 5, 6, 7
#: labels of limbs: the sum of a label for the side and a label for the part
LIMBS = {'left': 10, 'right': 20}
SHOULDER, UPPER, FORE, HAND, THIGH, SHANK, FOOT = range(7)
#: bits of the label map for the patterns of clothes
CLOTH_TOP, CLOTH_BOTTOM = 32, 64

_TURN = np.linspace(0, np.pi, 9)[1:-1, None]
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_RIGHT = np.array((-1.0, 1.0))
#: strips along a tube: centre offsets, normals and edges, relative to the radius
_ACROSS = np.array((-0.9, -0.62, -0.3, 0.0, 0.3, 0.62, 0.9))
_OUTWARD = np.sqrt(1 - _ACROSS**2)
_ENDS = np.array((-1, -0.78, -0.46, -0.15, 0.15, 0.46, 0.78, 1))[:, None, None]


class _Tube(NamedTuple):
    """The arguments of `Canvas.tube`."""

    points: np.ndarray
    radii: np.ndarray
    colour: tuple[int, int, int]
    label: int
    rim: float
    caps: tuple[float, float]
    soft: bool


class Canvas:
    """Colour, shade and label maps of one person at the resolution of the canvas.

    Attributes:
        corner: (2,) float64, x and y of the top left corner of the canvas in the image, in pixels.
        colour: (h, w, 3) BGR uint8, without shading.
        shade: (h, w) uint8 brightness; `NEUTRAL` does not change the colour.
        label: (h, w) uint8 body part and pattern bits; 0 for the background.
        light: (3,) unit vector towards the light.

    Args:
        box: x0, y0, x1, y1 of the canvas in pixels of the image.
        light: (3,) unit vector: x right, y down, z to the camera.
    """

    def __init__(self, box: tuple[int, int, int, int], light: np.ndarray) -> None:
        x0, y0, x1, y1 = box
        shape = ((y1 - y0) * SUPERSAMPLING, (x1 - x0) * SUPERSAMPLING)
        self.corner = np.array((x0, y0), np.float64)
        self.colour = np.zeros((*shape, 3), np.uint8)
        self.shade = np.full(shape, NEUTRAL, np.uint8)
        self.label = np.zeros(shape, np.uint8)
        self.light = light
        self._queue: list[_Tube | Callable[[], None]] = []

    def place(self, xy: np.ndarray) -> np.ndarray:
        """Convert image coordinates to canvas coordinates.

        Args:
            xy: (..., 2) pixel positions in the image.

        Returns:
            (..., 2) float64 pixel positions on the canvas.
        """
        return (np.asarray(xy) - self.corner) * SUPERSAMPLING + (SUPERSAMPLING - 1) / 2

    def call(self, draw: Callable[[], None]) -> None:
        """Queue a drawing function.

        Args:
            draw: Function that `flush` calls.
        """
        self._queue.append(draw)

    def fill(self, points: np.ndarray, colour: tuple, label: int, shade: float = 1.0) -> None:
        """Queue a polygon.

        Args:
            points: (n, 2) pixel positions on the canvas.
            colour: BGR, 0 to 255.
            label: Body part and pattern bits.
            shade: Brightness; 1 does not change the colour.
        """
        pts = np.rint(points * 16).astype(np.int32)
        self.call(lambda: self._fill(pts, colour, label, int(NEUTRAL * shade)))

    def tube(
        self,
        points: np.ndarray,
        radii: np.ndarray,
        colour: tuple,
        label: int,
        rim: float = 0.0,
        caps: tuple[float, float] = (1.0, 1.0),
        soft: bool = False,
    ) -> None:
        """Queue a tapered, shaded tube along a line.

        Args:
            points: (n, 2) pixel positions on the canvas.
            radii: (n,) radii at the points in pixels.
            colour: BGR, 0 to 255.
            label: Body part and pattern bits.
            rim: Width of a dark outline in pixels; none below 1.
            caps: Roundness of the two ends, 0 for flat.
            soft: Whether the sides are as bright as the middle.
        """
        self._queue.append(_Tube(points, radii, colour, label, rim, caps, soft))

    def flush(self) -> None:
        """Draw the queue; the shapes of tubes with equal numbers of points are computed at once."""
        groups: dict[int, list[int]] = {}
        for i, item in enumerate(self._queue):
            if isinstance(item, _Tube):
                groups.setdefault(len(item.radii), []).append(i)
        shapes = {}
        for members in groups.values():
            shapes.update(
                zip(
                    members,
                    zip(*_tube_shapes([self._queue[i] for i in members], self.light), strict=True),
                    strict=True,
                )
            )
        for i, item in enumerate(self._queue):
            if isinstance(item, _Tube):
                self._tube(item, *shapes[i])
            else:
                item()
        self._queue = []

    def _fill(self, pts: np.ndarray, colour: tuple, label: int, shade: int) -> None:
        cv2.fillPoly(self.colour, [pts], colour, cv2.LINE_8, 4)
        cv2.fillPoly(self.label, [pts], label, cv2.LINE_8, 4)
        cv2.fillPoly(self.shade, [pts], shade, cv2.LINE_8, 4)

    def _tube(
        self, tube: _Tube, outline: np.ndarray, strips: np.ndarray, bright: list[int], thick: float
    ) -> None:
        if tube.rim >= 1:
            cv2.polylines(
                self.shade, [outline], True, int(0.55 * NEUTRAL), round(tube.rim), cv2.LINE_8, 4
            )
        self._fill(outline, tube.colour, tube.label, bright[3])
        if tube.soft or thick < 3:
            return
        for i in (0, 1, 2, 4, 5, 6):
            cv2.fillPoly(self.shade, [strips[i]], bright[i], cv2.LINE_8, 4)


def _tube_shapes(tubes: list[_Tube], light: np.ndarray) -> tuple:
    """Compute the shapes of T tubes with n points each, in 1/16 pixel.

    Returns:
        Outlines (T, 2n + 14, 2), strips along the tubes (T, 7, 2n, 2), the brightness of the
        strips, and the maximum radii.
    """
    points = np.array([t.points for t in tubes], np.float64)
    radii = np.array([t.radii for t in tubes], np.float64)[..., None]
    caps = np.array([t.caps for t in tubes])[:, :, None, None]
    ahead = np.empty_like(points)
    ahead[:, 1:-1] = points[:, 2:] - points[:, :-2]
    ahead[:, 0] = points[:, 1] - points[:, 0]
    ahead[:, -1] = points[:, -1] - points[:, -2]
    ahead /= np.sqrt((ahead * ahead).sum(2, keepdims=True)) + 1e-6
    side = ahead[..., ::-1] * _RIGHT
    reach, tip = side * radii, ahead * radii
    first = points[:, :1] - _COS * reach[:, :1] - _SIN * (caps[:, 0] * tip[:, :1])
    last = points[:, -1:] + _COS * reach[:, -1:] + _SIN * (caps[:, 1] * tip[:, -1:])
    outline = np.concatenate((points + reach, last, (points - reach)[:, ::-1], first), 1)
    mean = side[:, side.shape[1] // 2]
    bright = NEUTRAL * (
        AMBIENT
        + DIFFUSE * np.maximum(0.0, (mean @ light[:2])[:, None] * _ACROSS + _OUTWARD * light[2])
    )
    edges = points[:, None] + _ENDS * reach[:, None]
    strips = np.concatenate((edges[:, :-1], edges[:, 1:, ::-1]), 2)
    return (
        np.rint(outline * 16).astype(np.int32),
        np.rint(strips * 16).astype(np.int32),
        bright.astype(int).tolist(),
        radii.max((1, 2)).tolist(),
    )
