"""Draw the head of a person: skull, face, hair, ears and hats."""

import numpy as np

from .body import SIDES, Body, Projection
from .canvas import AMBIENT, DIFFUSE, HAIR, HEAD, NEUTRAL
from .look import Look
from .painter import Painter

#: Hair behind the head, by style: points in the head's frame and radii, in units of the head size
_HANGING_HAIR = {
    'long': (((0, 0.01, -0.03), (0, -0.06, -0.04), (0, -0.125, -0.035)), (0.05, 0.052, 0.04)),
    'bob': (((0, 0.01, -0.02), (0, -0.03, -0.03), (0, -0.055, -0.025)), (0.05, 0.054, 0.048)),
    'pony': (((0, 0.03, -0.05), (0, -0.01, -0.085), (0, -0.08, -0.075)), (0.018, 0.026, 0.012)),
    'bun': (((0, 0.045, -0.055), (0, 0.05, -0.065), (0, 0.055, -0.07)), (0.024, 0.026, 0.024)),
}
_BRIM = (
    (-0.046, 0.030, 0.030),
    (-0.034, 0.028, 0.075),
    (0, 0.027, 0.098),
    (0.034, 0.028, 0.075),
    (0.046, 0.030, 0.030),
    (0, 0.034, 0.05),
)
_COVERED_EARS = ('long', 'bob')
#: centres and radii of the two ellipsoids of a head, in units of the head size
_SKULL = ((0, 0.018, -0.007), (0.049, 0.051, 0.058))
_FACE = ((0, -0.016, 0.013), (0.041, 0.054, 0.046))
#: MPII's upper neck and head top, in units of the head size
_NECK, _TOP = (0, -0.065, -0.005), (0, 0.069, -0.007)


def draw_head(painter: Painter) -> None:
    """Queue the head with hair, ears, nose and hat.

    Args:
        painter: Painter of the person.
    """
    look, z = painter.look, painter.proj.z['head'] + 0.03
    facing = painter.proj.head[2, 2]
    painter.later(z, lambda: painter.canvas.call(lambda: _draw_skull(painter)))
    if look.style in _HANGING_HAIR:
        _hair(painter, z)
    if look.style not in _COVERED_EARS:
        _ears(painter, z)
    if facing > -0.1:
        painter.later(z + 0.002, lambda: _draw_nose(painter))
    if look.hat == 'cap':
        brim = np.stack([_in_head(painter, *p) for p in _BRIM])
        painter.later(
            z + (0.003 if facing > -0.2 else -0.003),
            lambda: painter.canvas.fill(brim, look.top_second, HAIR, 0.75),
        )


