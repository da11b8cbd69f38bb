"""Draw the arms and legs of a person."""

import numpy as np

from .canvas import (
    CLOTH_BOTTOM,
    CLOTH_TOP,
    FOOT,
    FORE,
    HAND,
    LIMBS,
    SHANK,
    SUPERSAMPLING,
    THIGH,
    UPPER,
)
from .painter import Painter


def draw_arm(painter: Painter, side: str) -> None:
    """Queue an arm with its hand and sleeve.

    Args:
        painter: Painter of the person.
        side: left or right.
    """
    look, z, base = painter.look, painter.proj.z, LIMBS[side]
    s, e, w, h = (f'{side}_{n}' for n in ('shoulder', 'elbow', 'wrist', 'hand'))
    upper = 0.35 * z[s] + 0.65 * z[e] + 0.012
    fore = 0.5 * (z[e] + z[w]) + 0.03
    covered = look.sleeve * 2
    widen = 0.5 + 0.5 * look.loose + 0.06
    painter.limb(
        upper,
        s,
        e,
        ((0, 0.036), (0.3, 0.035), (0.75, 0.029), (1, 0.027)),
        base + UPPER,
        look.skin,
        look.top,
        covered,
        widen,
        CLOTH_TOP,
    )
    painter.limb(
        fore,
        e,
        w,
        ((0, 0.027), (0.3, 0.029), (0.8, 0.020), (1, 0.018)),
        base + FORE,
        look.skin,
        look.top,
        0.95 * (covered > 1.5),
        widen,
        CLOTH_TOP,
    )
    painter.limb(
        fore + 0.002,
        w,
        h,
        ((0, 0.016), (0.5, 0.021), (0.8, 0.020), (1, 0.013)),
        base + HAND,
        look.skin,
    )
    if painter.unit > 180:
        painter.later(fore + 0.003, lambda: _thumb(painter, side))


def _thumb(painter: Painter, side: str) -> None:
    """Draw a thumb that points towards the body."""
    a, b = painter.xy[f'{side}_wrist'], painter.xy[f'{side}_hand']
    along = b - a
    out = np.array((-along[1], along[0]))
    if out @ (painter.xy['pelvis'] - a) < 0:
        out = -out
    start = a + 0.35 * along + 0.2 * out
    painter.canvas.tube(
        np.stack((start, start + 0.45 * along + 0.1 * out)),
        (0.0085 * painter.unit, 0.006 * painter.unit),
        painter.look.skin,
        LIMBS[side] + HAND,
    )


def draw_leg(painter: Painter, side: str) -> None:
    """Queue a leg with its shoe and trousers.

    Args:
        painter: Painter of the person.
        side: left or right.
    """
    look, z, base = painter.look, painter.proj.z, LIMBS[side]
    hip, knee, ankle, heel, toe = (f'{side}_{n}' for n in ('hip', 'knee', 'ankle', 'heel', 'toe'))
    thigh = 0.5 * (z[hip] + z[knee]) - 0.03
    shank = 0.5 * (z[knee] + z[ankle]) - 0.025
    widen = look.loose
    painter.limb(
        thigh,
        hip,
        knee,
        ((0, 0.043), (0.18, 0.055), (0.3, 0.056), (0.8, 0.046), (1, 0.041)),
        base + THIGH,
        look.skin,
        look.bottom,
        2 * look.leg,
        widen,
        CLOTH_BOTTOM,
    )
    bottom = 0.024 + 0.05 * (look.loose - 1.04) * (look.leg == 1)
    painter.limb(
        shank,
        knee,
        ankle,
        ((0, 0.041), (0.25, 0.045), (0.7, 0.031), (1, bottom)),
        base + SHANK,
        look.skin,
        look.bottom,
        0.97 if look.leg == 1 else 2 * look.leg - 1,
        widen,
        CLOTH_BOTTOM,
    )
    unit = SUPERSAMPLING * painter.proj.scale[ankle]
    a, b, c = painter.xy[ankle], painter.xy[heel], painter.xy[toe]
    label = base + FOOT

    def draw() -> None:
        painter.canvas.tube(
            np.stack((b, 0.5 * b + 0.5 * c, c)),
            np.array((0.021, 0.023, 0.018)) * unit,
            tuple(v // 2 for v in look.shoes),
            label,
        )
        lift = 0.18 * (a - b)
        painter.canvas.tube(
            np.stack((b, a, a + 0.0)) + lift,
            np.array((0.020, 0.023, 0.023)) * unit,
            look.shoes,
            label,
        )
        painter.canvas.tube(
            np.stack((b, 0.5 * b + 0.5 * c, c)) + lift,
            np.array((0.020, 0.022, 0.017)) * unit,
            look.shoes,
            label,
        )

    painter.later(z[ankle] - 0.02, draw)
