"""Draw the limbs of a person, ordered by depth."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .body import Body, Projection
from .canvas import SUPERSAMPLING, Canvas
from .look import Look


@lru_cache(maxsize=4096)
def _profile(profile: tuple, upto: float) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (n, 1) and radii (n,) of the first part of a profile."""
    where, radius = np.array(profile).T
    t = np.append(where[where < upto], upto)
    return t[:, None], np.interp(t, where, radius)


def _part(
    a: np.ndarray, b: np.ndarray, profile: tuple, unit: float, upto: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and radii of the first part of a limb, from (position, radius) pairs."""
    t, radius = _profile(profile, upto)
    return a + t * (b - a), radius * unit


class Painter:
    """Collect the body parts of a person and draw them from far to near.

    Attributes:
        canvas: Canvas to draw on.
        proj: The projected skeleton.
        body: Proportions of the person.
        look: Colours and clothes.
        xy: (2,) float64 positions of the skeleton on the canvas, by name.
        unit: Canvas pixels per stature at the chest.
        rim: Width of outlines in canvas pixels.

    Args:
        canvas: Canvas to draw on.
        proj: The projected skeleton.
        body: Proportions of the person.
        look: Colours and clothes.
    """

    def __init__(self, canvas: Canvas, proj: Projection, body: Body, look: Look) -> None:
        self.canvas, self.proj = canvas, proj
        self.body, self.look = body, look
        self.xy = {k: canvas.place(v) for k, v in proj.xy.items()}
        self.unit = SUPERSAMPLING * proj.scale['chest']
        self.rim = 0.006 * self.unit
        self._parts: list[tuple[float, int, Callable[[], None]]] = []

    def later(self, depth: float, draw: Callable[[], None]) -> None:
        """Queue a drawing function.

        Args:
            depth: Depth in statures; greater is nearer.
            draw: Function that draws on the canvas.
        """
        self._parts.append((depth, len(self._parts), draw))

    def limb(
        self,
        depth: float,
        a: str,
        b: str,
        profile: tuple,
        label: int,
        skin: tuple,
        cloth: tuple | None = None,
        cover: float = 0.0,
        widen: float = 1.0,
        mark: int = 0,
    ) -> None:
        """Queue a limb between two joints, with cloth over its first part.

        Args:
            depth: Depth in statures; greater is nearer.
            a: Name of the joint at the start.
            b: Name of the joint at the end.
            profile: (position, radius) pairs; positions from 0 at `a` to 1 at `b`, radii in
                statures.
            label: Part of the body.
            skin: BGR colour, 0 to 255.
            cloth: BGR colour, 0 to 255.
            cover: Fraction covered by cloth; 1 or more covers the whole limb.
            widen: Radius of the cloth, relative to that of the limb.
            mark: Label bits for the pattern of the cloth.
        """
        thick = (
            self.body.girth
            * (0.92 + 0.12 * self.body.masculine)
            * SUPERSAMPLING
            * 0.5
            * (self.proj.scale[a] + self.proj.scale[b])
        )

        def draw() -> None:
            if cover < 1:
                self.canvas.tube(
                    *_part(self.xy[a], self.xy[b], profile, thick), skin, label, self.rim
                )
            if cover > 0:
                pts, radii = _part(self.xy[a], self.xy[b], profile, thick, min(cover, 1.0))
                wide = np.linspace(0.6 + 0.4 * widen, widen, len(radii))
                self.canvas.tube(
                    pts,
                    radii * wide,
                    cloth,
                    label | mark,
                    self.rim if cover >= 1 else 0,
                    (1.0, 1.0 if cover >= 1 else 0.25),
                )

        self.later(depth, draw)

    def paint(self) -> None:
        """Draw all parts, from far to near."""
        for _, _, draw in sorted(self._parts, key=lambda p: p[:2]):
            draw()
        self.canvas.flush()