def head_places(proj: Projection, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends and the bounding box of a head, without hair.

    Args:
        proj: The projected skeleton.
        body: Proportions of the person.

    Returns:
        (2, 2) x and y of the upper neck and of the head's top, and (4,)
        x1, y1, x2, y2 of the box, in pixels.
    """
    size = proj.scale['chest'] * body.head * np.array((1, -1))
    ends = np.array((_NECK, _TOP)) @ proj.head[:2].T
    corners = []
    for centre, radii in (_SKULL, _FACE):
        middle = proj.head[:2] @ centre
        extent = np.linalg.norm(proj.head[:2] * radii, axis=1)
        corners += [middle - extent, middle + extent]
    corners = proj.xy['head'] + size * np.stack(corners)
    return (proj.xy['head'] + size * ends, np.concatenate([corners.min(0), corners.max(0)]))


def _in_head(painter: Painter, *place: float) -> np.ndarray:
    """Convert a point in the head's frame to canvas coordinates."""
    p = painter.proj.head @ (np.array(place) * painter.body.head)
    return painter.xy['head'] + painter.unit * p[:2] * (1, -1)


def _hair(painter: Painter, z: float) -> None:
    """Queue the hair behind the head."""
    look, size = painter.look, painter.unit * painter.body.head
    places, radii = _HANGING_HAIR[look.style]
    behind = (painter.proj.head @ np.array(places[1]))[2] * painter.body.head

    def draw() -> None:
        painter.canvas.tube(
            np.stack([_in_head(painter, *p) for p in places]),
            np.array(radii) * size,
            look.hair,
            HAIR,
            painter.rim,
        )

    painter.later(z + 1.5 * behind - 0.02, draw)


def _ears(painter: Painter, z: float) -> None:
    """Queue the ears."""
    size = painter.unit * painter.body.head
    skin = tuple(int(0.9 * v) for v in painter.look.skin)
    for _, sign in SIDES:
        turn = sign * painter.proj.head[2, 0]

        def draw(sign: float = sign) -> None:
            painter.canvas.tube(
                np.stack(
                    (
                        _in_head(painter, 0.047 * sign, 0.008, -0.006),
                        _in_head(painter, 0.044 * sign, -0.012, -0.002),
                    )
                ),
                np.array((0.010, 0.007)) * size,
                skin,
                HEAD,
            )

        painter.later(z + 0.001 * (1 if turn > 0.12 else -1), draw)


def _draw_nose(painter: Painter) -> None:
    """Draw the nose and the shade below it."""
    size = painter.unit * painter.body.head
    skin = painter.look.skin
    pts = np.stack((_in_head(painter, 0, 0.006, 0.052), _in_head(painter, 0, -0.012, 0.064)))
    painter.canvas.tube(
        pts + (0, 0.004 * size),
        (0.005 * size, 0.0092 * size),
        tuple(int(0.82 * v) for v in skin),
        HEAD,
    )
    painter.canvas.tube(pts, (0.005 * size, 0.008 * size), skin, HEAD)


def _surface(
    painter: Painter, x: np.ndarray, y: np.ndarray, centre: tuple, radii: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Return the depths (h, w) and brightness of an ellipsoid of the head.

    `x` (1, w), `y` (h, 1), the centre and the radii are in units of the head size. Depths are -inf
    outside the ellipsoid.
    """
    r = painter.proj.head
    a = (r / np.array(radii)).T
    off = np.array(centre) / np.array(radii)
    g = [a[i, 0] * x + a[i, 1] * y - off[i] for i in range(3)]
    b = a[:, 2]
    bb = float(b @ b)
    gb = g[0] * b[0] + g[1] * b[1] + g[2] * b[2]
    disc = gb * gb - bb * (g[0] ** 2 + g[1] ** 2 + g[2] ** 2 - 1)
    z = (np.sqrt(np.maximum(disc, 0)) - gb) / bb
    light = a @ (painter.canvas.light * (1, -1, 1))
    q = [g[i] + b[i] * z for i in range(3)]
    dot = q[0] * light[0] + q[1] * light[1] + q[2] * light[2]
    n = [q[i] / radii[i] for i in range(3)]
    norm = np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2)
    lit = AMBIENT + DIFFUSE * np.maximum(0, dot / norm)
    return np.where(disc > 0, z, -np.inf).astype(np.float32), lit


def _draw_skull(painter: Painter) -> None:
    """Draw the skull with the face, pixel by pixel."""
    c, size = painter.canvas, painter.unit * painter.body.head
    volume = {'bald': 0.98, 'buzz': 1.0, 'afro': 1.32}.get(painter.look.style, 1.08)
    if painter.look.hat:
        volume = 1.06
    half = int(np.ceil(0.082 * size * max(1.0, 0.95 * volume))) + 1
    cx, cy = painter.xy['head']
    x0, y0 = max(0, int(cx) - half), max(0, int(cy) - half)
    x1 = min(c.label.shape[1], int(cx) + half + 1)
    y1 = min(c.label.shape[0], int(cy) + half + 1)
    if x0 >= x1 or y0 >= y1:
        return
    x = ((np.arange(x0, x1) - cx) / size).astype(np.float32)[None]
    y = ((cy - np.arange(y0, y1)) / size).astype(np.float32)[:, None]
    skull, lit_a = _surface(painter, x, y, _SKULL[0], tuple(r * volume for r in _SKULL[1]))
    face, lit_b = _surface(painter, x, y, *_FACE)
    z = np.maximum(skull, face)
    inside = np.isfinite(z)
    z = np.where(inside, z, 0)
    r = painter.proj.head.astype(np.float32)
    hx, hy, hz = (r[0, i] * x + r[1, i] * y + r[2, i] * z for i in range(3))
    colour, kind = _face_colours(painter.look, hx, hy, hz)
    area = (slice(y0, y1), slice(x0, x1))
    c.colour[area][inside] = colour[inside]
    c.label[area][inside] = kind[inside]
    lit = np.where(skull > face, lit_a, lit_b)
    c.shade[area][inside] = np.minimum(lit * NEUTRAL, 255)[inside]


def _face_colours(
    look: Look, hx: np.ndarray, hy: np.ndarray, hz: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours (h, w, 3) and labels (h, w) of points on the head.

    The points are in the head's frame, in units of the head size.
    """
    skin = np.array(look.skin, np.float32)
    colour = np.empty((*hx.shape, 3), np.uint8)
    colour[:] = look.skin
    kind = np.full(hx.shape, HEAD, np.uint8)
    ax, front = np.abs(hx), hz > 0
    dx = ax - 0.019
    colour[front & (np.abs(hy + 0.012) < 0.01) & (np.abs(dx - 0.004) < 0.01)] = np.clip(
        skin * (0.96, 0.95, 1.04), 0, 255
    )
    if look.beard:
        colour[front & (hy < -0.024 - 0.3 * (ax > 0.02) * (0.03 - ax))] = look.hair
    colour[front & (ax < 0.016 - 40 * (hy + 0.036) ** 2) & (np.abs(hy + 0.036) < 0.0045)] = skin * (
        0.62,
        0.6,
        0.8,
    )
    eye = front & ((dx / 0.0098) ** 2 + ((hy - 0.006) / 0.005) ** 2 < 1)
    colour[eye] = 0.25 * skin + 150
    colour[front & (dx**2 + (hy - 0.006) ** 2 < 0.0048**2)] = (40, 36, 34)
    colour[front & (np.abs(hy - 0.019 + 8 * dx**2) < 0.0028) & (np.abs(dx) < 0.013)] = (
        0.4 * skin + 0.4 * np.array(look.hair)
    )
    if look.glasses:
        ring = (dx / 0.016) ** 2 + ((hy - 0.005) / 0.012) ** 2
        colour[front & (ring < 1) & ((look.glasses == 'sun') | (ring > 0.62))] = (28, 26, 26)
    fringe = 0.030 if look.style in ('bob', 'long') else 0.040
    drop = -0.07 if look.style in ('bob', 'long') else -0.012
    line = np.interp(
        hz,
        (-0.05, -0.015, 0.006, 0.02, 0.036),
        (
            min(drop, -0.045),
            drop,
            max(drop, -0.02) if drop > -0.05 else drop,
            drop if drop < -0.05 else 0.022,
            fringe,
        ),
    )
    if look.style != 'bald':
        hair = hy > line
        colour[hair], kind[hair] = look.hair, HAIR
    if look.hat:
        hat = hy > 0.028 - 0.25 * np.maximum(0, -hz)
        colour[hat], kind[hat] = look.top_second, HAIR
    return colour, kind
