"""Draws one clothed person from a projected skeleton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import atan2, degrees
from typing import Any, NamedTuple

import cv2
import numpy as np

from .skeleton import KEYPOINT_NAMES, SIDES, Body, Projection

#: Drawing happens at this multiple of the picture's resolution.
SUPERSAMPLING = 2
NEUTRAL = 160
AMBIENT, DIFFUSE = 0.54, 0.60

_TURN = np.linspace(0, np.pi, 9)[1:-1, None]
_COS, _SIN = np.cos(_TURN), np.sin(_TURN)
_RIGHT = np.array((-1.0, 1.0))
_ACROSS = np.array((-0.9, -0.62, -0.3, 0.0, 0.3, 0.62, 0.9))
_OUTWARD = np.sqrt(1 - _ACROSS ** 2)
_ENDS = np.array((-1, -.78, -.46, -.15, .15, .46, .78, 1))[:, None, None]

TORSO, PELVIS, NECK, HEAD, HAIR, SKIRT, BAG = 1, 2, 3, 4, 5, 6, 7
LIMBS = {'left': 10, 'right': 20}
SHOULDER, UPPER, FORE, HAND, THIGH, SHANK, FOOT = range(7)
#: Bits of the label map above the part: the pattern on it.
CLOTH_TOP, CLOTH_BOTTOM = 32, 64

SKINS = ((188, 208, 238), (166, 192, 230), (144, 176, 220), (120, 158, 206),
         (92, 130, 180), (66, 98, 146), (48, 72, 112), (40, 54, 82))
HAIRS = ((24, 22, 24), (32, 36, 46), (38, 56, 84), (60, 96, 140),
         (96, 150, 196), (40, 60, 150), (150, 150, 152), (210, 212, 214))


@dataclass(frozen=True)
class Look:
    """Colours (BGR) and clothing of one person.

    ``sleeve`` is the covered share of the arm, ``leg`` that of the leg,
    ``skirt`` the length of a skirt in thighs (0 for none), ``hem`` the lower
    end of the top on the torso. ``pattern`` is
    the number of a pattern for (top, bottom), -1 for plain.
    """

    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    top: tuple[int, int, int]
    top_second: tuple[int, int, int]
    bottom: tuple[int, int, int]
    bottom_second: tuple[int, int, int]
    shoes: tuple[int, int, int]
    style: str
    sleeve: float
    leg: float
    skirt: float
    pattern: tuple[int, int]
    hem: float
    loose: float
    jacket: bool
    tucked: bool
    hat: str
    glasses: str
    beard: bool
    backpack: bool
    grain: int


@dataclass(frozen=True)
class Figure:
    """A drawn person.

    Attributes:
        origin: Pixel (x, y) of the drawing's corner in the picture.
        image: (h, w, 3) BGR uint8, multiplied by the coverage.
        alpha: (h, w) uint8 coverage.
        joints: (17, 3) float64 x, y and visibility with regard to the
            person's own body only; not clipped to the picture.
    """

    origin: tuple[int, int]
    image: np.ndarray
    alpha: np.ndarray
    joints: np.ndarray


def _pick(rng: np.random.Generator, options: tuple) -> Any:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def _cloth_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    kind = rng.random()
    if kind < 0.38:
        v = _pick(rng, (30, 45, 70, 110, 150, 190, 225)) + rng.normal(0, 8)
        hsv = (rng.integers(180), rng.integers(0, 28), v)
    elif kind < 0.6:
        hsv = (rng.normal(110, 8), rng.integers(70, 170),
               rng.integers(60, 190))
    else:
        hsv = (rng.integers(180), rng.triangular(50, 90, 200),
               rng.integers(70, 215))
    pixel = np.uint8([[np.clip(hsv, 0, (179, 255, 250))]])
    return tuple(int(v) for v in cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0])


def _far_colour(rng: np.random.Generator, *others: tuple) -> tuple:
    for _ in range(8):
        colour = _cloth_colour(rng)
        if all(sum(abs(a - b) for a, b in zip(colour, o, strict=True)) > 110
               for o in others):
            break
    return colour


def sample_look(rng: np.random.Generator, body: Body) -> Look:
    """Draws the colours and clothes of a person.

    Args:
        rng: Source of randomness.
        body: The person's build.

    Returns:
        The look.
    """
    skin = np.array(SKINS[rng.integers(len(SKINS))]) + rng.normal(0, 6, 3)
    skin = tuple(int(v) for v in np.clip(skin, 20, 250))
    male = rng.random() < 0.1 + 0.8 * body.masculine
    styles = (('bald', 'buzz', 'short', 'short', 'short', 'afro') if male else
              ('short', 'bob', 'bob', 'long', 'long', 'pony', 'bun', 'afro'))
    top = _far_colour(rng, skin)
    bottom = _far_colour(rng, skin, top)
    skirt, leg = 0.0, 1.0
    if not male and rng.random() < 0.35:
        skirt = _pick(rng, (0.55, 0.8, 1.0, 1.25))
        leg = 1.0 if rng.random() < 0.25 else 0.0
        if rng.random() < 0.5:
            bottom = top
    elif rng.random() < 0.3:
        leg = float(rng.uniform(0.25, 0.5))
    return Look(
        skin=skin, hair=HAIRS[int(len(HAIRS) * rng.beta(1, 1.8))], top=top,
        top_second=_far_colour(rng, top), bottom=bottom,
        bottom_second=tuple(int(0.75 * v) for v in bottom),
        shoes=_far_colour(rng, bottom), style=_pick(rng, styles),
        sleeve=_pick(rng, (0.0, 0.22, 0.3, 0.5, 1.0, 1.0, 1.0)),
        leg=leg, skirt=skirt,
        pattern=(int(rng.integers(6)) if rng.random() < 0.45 else -1,
                 int(rng.integers(6)) if rng.random() < 0.12 else -1),
        hem=float(rng.uniform(-0.16, 0.06)),
        loose=float(rng.uniform(1.04, 1.22)), jacket=rng.random() < 0.2,
        tucked=rng.random() < 0.3,
        hat=_pick(rng, ('', '', '', '', '', '', 'cap', 'beanie')),
        glasses=_pick(rng, ('', '', '', '', '', 'clear', 'sun')),
        beard=male and not body.child and rng.random() < 0.25,
        backpack=rng.random() < 0.08, grain=int(rng.integers(1 << 16)))


@lru_cache(maxsize=1)
def _patterns() -> tuple[np.ndarray, ...]:
    """Cloth patterns, (128, 128) uint8 masks that repeat."""
    y, x = np.mgrid[0:128, 0:128]
    rng = np.random.default_rng(5)
    spots = np.zeros((128, 128), np.float32)
    spots[rng.integers(0, 128, 260), rng.integers(0, 128, 260)] = 1
    spots = cv2.GaussianBlur(np.tile(spots, (3, 3)), (0, 0), 4)[128:256,
                                                               128:256]
    masks = (y % 16 < 6, y % 32 < 16, (x % 16 < 3) | (y % 16 < 3),
             (x % 16 - 8) ** 2 + (y % 16 - 8) ** 2 < 14,
             spots > np.median(spots), x % 16 < 3)
    return tuple(m.astype(np.uint8) * 255 for m in masks)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """Soft folds and weave, (1024, 1024) uint8 around 128."""
    rng = np.random.default_rng(6)
    total = np.zeros((1024, 1024), np.float32)
    for sigma, weight in ((1, 0.5), (4, 1.0), (10, 1.0)):
        noise = rng.standard_normal((1024, 1024)).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigma)
        total += weight * noise / noise.std()
    return np.clip(128 + 30 * total, 0, 255).astype(np.uint8)


class _Tube(NamedTuple):
    points: np.ndarray
    radii: np.ndarray
    colour: tuple[int, int, int]
    label: int
    rim: float
    caps: tuple[float, float]
    soft: bool


class _Canvas:
    """Colour, shade and label maps of one figure at drawing resolution."""

    def __init__(self, box: tuple[int, int, int, int],
                 light: np.ndarray) -> None:
        x0, y0, x1, y1 = box
        shape = ((y1 - y0) * SUPERSAMPLING, (x1 - x0) * SUPERSAMPLING)
        self.corner = np.array((x0, y0), np.float64)
        self.colour = np.zeros((*shape, 3), np.uint8)
        self.shade = np.full(shape, NEUTRAL, np.uint8)
        self.label = np.zeros(shape, np.uint8)
        self.light = light
        self.queue: list[_Tube | Callable[[], None]] = []

    def place(self, xy: np.ndarray) -> np.ndarray:
        """Pixel positions of the picture as positions on the canvas."""
        return (np.asarray(xy) - self.corner) * SUPERSAMPLING + (
            SUPERSAMPLING - 1) / 2

    def call(self, draw: Callable[[], None]) -> None:
        """Queues a function that draws."""
        self.queue.append(draw)

    def fill(self, points: np.ndarray, colour: tuple, label: int,
             shade: float = 1.0) -> None:
        """Queues a polygon given on the canvas."""
        pts = np.rint(points * 16).astype(np.int32)
        self.call(lambda: self._fill(pts, colour, label,
                                     int(NEUTRAL * shade)))

    def tube(self, points: np.ndarray, radii: np.ndarray, colour: tuple,
             label: int, rim: float = 0.0,
             caps: tuple[float, float] = (1.0, 1.0), soft: bool = False
             ) -> None:
        """Queues a tapered, shaded tube along a line.

        ``caps`` are the roundness of its ends, 0 for flat; a soft one
        has no darker sides.
        """
        self.queue.append(_Tube(points, radii, colour, label, rim, caps,
                                soft))

    def flush(self) -> None:
        """Draws what was queued; tubes are computed all at once."""
        groups: dict[int, list[int]] = {}
        for i, item in enumerate(self.queue):
            if isinstance(item, _Tube):
                groups.setdefault(len(item.radii), []).append(i)
        shapes = {}
        for members in groups.values():
            shapes.update(zip(members, zip(*_tube_shapes(
                [self.queue[i] for i in members], self.light),
                strict=True), strict=True))
        for i, item in enumerate(self.queue):
            if isinstance(item, _Tube):
                self._tube(item, *shapes[i])
            else:
                item()
        self.queue = []

    def _fill(self, pts: np.ndarray, colour: tuple, label: int, shade: int
              ) -> None:
        cv2.fillPoly(self.colour, [pts], colour, cv2.LINE_8, 4)
        cv2.fillPoly(self.label, [pts], label, cv2.LINE_8, 4)
        cv2.fillPoly(self.shade, [pts], shade, cv2.LINE_8, 4)

    def _tube(self, tube: _Tube, outline: np.ndarray, strips: np.ndarray,
              bright: list[int], thick: float) -> None:
        if tube.rim >= 1:
            cv2.polylines(self.shade, [outline], True, int(0.55 * NEUTRAL),
                          round(tube.rim), cv2.LINE_8, 4)
        self._fill(outline, tube.colour, tube.label, bright[3])
        if tube.soft or thick < 3:
            return
        for i in (0, 1, 2, 4, 5, 6):
            cv2.fillPoly(self.shade, [strips[i]], bright[i], cv2.LINE_8, 4)


def _tube_shapes(tubes: list[_Tube], light: np.ndarray) -> tuple:
    """Shapes of T tubes with n points each, in sixteenths of a pixel.

    Returns the outlines (T, 2n + 14, 2), the strips along the tubes
    (T, 7, 2n, 2), the brightness of these and the greatest radii.
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
    first = points[:, :1] - _COS * reach[:, :1] - _SIN * (
        caps[:, 0] * tip[:, :1])
    last = points[:, -1:] + _COS * reach[:, -1:] + _SIN * (
        caps[:, 1] * tip[:, -1:])
    outline = np.concatenate((points + reach, last,
                              (points - reach)[:, ::-1], first), 1)
    mean = side[:, side.shape[1] // 2]
    bright = NEUTRAL * (AMBIENT + DIFFUSE * np.maximum(
        0.0, (mean @ light[:2])[:, None] * _ACROSS + _OUTWARD * light[2]))
    edges = points[:, None] + _ENDS * reach[:, None]
    strips = np.concatenate((edges[:, :-1], edges[:, 1:, ::-1]), 2)
    return (np.rint(outline * 16).astype(np.int32),
            np.rint(strips * 16).astype(np.int32),
            bright.astype(int).tolist(), radii.max((1, 2)).tolist())


@lru_cache(maxsize=4096)
def _profile(profile: tuple, upto: float) -> tuple[np.ndarray, np.ndarray]:
    where, radius = np.array(profile).T
    t = np.append(where[where < upto], upto)
    return t[:, None], np.interp(t, where, radius)


def _part(a: np.ndarray, b: np.ndarray, profile: tuple, unit: float,
          upto: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Points and radii of a limb's first part, from (place, radius)s."""
    t, radius = _profile(profile, upto)
    return a + t * (b - a), radius * unit


class _Painter:
    """Draws the parts of one person in the order of their depths."""

    def __init__(self, canvas: _Canvas, proj: Projection, body: Body,
                 look: Look) -> None:
        self.canvas, self.proj = canvas, proj
        self.body, self.look = body, look
        self.xy = {k: canvas.place(v) for k, v in proj.xy.items()}
        self.unit = SUPERSAMPLING * proj.scale['chest']
        self.rim = 0.006 * self.unit
        self.parts: list[tuple[float, int, Callable[[], None]]] = []

    def later(self, depth: float, draw: Callable[[], None]) -> None:
        """Queues a drawing; greater depths are nearer."""
        self.parts.append((depth, len(self.parts), draw))

    def paint(self) -> None:
        """Draws everything, far parts first."""
        for side, _ in SIDES:
            self._arm(side)
            self._leg(side)
        self._torso()
        self._head()
        if self.look.skirt:
            self._skirt()
        for _, _, draw in sorted(self.parts, key=lambda p: p[:2]):
            draw()
        self.canvas.flush()

    def _limb(self, depth: float, a: str, b: str, profile: tuple, label: int,
              skin: tuple, cloth: tuple | None = None, cover: float = 0.0,
              widen: float = 1.0, mark: int = 0) -> None:
        thick = (self.body.girth * (0.92 + 0.12 * self.body.masculine)
                 * SUPERSAMPLING
                 * 0.5 * (self.proj.scale[a] + self.proj.scale[b]))

        def draw() -> None:
            if cover < 1:
                self.canvas.tube(*_part(self.xy[a], self.xy[b], profile,
                                        thick), skin, label, self.rim)
            if cover > 0:
                pts, radii = _part(self.xy[a], self.xy[b], profile, thick,
                                   min(cover, 1.0))
                wide = np.linspace(0.6 + 0.4 * widen, widen, len(radii))
                self.canvas.tube(pts, radii * wide, cloth, label | mark,
                                 self.rim if cover >= 1 else 0,
                                 (1.0, 1.0 if cover >= 1 else 0.25))

        self.later(depth, draw)

    def _arm(self, side: str) -> None:
        look, z, base = self.look, self.proj.z, LIMBS[side]
        s, e, w, h = (f'{side}_{n}' for n in (
            'shoulder', 'elbow', 'wrist', 'hand'))
        upper = 0.35 * z[s] + 0.65 * z[e] + 0.012
        fore = 0.5 * (z[e] + z[w]) + 0.03
        covered = look.sleeve * 2
        widen = 0.5 + 0.5 * look.loose + 0.06
        self._limb(upper, s, e, ((0, .036), (.3, .035), (.75, .029),
                                 (1, .027)), base + UPPER, look.skin,
                   look.top, covered, widen, CLOTH_TOP)
        self._limb(fore, e, w, ((0, .027), (.3, .029), (.8, .020),
                                (1, .018)), base + FORE, look.skin,
                   look.top, 0.95 * (covered > 1.5), widen, CLOTH_TOP)
        self._limb(fore + 0.002, w, h, ((0, .016), (.5, .021), (.8, .020),
                                        (1, .013)), base + HAND, look.skin)
        if self.unit > 180:
            self.later(fore + 0.003, lambda: self._thumb(side))

    def _thumb(self, side: str) -> None:
        a, b = self.xy[f'{side}_wrist'], self.xy[f'{side}_hand']
        along = b - a
        out = np.array((-along[1], along[0]))
        if out @ (self.xy['pelvis'] - a) < 0:
            out = -out
        start = a + 0.35 * along + 0.2 * out
        self.canvas.tube(np.stack((start, start + 0.45 * along + 0.1 * out)),
                         (.0085 * self.unit, .006 * self.unit),
                         self.look.skin, LIMBS[side] + HAND)

    def _leg(self, side: str) -> None:
        look, z, base = self.look, self.proj.z, LIMBS[side]
        hip, knee, ankle, heel, toe = (f'{side}_{n}' for n in (
            'hip', 'knee', 'ankle', 'heel', 'toe'))
        thigh = 0.5 * (z[hip] + z[knee]) - 0.03
        shank = 0.5 * (z[knee] + z[ankle]) - 0.025
        widen = look.loose
        self._limb(thigh, hip, knee, ((0, .043), (.18, .055), (.3, .056),
                                      (.8, .046), (1, .041)),
                   base + THIGH, look.skin, look.bottom, 2 * look.leg,
                   widen, CLOTH_BOTTOM)
        bottom = .024 + .05 * (look.loose - 1.04) * (look.leg == 1)
        self._limb(shank, knee, ankle, ((0, .041), (.25, .045), (.7, .031),
                                        (1, bottom)), base + SHANK,
                   look.skin, look.bottom,
                   0.97 if look.leg == 1 else 2 * look.leg - 1, widen,
                   CLOTH_BOTTOM)
        unit = SUPERSAMPLING * self.proj.scale[ankle]
        a, b, c = self.xy[ankle], self.xy[heel], self.xy[toe]
        label = base + FOOT

        def draw() -> None:
            self.canvas.tube(np.stack((b, 0.5 * b + 0.5 * c, c)),
                             np.array((.021, .023, .018)) * unit,
                             tuple(v // 2 for v in look.shoes), label)
            lift = 0.18 * (a - b)
            self.canvas.tube(np.stack((b, a, a + 0.0)) + lift,
                             np.array((.020, .023, .023)) * unit,
                             look.shoes, label)
            self.canvas.tube(np.stack((b, 0.5 * b + 0.5 * c, c)) + lift,
                             np.array((.020, .022, .017)) * unit,
                             look.shoes, label)

        self.later(z[ankle] - 0.02, draw)

    def _ring(self, t: np.ndarray, width: np.ndarray, depth: np.ndarray
              ) -> tuple[np.ndarray, np.ndarray]:
        """Centres and half extents of cross-sections of the torso.

        ``t`` runs from 0 at the hips to 1 at the neck; negative values
        lie below the hips.
        """
        xy, proj = self.xy, self.proj
        knots = np.stack((2 * xy['pelvis'] - xy['waist'], xy['pelvis'],
                          xy['waist'], xy['chest'], xy['neck']))
        at = (-0.36, 0.0, 0.36, 0.72, 1.0)
        centre = np.stack((np.interp(t, at, knots[:, 0]),
                           np.interp(t, at, knots[:, 1])), 1)
        up = xy['neck'] - xy['pelvis']
        up = up / max(np.hypot(*up), 1e-6)
        normal = np.array((-up[1], up[0]))
        extent = []
        for ti, w, d in zip(t, width, depth, strict=True):
            axes = proj.pelvis if ti < 0.3 else proj.chest
            flat = axes[:2] * np.array(((1.0,), (-1.0,)))
            a, f = normal @ flat[:, 0], normal @ flat[:, 2]
            extent.append(((w * a) ** 2 + (d * f) ** 2) ** 0.5)
        return centre, np.array(extent) * self.unit

    def _torso_rings(self, low: float, widen: float
                     ) -> tuple[np.ndarray, np.ndarray]:
        m, g = self.body.masculine, self.body.girth
        t = np.array((-.14, 0, .17, .36, .62, .82, .95, 1.02))
        w = np.array((.066, .093 - .008 * m, .089 - .005 * m,
                      (.066 + .011 * m) * g ** .5, .080 + .012 * m,
                      .085 + .015 * m, .068, .036)) * g ** .8
        d = np.array((.05, .068 - .006 * m, .064, .05 * g, .062 - .004 * m,
                      .058, .044, .032)) * g ** .8
        grid = np.append(low, t[t > low + 0.02])
        centre, extent = self._ring(grid, np.interp(grid, t, w),
                                    np.interp(grid, t, d))
        forward = self.proj.chest[:2, 2] * (1, -1) * self.unit
        shift = np.interp(grid, t, (-.01, -.016, -.010, .002, .012, .006,
                                    0, 0))
        return centre + shift[:, None] * forward, extent * widen

    def _torso(self) -> None:
        look, z, c, xy = self.look, self.proj.z, self.canvas, self.xy
        depth = 0.5 * (z['pelvis'] + z['neck'])
        hem = 0.16 if look.tucked or look.skirt else look.hem

        def draw() -> None:
            pts, radii = self._torso_rings(hem, 0.5 + 0.5 * look.loose)
            c.tube(pts[:-1], radii[:-1], look.top, TORSO | CLOTH_TOP,
                   self.rim, (0.0 if look.tucked else 0.22, 1.0))
            facing = self.proj.chest[2, 2]
            flat = self.proj.chest[:2] * np.array(((1.0,), (-1.0,)))
            front = xy['neck'] + 0.045 * self.unit * flat[:, 2]
            if facing > 0.25:
                if look.jacket:
                    low = pts[0] + 0.05 * self.unit * flat[:, 2]
                    c.tube(np.stack((front, 0.5 * (front + low), low)),
                           np.array((.024, .024, .045)) * facing * self.unit,
                           look.top_second, TORSO)
                c.tube(np.stack((xy['neck'], front)),
                       np.array((.03, .018)) * self.unit, look.skin, NECK)
            if look.tucked and not look.skirt:
                a, r = pts[0], radii[0]
                n = np.array((pts[1] - pts[0])[::-1]) * (1, -1)
                n = n / max(np.hypot(*n), 1e-6)
                c.tube(np.stack((a - n * r, a + n * r)),
                       np.full(2, .008 * self.unit), (30, 34, 40), PELVIS)

        def draw_pelvis() -> None:
            pts, radii = self._torso_rings(-0.14, 0.6 + 0.4 * look.loose)
            c.tube(pts[:4], radii[:4], look.bottom, PELVIS | CLOTH_BOTTOM,
                   self.rim)

        def draw_neck() -> None:
            r = (.027 + .007 * self.body.masculine) * self.unit
            top = 0.4 * xy['neck'] + 0.6 * xy['head']
            c.tube(np.stack((xy['neck'], top)), (r * 1.15, r), look.skin,
                   NECK)

        self.later(0.6 * depth + 0.4 * z['pelvis'] - 0.012, draw_pelvis)
        self.later(depth, draw)
        self.later(min(depth, z['neck']) - 0.001, draw_neck)
        for side, _ in SIDES:
            self._clavicle(side, depth)
        if look.backpack:
            self._backpack(depth)

    def _clavicle(self, side: str, depth: float) -> None:
        look, z = self.look, self.proj.z
        near = z[f'{side}_shoulder'] > 0.5 * (
            z['left_shoulder'] + z['right_shoulder']) - 0.06
        colour = look.top if look.sleeve > 0 else look.skin
        mark = CLOTH_TOP if look.sleeve > 0 else 0

        def draw() -> None:
            a, b = self.xy['neck'], self.xy[f'{side}_shoulder']
            r = self.body.girth ** 0.7 * self.unit
            self.canvas.tube(np.stack((a + 0.12 * (b - a), b)),
                             (.026 * r, .0355 * r), colour,
                             LIMBS[side] + SHOULDER | mark, soft=True)

        self.later(depth + (0.001 if near else -0.002), draw)

    def _backpack(self, depth: float) -> None:
        flat = self.proj.chest[:2] * np.array(((1.0,), (-1.0,)))
        back = self.proj.chest @ np.array((0, 0, -0.085))
        shift = -0.085 * flat[:, 2] * self.unit
        size = (0.06 * abs(flat[0, 0]) + 0.035 * abs(flat[0, 2])) * self.unit

        def draw() -> None:
            a, b = self.xy['neck'], self.xy['waist']
            pts = np.stack((a + 0.1 * (b - a), 0.5 * (a + b), b)) + shift
            self.canvas.tube(pts, np.array((.8, 1.05, 1)) * size,
                             self.look.top_second, BAG, self.rim)

        self.later(depth + back[2], draw)

    def _skirt(self) -> None:
        look, z = self.look, self.proj.z
        depth = max(z['pelvis'], 0.5 * (z['left_hip'] + z['left_knee']),
                    0.5 * (z['right_hip'] + z['right_knee'])) - 0.008

        def draw() -> None:
            pts, radii = self._torso_rings(0.0, 1.03)
            pts, radii = list(pts[:2]), list(radii[:2])
            for side, _ in SIDES:
                a, b = self.xy[f'{side}_hip'], self.xy[f'{side}_knee']
                pts.append(a + min(look.skirt, 1.0) * (b - a))
                radii.append(0.062 * self.unit)
                if look.skirt > 1:
                    c = self.xy[f'{side}_ankle']
                    pts.append(b + (look.skirt - 1) * (c - b))
                    radii.append(0.062 * self.unit)
            turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            ring = np.stack((np.cos(turn), np.sin(turn)), 1)
            cloud = np.concatenate([p + r * ring for p, r in zip(
                pts, radii, strict=True)]).astype(np.float32)
            hull = cv2.convexHull(cloud)[:, 0].astype(np.float64)
            self.canvas.fill(hull, look.bottom, SKIRT | CLOTH_BOTTOM, 0.95)
            for i in range(3):
                a = (0.5 + 0.25 * (i - 1)) * (pts[2] - pts[-1]) + pts[-1]
                self.canvas.tube(
                    np.stack((pts[1] + 0.3 * (a - pts[1]), a)),
                    (.008 * self.unit, .016 * self.unit), look.bottom,
                    SKIRT | CLOTH_BOTTOM)

        self.later(depth, draw)

    def _in_head(self, *place: float) -> np.ndarray:
        """Canvas position of a point in the frame of the head."""
        p = self.proj.head @ (np.array(place) * self.body.head)
        return self.xy['head'] + self.unit * p[:2] * (1, -1)

    def _head(self) -> None:
        look, z, r = self.look, self.proj.z['head'] + 0.03, self.proj.head
        size = self.unit * self.body.head
        self.later(z, lambda: self.canvas.call(self._draw_head))
        hair = {'long': ((0, .01, -.03), (0, -.06, -.04), (0, -.125, -.035)),
                'bob': ((0, .01, -.02), (0, -.03, -.03), (0, -.055, -.025)),
                'pony': ((0, .03, -.05), (0, -.01, -.085), (0, -.08, -.075)),
                'bun': ((0, .045, -.055), (0, .05, -.065), (0, .055, -.07))}
        width = {'long': (.05, .052, .04), 'bob': (.05, .054, .048),
                 'pony': (.018, .026, .012), 'bun': (.024, .026, .024)}
        if look.style in hair:
            places = hair[look.style]
            behind = (r @ np.array(places[1]))[2] * self.body.head

            def draw_hair() -> None:
                self.canvas.tube(
                    np.stack([self._in_head(*p) for p in places]),
                    np.array(width[look.style]) * size, look.hair, HAIR,
                    self.rim)

            self.later(z + 1.5 * behind - 0.02, draw_hair)
        for _, sign in SIDES:
            turn = sign * r[2, 0]

            def draw_ear(sign: float = sign) -> None:
                self.canvas.tube(
                    np.stack((self._in_head(.047 * sign, .008, -.006),
                              self._in_head(.044 * sign, -.012, -.002))),
                    np.array((.010, .007)) * size,
                    tuple(int(0.9 * v) for v in look.skin), HEAD)

            if look.style not in ('long', 'bob'):
                self.later(z + 0.001 * (1 if turn > 0.12 else -1), draw_ear)
        facing = r[2, 2]
        if facing > -0.1:
            self.later(z + 0.002, self._draw_nose)
        if look.hat == 'cap':
            brim = [self._in_head(*p) for p in (
                (-.046, .030, .030), (-.034, .028, .075), (0, .027, .098),
                (.034, .028, .075), (.046, .030, .030), (0, .034, .05))]
            self.later(z + (0.003 if facing > -0.2 else -0.003),
                       lambda: self.canvas.fill(
                           np.stack(brim), look.top_second, HAIR, 0.75))

    def _draw_nose(self) -> None:
        size = self.unit * self.body.head
        skin = self.look.skin
        pts = np.stack((self._in_head(0, .006, .052),
                        self._in_head(0, -.012, .064)))
        self.canvas.tube(pts + (0, 0.004 * size), (.005 * size, .0092 * size),
                         tuple(int(0.82 * v) for v in skin), HEAD)
        self.canvas.tube(pts, (.005 * size, .008 * size), skin, HEAD)

    def _surface(self, x: np.ndarray, y: np.ndarray, centre: tuple,
                 radii: tuple) -> tuple[np.ndarray, np.ndarray]:
        """Depths (h, w) and brightness of an ellipsoid of the head."""
        r = self.proj.head
        a = (r / np.array(radii)).T
        off = np.array(centre) / np.array(radii)
        g = [a[i, 0] * x + a[i, 1] * y - off[i] for i in range(3)]
        b = a[:, 2]
        bb = float(b @ b)
        gb = g[0] * b[0] + g[1] * b[1] + g[2] * b[2]
        disc = gb * gb - bb * (g[0] ** 2 + g[1] ** 2 + g[2] ** 2 - 1)
        z = (np.sqrt(np.maximum(disc, 0)) - gb) / bb
        light = a @ (self.canvas.light * (1, -1, 1))
        q = [g[i] + b[i] * z for i in range(3)]
        dot = q[0] * light[0] + q[1] * light[1] + q[2] * light[2]
        n = [q[i] / radii[i] for i in range(3)]
        norm = np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2)
        lit = AMBIENT + DIFFUSE * np.maximum(0, dot / norm)
        return np.where(disc > 0, z, -np.inf).astype(np.float32), lit

    def _draw_head(self) -> None:
        c, size = self.canvas, self.unit * self.body.head
        volume = {'bald': 0.98, 'buzz': 1.0, 'afro': 1.32}.get(
            self.look.style, 1.08)
        if self.look.hat:
            volume = 1.06
        half = int(np.ceil(0.082 * size * max(1.0, 0.95 * volume))) + 1
        cx, cy = self.xy['head']
        x0, y0 = max(0, int(cx) - half), max(0, int(cy) - half)
        x1 = min(c.label.shape[1], int(cx) + half + 1)
        y1 = min(c.label.shape[0], int(cy) + half + 1)
        if x0 >= x1 or y0 >= y1:
            return
        x = ((np.arange(x0, x1) - cx) / size).astype(np.float32)[None]
        y = ((cy - np.arange(y0, y1)) / size).astype(np.float32)[:, None]
        skull, lit_a = self._surface(x, y, (0, .018, -.007), (
            .049 * volume, .051 * volume, .058 * volume))
        face, lit_b = self._surface(x, y, (0, -.016, .013),
                                    (.041, .054, .046))
        z = np.maximum(skull, face)
        inside = np.isfinite(z)
        z = np.where(inside, z, 0)
        r = self.proj.head.astype(np.float32)
        hx, hy, hz = (r[0, i] * x + r[1, i] * y + r[2, i] * z
                      for i in range(3))
        colour, kind = self._face_colours(hx, hy, hz)
        area = (slice(y0, y1), slice(x0, x1))
        c.colour[area][inside] = colour[inside]
        c.label[area][inside] = kind[inside]
        lit = np.where(skull > face, lit_a, lit_b)
        c.shade[area][inside] = np.minimum(lit * NEUTRAL, 255)[inside]

    def _face_colours(self, hx: np.ndarray, hy: np.ndarray, hz: np.ndarray
                      ) -> tuple[np.ndarray, np.ndarray]:
        """Colours and labels of points of the head, in its frame."""
        look = self.look
        skin = np.array(look.skin, np.float32)
        colour = np.empty((*hx.shape, 3), np.uint8)
        colour[:] = look.skin
        kind = np.full(hx.shape, HEAD, np.uint8)
        ax, front = np.abs(hx), hz > 0
        dx = ax - 0.019
        colour[front & (np.abs(hy + 0.012) < 0.01) & (np.abs(dx - .004)
                                                      < .01)] = np.clip(
            skin * (0.96, 0.95, 1.04), 0, 255)
        if look.beard:
            colour[front & (hy < -0.024 - 0.3 * (ax > .02) * (.03 - ax))
                   ] = look.hair
        colour[front & (ax < 0.016 - 40 * (hy + 0.036) ** 2)
               & (np.abs(hy + 0.036) < 0.0045)] = skin * (0.62, 0.6, 0.8)
        eye = front & ((dx / 0.0098) ** 2 + ((hy - 0.006) / 0.005) ** 2 < 1)
        colour[eye] = 0.25 * skin + 150
        colour[front & (dx ** 2 + (hy - 0.006) ** 2 < 0.0048 ** 2)
               ] = (40, 36, 34)
        colour[front & (np.abs(hy - 0.019 + 8 * dx ** 2) < 0.0028)
               & (np.abs(dx) < 0.013)] = 0.4 * skin + 0.4 * np.array(
            look.hair)
        if look.glasses:
            ring = (dx / 0.016) ** 2 + ((hy - 0.005) / 0.012) ** 2
            colour[front & (ring < 1) & (
                (look.glasses == 'sun') | (ring > 0.62))] = (28, 26, 26)
        fringe = 0.030 if look.style in ('bob', 'long') else 0.040
        drop = -0.07 if look.style in ('bob', 'long') else -0.012
        line = np.interp(hz, (-0.05, -0.015, 0.006, 0.02, 0.036), (
            min(drop, -0.045), drop, max(drop, -0.02) if drop > -.05
            else drop, drop if drop < -.05 else 0.022, fringe))
        if look.style != 'bald':
            hair = hy > line
            colour[hair], kind[hair] = look.hair, HAIR
        if look.hat:
            hat = hy > 0.028 - 0.25 * np.maximum(0, -hz)
            colour[hat], kind[hat] = look.top_second, HAIR
        return colour, kind


def _apply_patterns(canvas: _Canvas, painter: _Painter, look: Look) -> None:
    up = painter.xy['neck'] - painter.xy['pelvis']
    for number, mark, colour in (
            (look.pattern[0], CLOTH_TOP, look.top_second),
            (look.pattern[1], CLOTH_BOTTOM, look.bottom_second)):
        if number < 0:
            continue
        grow = max(painter.unit / 420, 0.12)
        turn = cv2.getRotationMatrix2D((0, 0), -degrees(
            atan2(up[0], -up[1])), grow)
        turn[:, 2] = painter.xy['neck']
        size = canvas.label.shape[1::-1]
        mask = cv2.warpAffine(_patterns()[number], turn, size,
                              flags=cv2.INTER_NEAREST,
                              borderMode=cv2.BORDER_WRAP)
        mask = cv2.bitwise_and(mask, cv2.bitwise_and(canvas.label, mark))
        cv2.copyTo(np.full_like(canvas.colour, colour), mask, canvas.colour)


def _finish(canvas: _Canvas, look: Look, unit: float
            ) -> tuple[np.ndarray, np.ndarray]:
    """Shaded picture multiplied by coverage, and the coverage."""
    h, w = canvas.label.shape
    sigma = max(0.7, 0.008 * unit)
    shade = cv2.GaussianBlur(canvas.shade, (0, 0), sigma)
    y, x = look.grain // 256 * 2, look.grain % 256 * 2
    grain = _grain()[y:y + h, x:x + w]
    if grain.shape == shade.shape:
        shade = cv2.addWeighted(shade, 1.0, grain, 0.16, -0.16 * 128)
    image = cv2.multiply(canvas.colour, cv2.merge((shade,) * 3),
                         scale=1 / NEUTRAL)
    mask = cv2.compare(canvas.label, 0, cv2.CMP_GT)
    small = (w // SUPERSAMPLING, h // SUPERSAMPLING)
    return (cv2.resize(image, small, interpolation=cv2.INTER_AREA),
            cv2.resize(mask, small, interpolation=cv2.INTER_AREA))


@lru_cache(maxsize=32)
def _shows(name: str) -> np.ndarray:
    """Which labels show a joint if drawn at its place, (256,) bool."""
    table = np.zeros(256, bool)
    side, _, joint = name.partition('_')
    if joint in ('eye', 'ear') or name == 'nose':
        table[[HEAD, HAIR]] = True
        return table | np.roll(table, 32) | np.roll(table, 64)
    base = LIMBS[side]
    parts = {'shoulder': (SHOULDER, UPPER), 'elbow': (UPPER, FORE),
             'wrist': (FORE, HAND), 'hip': (THIGH,), 'knee': (THIGH, SHANK),
             'ankle': (SHANK, FOOT)}[joint]
    extra = {'shoulder': (TORSO, NECK, HAIR, BAG),
             'hip': (PELVIS, TORSO, SKIRT), 'knee': (SKIRT,),
             'ankle': (SKIRT,)}.get(joint, ())
    table[[*(base + p for p in parts), *extra]] = True
    return table | np.roll(table, 32) | np.roll(table, 64)


def _own_visibility(name: str, proj: Projection, look: Look) -> int:
    """Visibility as far as it follows from the view alone."""
    head, z = proj.head, proj.z
    forward = head[2, 2]
    side, _, joint = name.partition('_')
    sign = 1.0 if side == 'left' else -1.0
    if name == 'nose':
        return 2 if forward > -0.1 else (1 if forward > -0.3 else 0)
    if joint == 'eye':
        out = (head @ np.array((0.42 * sign, 0, 0.9)))[2]
        return 2 if out > 0.1 else (1 if forward > -0.25 else 0)
    if joint == 'ear':
        out = sign * head[2, 0]
        covered = look.style in ('long', 'bob')
        if out > -0.3:
            return 1 if covered else 2
        return 1 if out > -0.85 else 0
    if joint == 'shoulder':
        middle = 0.5 * (z['left_shoulder'] + z['right_shoulder'])
        return 2 if z[name] - middle > -0.075 else 1
    if joint == 'hip':
        return 2 if z[name] - z['pelvis'] > -0.042 else 1
    return 2


def draw_figure(proj: Projection, body: Body, look: Look,
                light: np.ndarray, size: tuple[int, int]) -> Figure | None:
    """Draws a person.

    Args:
        proj: The skeleton in the picture.
        body: The person's build.
        look: Colours and clothes.
        light: Unit vector towards the light: x right, y down, z to the
            camera.
        size: Width and height of the picture in pixels.

    Returns:
        The drawing, cut to the picture, or None if all of it is outside.
    """
    cloud = np.stack(list(proj.xy.values()))
    margin = 0.11 * max(proj.scale.values()) * max(1.0, body.girth)
    x0, y0 = np.floor(np.maximum(cloud.min(0) - margin, 0)).astype(int)
    x1, y1 = np.ceil(np.minimum(cloud.max(0) + margin, size)).astype(int)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    canvas = _Canvas((int(x0), int(y0), int(x1), int(y1)), light)
    painter = _Painter(canvas, proj, body, look)
    painter.paint()
    _apply_patterns(canvas, painter, look)
    image, alpha = _finish(canvas, look, painter.unit)
    joints = np.zeros((17, 3))
    h, w = canvas.label.shape
    reach = max(1, round(0.008 * painter.unit))
    for i, name in enumerate(KEYPOINT_NAMES):
        joints[i] = *proj.xy[name], _own_visibility(name, proj, look)
        cx, cy = np.round(painter.xy[name]).astype(int)
        if joints[i, 2] == 2 and 0 <= cx < w and 0 <= cy < h:
            patch = canvas.label[max(0, cy - reach):cy + reach + 1,
                                 max(0, cx - reach):cx + reach + 1]
            if _shows(name)[patch].mean() < 0.4:
                joints[i, 2] = 1
    return Figure((int(x0), int(y0)), image, alpha, joints)
