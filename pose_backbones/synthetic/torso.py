"""Draw the torso of a person: top, pelvis, neck, shoulders, backpack and skirt."""

import cv2
import numpy as np

from .body import SIDES
from .canvas import BAG, CLOTH_BOTTOM, CLOTH_TOP, LIMBS, NECK, PELVIS, SHOULDER, SKIRT, TORSO
from .painter import Painter


def _ring(
    painter: Painter, t: np.ndarray, width: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return centres and half extents of cross-sections of the torso.

    `t` is 0 at the hips and 1 at the neck; negative values are below the hips. Half widths and
    depths are in statures. The results, (n, 2) and (n,), are in pixels of the canvas.
    """
    xy, proj = painter.xy, painter.proj
    knots = np.stack(
        (2 * xy['pelvis'] - xy['waist'], xy['pelvis'], xy['waist'], xy['chest'], xy['neck'])
    )
    at = (-0.36, 0.0, 0.36, 0.72, 1.0)
    centre = np.stack((np.interp(t, at, knots[:, 0]), np.interp(t, at, knots[:, 1])), 1)
    up = xy['neck'] - xy['pelvis']
    up = up / max(np.hypot(*up), 1e-6)
    normal = np.array((-up[1], up[0]))
    extent = []
    for ti, w, d in zip(t, width, depth, strict=True):
        axes = proj.pelvis if ti < 0.3 else proj.chest
        flat = axes[:2] * np.array(((1.0,), (-1.0,)))
        a, f = normal @ flat[:, 0], normal @ flat[:, 2]
        extent.append(((w * a) ** 2 + (d * f) ** 2) ** 0.5)
    return centre, np.array(extent) * painter.unit


def _rings(painter: Painter, low: float, widen: float) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (n, 2) and half widths (n,) of the torso above `low`."""
    m, g = painter.body.masculine, painter.body.girth
    t = np.array((-0.14, 0, 0.17, 0.36, 0.62, 0.82, 0.95, 1.02))
    w = (
        np.array(
            (
                0.066,
                0.093 - 0.008 * m,
                0.089 - 0.005 * m,
                (0.066 + 0.011 * m) * g**0.5,
                0.080 + 0.012 * m,
                0.085 + 0.015 * m,
                0.068,
                0.036,
            )
        )
        * g**0.8
    )
    d = (
        np.array((0.05, 0.068 - 0.006 * m, 0.064, 0.05 * g, 0.062 - 0.004 * m, 0.058, 0.044, 0.032))
        * g**0.8
    )
    grid = np.append(low, t[t > low + 0.02])
    centre, extent = _ring(painter, grid, np.interp(grid, t, w), np.interp(grid, t, d))
    forward = painter.proj.chest[:2, 2] * (1, -1) * painter.unit
    shift = np.interp(grid, t, (-0.01, -0.016, -0.010, 0.002, 0.012, 0.006, 0, 0))
    return centre + shift[:, None] * forward, extent * widen


def draw_torso(painter: Painter) -> None:
    """Queue the torso with neck, shoulders and a backpack.

    Args:
        painter: Painter of the person.
    """
    look, z, c, xy = painter.look, painter.proj.z, painter.canvas, painter.xy
    depth = 0.5 * (z['pelvis'] + z['neck'])
    hem = 0.16 if look.tucked or look.skirt else look.hem

    def draw() -> None:
        pts, radii = _rings(painter, hem, 0.5 + 0.5 * look.loose)
        c.tube(
            pts[:-1],
            radii[:-1],
            look.top,
            TORSO | CLOTH_TOP,
            painter.rim,
            (0.0 if look.tucked else 0.22, 1.0),
        )
        facing = painter.proj.chest[2, 2]
        flat = painter.proj.chest[:2] * np.array(((1.0,), (-1.0,)))
        front = xy['neck'] + 0.045 * painter.unit * flat[:, 2]
        if facing > 0.25:
            if look.jacket:
                low = pts[0] + 0.05 * painter.unit * flat[:, 2]
                c.tube(
                    np.stack((front, 0.5 * (front + low), low)),
                    np.array((0.024, 0.024, 0.045)) * facing * painter.unit,
                    look.top_second,
                    TORSO,
                )
            c.tube(
                np.stack((xy['neck'], front)),
                np.array((0.03, 0.018)) * painter.unit,
                look.skin,
                NECK,
            )
        if look.tucked and not look.skirt:
            a, r = pts[0], radii[0]
            n = np.array((pts[1] - pts[0])[::-1]) * (1, -1)
            n = n / max(np.hypot(*n), 1e-6)
            c.tube(
                np.stack((a - n * r, a + n * r)),
                np.full(2, 0.008 * painter.unit),
                (30, 34, 40),
                PELVIS,
            )

    def draw_pelvis() -> None:
        pts, radii = _rings(painter, -0.14, 0.6 + 0.4 * look.loose)
        c.tube(pts[:4], radii[:4], look.bottom, PELVIS | CLOTH_BOTTOM, painter.rim)

    def draw_neck() -> None:
        r = (0.027 + 0.007 * painter.body.masculine) * painter.unit
        top = 0.4 * xy['neck'] + 0.6 * xy['head']
        c.tube(np.stack((xy['neck'], top)), (r * 1.15, r), look.skin, NECK)

    painter.later(0.6 * depth + 0.4 * z['pelvis'] - 0.012, draw_pelvis)
    painter.later(depth, draw)
    painter.later(min(depth, z['neck']) - 0.001, draw_neck)
    for side, _ in SIDES:
        _clavicle(painter, side, depth)
    if look.backpack:
        _backpack(painter, depth)


def _clavicle(painter: Painter, side: str, depth: float) -> None:
    """Queue the part between a shoulder and the neck."""
    look, z = painter.look, painter.proj.z
    near = z[f'{side}_shoulder'] > 0.5 * (z['left_shoulder'] + z['right_shoulder']) - 0.06
    colour = look.top if look.sleeve > 0 else look.skin
    mark = CLOTH_TOP if look.sleeve > 0 else 0

    def draw() -> None:
        a, b = painter.xy['neck'], painter.xy[f'{side}_shoulder']
        r = painter.body.girth**0.7 * painter.unit
        painter.canvas.tube(
            np.stack((a + 0.12 * (b - a), b)),
            (0.026 * r, 0.0355 * r),
            colour,
            LIMBS[side] + SHOULDER | mark,
            soft=True,
        )

    painter.later(depth + (0.001 if near else -0.002), draw)


def _backpack(painter: Painter, depth: float) -> None:
    """Queue a backpack behind the chest."""
    flat = painter.proj.chest[:2] * np.array(((1.0,), (-1.0,)))
    back = painter.proj.chest @ np.array((0, 0, -0.085))
    shift = -0.085 * flat[:, 2] * painter.unit
    size = (0.06 * abs(flat[0, 0]) + 0.035 * abs(flat[0, 2])) * painter.unit

    def draw() -> None:
        a, b = painter.xy['neck'], painter.xy['waist']
        pts = np.stack((a + 0.1 * (b - a), 0.5 * (a + b), b)) + shift
        painter.canvas.tube(
            pts, np.array((0.8, 1.05, 1)) * size, painter.look.top_second, BAG, painter.rim
        )

    painter.later(depth + back[2], draw)


def draw_skirt(painter: Painter) -> None:
    """Queue a skirt over the pelvis and the legs.

    Args:
        painter: Painter of the person.
    """
    look, z = painter.look, painter.proj.z
    depth = (
        max(
            z['pelvis'],
            0.5 * (z['left_hip'] + z['left_knee']),
            0.5 * (z['right_hip'] + z['right_knee']),
        )
        - 0.008
    )

    def draw() -> None:
        pts, radii = _rings(painter, 0.0, 1.03)
        pts, radii = list(pts[:2]), list(radii[:2])
        for side, _ in SIDES:
            a, b = painter.xy[f'{side}_hip'], painter.xy[f'{side}_knee']
            pts.append(a + min(look.skirt, 1.0) * (b - a))
            radii.append(0.062 * painter.unit)
            if look.skirt > 1:
                c = painter.xy[f'{side}_ankle']
                pts.append(b + (look.skirt - 1) * (c - b))
                radii.append(0.062 * painter.unit)
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        ring = np.stack((np.cos(turn), np.sin(turn)), 1)
        cloud = np.concatenate([p + r * ring for p, r in zip(pts, radii, strict=True)]).astype(
            np.float32
        )
        hull = cv2.convexHull(cloud)[:, 0].astype(np.float64)
        painter.canvas.fill(hull, look.bottom, SKIRT | CLOTH_BOTTOM, 0.95)
        for i in range(3):
            a = (0.5 + 0.25 * (i - 1)) * (pts[2] - pts[-1]) + pts[-1]
            painter.canvas.tube(
                np.stack((pts[1] + 0.3 * (a - pts[1]), a)),
                (0.008 * painter.unit, 0.016 * painter.unit),
                look.bottom,
                SKIRT | CLOTH_BOTTOM,
            )

    painter.later(depth, draw)
