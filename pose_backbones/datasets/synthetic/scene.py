"""Scenes: backgrounds, people, occluders and the look of a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .figure import Figure, draw_figure, sample_look
from .skeleton import (
    ACTIONS,
    forward_kinematics,
    project,
    sample_body,
    sample_pose,
)

#: Share of images by their number of people in the foreground.
PEOPLE_SHARES = (0.03, 0.22, 0.27, 0.23, 0.15, 0.10)
CROWD_SHARE = 0.08
TINY_SHARE = 0.07
MIN_HEIGHT = 45.0
_ACTION_NAMES = tuple(ACTIONS)
_ACTION_SHARES = np.array(list(ACTIONS.values())) / sum(ACTIONS.values())


@dataclass(frozen=True)
class ScenePerson:
    """One annotated person, or a group of them, of a scene.

    Attributes:
        joints: (17, 3) float64 x, y, v in COCO's order; v is 0 (not
            labelled, x = y = 0), 1 (hidden) or 2 (visible).
        mask: (h, w) bool, the visible pixels without specks.
        bbox: x, y, width and height of the visible pixels.
        area: Number of visible pixels.
        iscrowd: Whether this is a group of people.
        action: What the person does; '' for a group.
        yaw: Direction the person faces in degrees, 0 towards the camera.
        stature: Height of the upright person in pixels.
    """

    joints: np.ndarray
    mask: np.ndarray
    bbox: tuple[int, int, int, int]
    area: int
    iscrowd: bool
    action: str
    yaw: float
    stature: float


@dataclass(frozen=True)
class Scene:
    """A picture, (h, w, 3) BGR uint8, and the people in it."""

    image: np.ndarray
    people: list[ScenePerson]


def _noise(rng: np.random.Generator, sigma: float, size: int = 512
           ) -> np.ndarray:
    flat = rng.standard_normal((size, size)).astype(np.float32)
    flat = cv2.GaussianBlur(np.tile(flat, (2, 2)), (0, 0), sigma)
    flat = np.roll(flat[size // 2:-(size // 2), size // 2:-(size // 2)],
                   (size // 2, size // 2), (0, 1))
    return flat / flat.std()


@lru_cache(maxsize=1)
def _textures() -> dict[str, np.ndarray]:
    """Grey textures, (512, 512) uint8, drawn once from a fixed seed."""
    rng = np.random.default_rng(7)
    fine, mid, soft = (_noise(rng, s) for s in (0.8, 4.0, 24.0))
    y, x = np.mgrid[0:512, 0:512]
    row = y // 16
    joint = (y % 16 < 2) | ((x + 16 * (row % 2)) % 32 < 2)
    tone = rng.normal(0, 0.8, (32, 34))[row, (x + 16 * (row % 2)) // 32]
    plank = rng.normal(0, 0.9, 16)[x // 32]
    grain = cv2.GaussianBlur(rng.standard_normal((512, 512)), (0, 0),
                             sigmaX=0.8, sigmaY=14)
    check = ((x // 64 + y // 64) % 2) * 2.0 - 1
    leaf = _noise(rng, 1.3)
    maps = {'fine': 0.7 * fine + 0.5 * mid, 'soft': soft + 0.3 * mid,
            'cloud': 1.4 * soft + 0.6 * mid, 'leaf': 1.5 * leaf + 0.5 * mid,
            'brick': 1.2 * tone - 2.2 * joint + 0.3 * fine,
            'plank': plank + 3 * grain - 2 * (x % 32 < 2),
            'tile': 0.9 * check + 0.4 * mid - ((x % 64 < 2) | (y % 64 < 2)),
            'carpet': fine + 0.8 * mid + 0.5 * soft,
            'plaster': 0.35 * fine + 0.6 * soft}
    return {k: np.clip(128 + 42 * v, 0, 255).astype(np.uint8)
            for k, v in maps.items()}


def _tint(grey: np.ndarray, dark: np.ndarray, light: np.ndarray
          ) -> np.ndarray:
    """Colours a grey picture from one BGR colour to another."""
    ramp = np.linspace(0, 1, 256)[:, None] * (
        np.asarray(light, float) - dark) + dark
    table = np.clip(ramp, 0, 255).astype(np.uint8)[None]
    return cv2.LUT(cv2.merge((grey,) * 3), table)


def _colour(rng: np.random.Generator, hue: tuple[int, int] = (0, 180),
            sat: tuple[int, int] = (10, 130),
            val: tuple[int, int] = (60, 220)) -> np.ndarray:
    pixel = np.uint8([[[rng.integers(*hue) % 180, rng.integers(*sat),
                        rng.integers(*val)]]])
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float64)


def _grey(rng: np.random.Generator, kind: str, w: int, h: int
          ) -> np.ndarray:
    """A (h, w) piece of a texture, repeated where it is too small."""
    grey = _textures()[kind]
    x, y = rng.integers(0, 512, 2)
    if x + w <= 512 and y + h <= 512:
        return grey[y:y + h, x:x + w]
    return grey.take(range(y, y + h), 0, mode='wrap').take(
        range(x, x + w), 1, mode='wrap')


def _patch(rng: np.random.Generator, kind: str, w: int, h: int,
           colour: np.ndarray, contrast: float = 0.3) -> np.ndarray:
    """A (h, w, 3) piece of a tinted texture."""
    grey = _grey(rng, kind, w, h)
    return _tint(grey, colour * (1 - contrast), colour * (1 + contrast))


def _rect(image: np.ndarray, rng: np.random.Generator, box: tuple,
          kind: str, colour: np.ndarray, contrast: float = 0.25) -> None:
    """Fills a box (x0, y0, x1, y1), cut to the picture, with texture."""
    h, w = image.shape[:2]
    x0, y0, x1, y1 = (int(v) for v in box)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, w), min(y1, h)
    if x1 > x0 and y1 > y0:
        image[y0:y1, x0:x1] = _patch(rng, kind, x1 - x0, y1 - y0, colour,
                                     contrast)


def _ground(image: np.ndarray, rng: np.random.Generator, horizon: int,
            kind: str, colour: np.ndarray) -> None:
    """Lays a texture in perspective below the horizon."""
    h, w = image.shape[:2]
    near, far = rng.uniform(110, 260), rng.uniform(500, 1100)
    middle, deep = rng.uniform(0, 512), rng.uniform(700, 1400)
    source = np.float32([[middle - far, 0], [middle + far, 0],
                         [middle + near, deep], [middle - near, deep]])
    target = np.float32([[0, 0], [w, 0], [w, h - horizon],
                         [0, h - horizon]])
    warp = cv2.getPerspectiveTransform(source, target)
    grey = cv2.warpPerspective(_textures()[kind], warp, (w, h - horizon),
                               flags=cv2.INTER_AREA,
                               borderMode=cv2.BORDER_WRAP)
    grey = cv2.blur(grey, (3, 1))
    image[horizon:] = _tint(grey, colour * 0.72, colour * 1.2)


def _building(image: np.ndarray, rng: np.random.Generator, base: int
              ) -> None:
    w = image.shape[1]
    width, height = int(rng.uniform(0.15, 0.5) * w), int(
        rng.uniform(0.3, 1.0) * max(base, 40))
    x0, y0 = int(rng.uniform(-0.2, 0.9) * w), base - height
    _rect(image, rng, (x0, y0, x0 + width, base),
          str(rng.choice(('brick', 'plaster', 'fine'))),
          _colour(rng, (0, 35) if rng.random() < 0.7 else (0, 180),
                  (10, 110)))
    step, pane = int(rng.integers(16, 34)), rng.uniform(0.4, 0.7)
    glass, frame = _colour(rng, (90, 125), (20, 90)), _colour(rng)
    for y in range(y0 + 6, base - step // 2, int(step * 1.3)):
        for x in range(x0 + 6, x0 + width - step // 2, step):
            far = (int(x + step * pane), int(y + step * 0.85))
            cv2.rectangle(image, (x, y), far,
                          (glass * rng.uniform(0.5, 1.1)).tolist(), -1)
            cv2.rectangle(image, (x, y), far, frame.tolist(), 1)


def _foliage(image: np.ndarray, rng: np.random.Generator, x: float,
             y: float, size: float) -> np.ndarray:
    """Draws a crown or bush around (x, y); returns its mask."""
    h, w = image.shape[:2]
    x0, y0 = max(0, int(x - 1.6 * size)), max(0, int(y - 1.4 * size))
    x1, y1 = min(w, int(x + 1.6 * size)), min(h, int(y + 1.4 * size))
    mask = np.zeros((h, w), np.uint8)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return mask
    part, tone = mask[y0:y1, x0:x1], np.zeros((y1 - y0, x1 - x0), np.uint8)
    for a in rng.normal(0, 0.36, (16, 2)) * size:
        at = (int(x + a[0]) - x0, int(y + 0.8 * a[1]) - y0)
        radius = int(rng.uniform(0.14, 0.36) * size)
        cv2.circle(part, at, radius, 255, -1)
        bright = 118 - 60 * a[1] / size + rng.normal(0, 22)
        cv2.circle(tone, at, radius, int(np.clip(bright, 40, 190)), -1)
    ragged = _grey(rng, 'leaf', x1 - x0, y1 - y0)
    part[:] = cv2.compare(cv2.addWeighted(
        cv2.blur(part, (7, 7)), 1.0, ragged, 0.8, -102), 128, cv2.CMP_GT)
    tone = cv2.addWeighted(cv2.blur(tone, (5, 5)), 1.0, ragged, 0.7, -90)
    green = _colour(rng, (24, 58), (70, 150), (90, 170))
    cv2.copyTo(_tint(tone, green * 0.25, green * 1.5), part,
               image[y0:y1, x0:x1])
    return mask


def _tree(image: np.ndarray, rng: np.random.Generator, base: int) -> None:
    h, w = image.shape[:2]
    x, size = rng.uniform(0, w), rng.uniform(0.12, 0.3) * h
    top, thick = base - size * rng.uniform(1.0, 2.0), max(2, size * 0.1)
    wood = _colour(rng, (8, 20), (40, 110), (40, 110)).tolist()
    trunk = np.array(((x - thick, base), (x - 0.6 * thick, top),
                      (x + 0.6 * thick, top), (x + thick, base)))
    cv2.fillPoly(image, [trunk.astype(np.int32)], wood)
    for _ in range(3):
        end = (int(x + rng.normal(0, 0.5) * size),
               int(top - rng.uniform(0, 0.5) * size))
        cv2.line(image, (int(x), int(top + 0.3 * size)), end, wood,
                 max(1, int(thick * 0.6)), cv2.LINE_AA)
    _foliage(image, rng, x, top - 0.2 * size, size)


def _street_clutter(image: np.ndarray, rng: np.random.Generator, base: int
                    ) -> None:
    """A lamp post, sign, fence, car or bench near the horizon."""
    h, w = image.shape[:2]
    x, s = int(rng.uniform(0, w)), rng.uniform(0.12, 0.32) * h
    y = int(base + rng.uniform(0.2, 0.5) * s)
    colour, kind = _colour(rng, sat=(10, 200)), rng.integers(5)
    tint = colour.tolist()
    if kind == 0:
        cv2.line(image, (x, y), (x, int(y - 2.2 * s)), (tint),
                 max(2, int(s * 0.06)), cv2.LINE_AA)
        cv2.ellipse(image, (x, int(y - 2.2 * s)), (int(s * .16),
                    int(s * .1)), 0, 0, 360, (200, 230, 240), -1)
    elif kind == 1:
        cv2.rectangle(image, (x, int(y - 1.6 * s)),
                      (int(x + 1.1 * s), int(y - 0.9 * s)), tint, -1)
        cv2.putText(image, ''.join(rng.choice(list('ABCEHKLOPRST'), 4)),
                    (int(x + 0.1 * s), int(y - 1.1 * s)), 0, s / 70,
                    (255 - colour).tolist(), 1, cv2.LINE_AA)
        cv2.line(image, (int(x + .5 * s), int(y - .9 * s)),
                 (int(x + .5 * s), y), (90, 90, 95), 2)
    elif kind == 2:
        for i in range(x - int(2 * s), x + int(2 * s), 7):
            cv2.line(image, (i, y), (i, int(y - 0.5 * s)), tint, 2)
        cv2.line(image, (x - int(2 * s), int(y - 0.4 * s)),
                 (x + int(2 * s), int(y - 0.4 * s)), tint, 2)
    elif kind == 3:
        body = np.array(((-1, 0), (-1, -.35), (-.6, -.4), (-.35, -.7),
                         (.4, -.7), (.65, -.4), (1, -.32), (1, 0)))
        cv2.fillPoly(image, [(body * s * 1.2 + (x, y - 0.12 * s)).astype(
            np.int32)], tint, cv2.LINE_AA)
        pane = np.array(((-.5, -.4), (-.3, -.64), (.36, -.64), (.52, -.4)))
        cv2.fillPoly(image, [(pane * s * 1.2 + (x, y - 0.12 * s)).astype(
            np.int32)], (90, 80, 70), cv2.LINE_AA)
        for side in (-.6, .6):
            cv2.circle(image, (int(x + side * 1.2 * s), int(y - .1 * s)),
                       int(.2 * s), (35, 35, 35), -1, cv2.LINE_AA)
    else:
        _rect(image, rng, (x, y - 0.45 * s, x + 1.6 * s, y - 0.3 * s),
              'plank', colour)
        _rect(image, rng, (x, y - 0.85 * s, x + 1.6 * s, y - 0.55 * s),
              'plank', colour * 0.9)
        for dx in (.1, 1.4):
            _rect(image, rng, (x + dx * s, y - .3 * s, x + dx * s + 3, y),
                  'fine', colour * 0.5)


def _props(image: np.ndarray, rng: np.random.Generator, horizon: int
           ) -> None:
    """Boxes, balls, bins, cones and sticks lying on the ground."""
    h, w = image.shape[:2]
    for y in np.sort(rng.uniform(horizon + 4, 1.02 * h, rng.integers(0, 7))):
        s = int(4 + (y - horizon) * rng.uniform(0.08, 0.3))
        x, y, kind = int(rng.uniform(0, w)), int(y), rng.integers(5)
        colour = _colour(rng, sat=(20, 190))
        light, dark = (np.clip(colour * f, 0, 250).tolist()
                       for f in (1.25, 0.65))
        cv2.ellipse(image, (x, y), (int(0.8 * s), max(1, s // 6)), 0, 0,
                    360, (image[min(y, h - 1), x] * 0.55).tolist(), -1)
        if kind == 0:
            _rect(image, rng, (x - 0.7 * s, y - s, x + 0.7 * s, y), 'plank',
                  colour)
            _rect(image, rng, (x - 0.7 * s, y - 1.2 * s, x + 0.7 * s, y - s),
                  'plank', np.minimum(colour * 1.3, 240))
        elif kind == 1:
            for k, tone in enumerate((dark, colour.tolist(), light)):
                cv2.circle(image, (x - k * s // 10, y - s // 2 - k * s // 10),
                           max(1, s // 2 - k * s // 7), tone, -1,
                           cv2.LINE_AA)
        elif kind == 2:
            for k, tone in enumerate((dark, colour.tolist(), light, dark)):
                _rect(image, rng, (x - s / 2 + k * s / 4, y - 1.3 * s,
                                   x - s / 4 + k * s / 4, y), 'fine',
                      np.array(tone), 0.1)
            cv2.ellipse(image, (x, int(y - 1.3 * s)), (s // 2, s // 7), 0,
                        0, 360, dark, -1, cv2.LINE_AA)
        elif kind == 3:
            pts = np.array(((x - s // 2, y), (x, y - int(1.4 * s)),
                            (x + s // 2, y)))
            cv2.fillPoly(image, [pts], colour.tolist(), cv2.LINE_AA)
            cv2.line(image, (x - s // 4, y - s // 2),
                     (x + s // 4, y - s // 2), light, max(1, s // 5))
        else:
            end = (x + int(rng.normal(0, 1.2) * s), y - int(1.2 * s))
            cv2.line(image, (x, y), end, dark, max(2, s // 5), cv2.LINE_AA)
            cv2.line(image, (x - 1, y), (end[0] - 1, end[1]),
                     colour.tolist(), max(1, s // 10), cv2.LINE_AA)


def _outdoors(image: np.ndarray, rng: np.random.Generator, horizon: int
              ) -> None:
    h, w = image.shape[:2]
    town = rng.random() < 0.55
    top = _colour(rng, (98, 114), (10, 140), (140, 235))
    low = np.clip(top * 0.5 + 120 + rng.normal(0, 12, 3), 0, 255)
    fade = np.linspace(0, 1, horizon)[:, None, None]
    sky = (top * (1 - fade) + low * fade).astype(np.uint8)
    image[:horizon] = sky
    cloud = _patch(rng, 'cloud', w, horizon, np.full(3, 128.0), 1.0)
    amount = rng.uniform(-0.05, 0.3)
    if amount > 0:
        image[:horizon] = cv2.addWeighted(image[:horizon], 1, cloud, amount,
                                          -110 * amount)
    if town:
        kind = str(rng.choice(('fine', 'tile', 'brick', 'carpet')))
        ground = _colour(rng, (8, 30), (5, 50), (90, 190))
    else:
        kind = str(rng.choice(('carpet', 'leaf', 'fine')))
        hue = (30, 52) if rng.random() < 0.7 else (10, 26)
        ground = _colour(rng, hue, (50, 150), (80, 180))
        ridge = np.cumsum(rng.normal(0, 0.02, 24)) * h
        xs = np.linspace(0, w, 24)
        hills = np.stack((xs, horizon - abs(ridge) - 0.03 * h), 1)
        hills = np.vstack((hills, ((w, horizon), (0, horizon))))
        cv2.fillPoly(image, [hills.astype(np.int32)], _colour(
            rng, (40, 110), (30, 100), (70, 160)).tolist(), cv2.LINE_AA)
    for _ in range(rng.integers(2, 5) if town else 0):
        _building(image, rng, horizon)
    _ground(image, rng, horizon, kind, ground)
    for _ in range(rng.integers(0, 3 if town else 6)):
        _tree(image, rng, horizon + int(rng.uniform(0, 0.08) * h))
    for _ in range(rng.integers(0, 4 if town else 2)):
        _street_clutter(image, rng, horizon)


def _indoors(image: np.ndarray, rng: np.random.Generator, horizon: int
             ) -> None:
    h, w = image.shape[:2]
    wall = _colour(rng, (5, 40) if rng.random() < 0.5 else (0, 180),
                   (5, 70), (110, 235))
    kind = str(rng.choice(('plaster', 'plaster', 'soft', 'brick', 'fine')))
    _rect(image, rng, (0, 0, w, horizon), kind, wall, 0.12)
    floor = _colour(rng, (5, 30), (15, 140), (70, 190))
    _ground(image, rng, horizon, str(rng.choice(
        ('plank', 'tile', 'carpet', 'plank'))), floor)
    _rect(image, rng, (0, horizon - 5, w, horizon), 'fine', wall * 0.7)
    for _ in range(rng.integers(2, 7)):
        x, s = rng.uniform(-0.1, 1) * w, rng.uniform(0.15, 0.45) * h
        kind, colour = rng.integers(6), _colour(rng, sat=(10, 190))
        if kind == 0:
            y = rng.uniform(0.0, 0.4) * horizon
            _rect(image, rng, (x - 4, y - 4, x + 0.8 * s + 4, y + s + 4),
                  'fine', wall * 0.6)
            _rect(image, rng, (x, y, x + 0.8 * s, y + s), 'cloud',
                  _colour(rng, (90, 120), (10, 70), (190, 240)))
            cv2.line(image, (int(x + .4 * s), int(y)),
                     (int(x + .4 * s), int(y + s)), (wall * .6).tolist(), 3)
        elif kind == 1:
            y = rng.uniform(0.1, 0.5) * horizon
            _rect(image, rng, (x - 3, y - 3, x + .6 * s + 3, y + .5 * s + 3),
                  'plank', colour * 0.4)
            _rect(image, rng, (x, y, x + 0.6 * s, y + 0.5 * s), 'leaf',
                  _colour(rng, sat=(40, 200)), 0.7)
        elif kind == 2:
            top = horizon - 1.7 * s
            _rect(image, rng, (x, top, x + 1.1 * s, horizon + 4), 'plank',
                  colour * 0.5)
            for i in range(4):
                a = x + 4
                while a < x + 1.1 * s - 8:
                    b = a + rng.uniform(3, 9)
                    y = top + (i + 1) * 0.4 * s
                    _rect(image, rng, (a, y - rng.uniform(.2, .34) * s, b,
                                       y), 'fine', _colour(rng))
                    a = b + 1
        elif kind == 3:
            y = horizon + 0.25 * s
            for box, tone in (((0, -.9, 1.9, -.2), 1.0),
                              ((-.1, -.6, .2, 0), .85),
                              ((1.7, -.6, 2.0, 0), .85),
                              ((0, -.45, 1.9, 0), .92)):
                _rect(image, rng, (x + box[0] * s, y + box[1] * s,
                                   x + box[2] * s, y + box[3] * s),
                      'soft', np.minimum(colour * tone, 230), 0.15)
        elif kind == 4:
            _rect(image, rng, (x, horizon - 2 * s, x + .9 * s, horizon),
                  'plank', colour, 0.15)
        else:
            _foliage(image, rng, x, horizon - 0.5 * s, 0.6 * s)
            _rect(image, rng, (x - .15 * s, horizon - .2 * s, x + .15 * s,
                               horizon + .15 * s), 'fine', colour * 0.7)


class _Stage:
    """The picture while it is drawn, and who is seen at each pixel."""

    def __init__(self, image: np.ndarray, light: np.ndarray,
                 shadows: float) -> None:
        self.image, self.light, self.shadows = image, light, shadows
        self.owner = np.zeros(image.shape[:2], np.int16)
        self.order = 0

    def cover(self, mask: np.ndarray, corner: tuple[int, int] = (0, 0)
              ) -> int:
        """Marks pixels as belonging to a new object; returns its number."""
        self.order += 1
        h, w = mask.shape
        x, y = corner
        self.owner[y:y + h, x:x + w][mask > 127] = self.order
        return self.order

    def darken(self, mask: np.ndarray, box: tuple, strength: float) -> None:
        """Darkens a box of the picture where a uint8 mask is set."""
        x0, y0, x1, y1 = box
        part = self.image[y0:y1, x0:x1]
        factor = cv2.bitwise_not(cv2.convertScaleAbs(mask, alpha=strength))
        part[:] = cv2.multiply(part, cv2.merge((factor,) * 3), scale=1 / 255)

    def shadow(self, figure: Figure, foot: float, height: float) -> None:
        """Throws the shadow of a figure on the ground."""
        h, w = self.owner.shape
        x0, y0 = figure.origin
        fw = figure.alpha.shape[1]
        push = -0.7 * self.light[0]
        left = int(max(0, x0 - abs(push) * height))
        right = int(min(w, x0 + fw + abs(push) * height))
        top = int(max(0, foot - 0.3 * height))
        bottom = int(min(h, foot + 0.08 * height))
        if right - left < 2 or bottom - top < 2:
            return
        mask = np.zeros((bottom - top, right - left), np.uint8)
        if self.shadows > 0:
            warp = np.float64([[1, -push, x0 - left + push * (foot - y0)],
                               [0, 0.2, foot - top - 0.2 * (foot - y0)]])
            mask = cv2.warpAffine(figure.alpha, warp, mask.shape[::-1])
            mask = cv2.convertScaleAbs(mask, alpha=self.shadows)
        feet = [tuple(p) for p in figure.joints[15:, :2]]
        for x, y in feet:
            if abs(y - foot) < 0.12 * height:
                cv2.ellipse(mask, (int(x - left), int(
                    min(y + 0.03 * height, foot) - top)),
                    (int(0.075 * height), int(0.02 * height)), 0, 0, 360,
                    225, -1)
        sigma = max(0.8, 0.011 * height)
        self.darken(cv2.GaussianBlur(mask, (0, 0), sigma),
                    (left, top, right, bottom), 0.62)

    def add(self, figure: Figure) -> int:
        """Composites a figure; returns its number."""
        x, y = figure.origin
        h, w = figure.alpha.shape
        part = self.image[y:y + h, x:x + w]
        rest = cv2.merge((cv2.bitwise_not(figure.alpha),) * 3)
        part[:] = cv2.add(cv2.multiply(part, rest, scale=1 / 255),
                          figure.image)
        return self.cover(figure.alpha, (x, y))


def _seat(stage: _Stage, rng: np.random.Generator, xy: np.ndarray,
          foot: float, scale: float) -> None:
    """A box or chair below a sitting person."""
    colour = _colour(rng, sat=(20, 170))
    x, y = float(xy[0]), float(xy[1]) + 0.055 * scale
    half = rng.uniform(0.13, 0.3) * scale
    low = max(foot - 0.02 * scale, y + 4)
    if rng.random() < 0.5:
        _rect(stage.image, rng, (x - half, y, x + half, low), 'plank',
              colour)
    else:
        leg = max(2.0, 0.025 * scale)
        for dx in (-half, half - leg):
            _rect(stage.image, rng, (x + dx, y, x + dx + leg, low), 'fine',
                  colour * 0.6)
        back = 0.38 * scale * (rng.random() < 0.6)
        _rect(stage.image, rng, (x - half, y - back, x + half,
                                 y + 0.05 * scale), 'plank', colour)


def _occluder(stage: _Stage, rng: np.random.Generator, x: float,
              foot: float, height: float) -> None:
    """Puts something in front of a person standing at (x, foot)."""
    image = stage.image
    h, w = image.shape[:2]
    kind = rng.integers(5)
    colour = _colour(rng, sat=(15, 180))
    x += rng.normal(0, 0.14) * height
    if kind == 0:
        stage.cover(_foliage(image, rng, x, foot - 0.08 * height,
                             rng.uniform(0.16, 0.3) * height))
        return
    up = rng.uniform(0.12, 0.42) * height
    half = rng.uniform(0.1, 0.3) * height
    low = foot + rng.uniform(0.02, 0.08) * height
    if kind == 1:
        half, up = rng.uniform(0.012, 0.03) * height + 1, 1.3 * height
    elif kind == 2:
        half, up = rng.uniform(0.5, 1.2) * height, 0.6 * up
    boxes = [(x - half, low - up, x + half, low)]
    if kind == 3:
        boxes = [(x - half, low - up, x + half, low - up + 0.05 * height),
                 (x - half, low - up, x - half + 0.03 * height, low),
                 (x + half - 0.03 * height, low - up, x + half, low)]
    mask = np.zeros((h, w), np.uint8)
    cloth = str(rng.choice(('plank', 'brick', 'plaster', 'fine')))
    for i, box in enumerate(boxes):
        _rect(image, rng, box, cloth, colour * (1.0 if i == 0 else 0.7))
        if box[2] - box[0] > 6 and kind != 3:
            shade = colour * 1.25
            _rect(image, rng, (box[0], box[1], box[2],
                               box[1] + 0.03 * height), 'fine',
                  np.minimum(shade, 245))
        cv2.rectangle(mask, (int(box[0]), int(box[1])),
                      (int(box[2]) - 1, int(box[3]) - 1), 255, -1)
    stage.cover(mask)


@dataclass(frozen=True)
class _Camera:
    horizon: float
    drop: float
    tilt: float


def _draw_person(stage: _Stage, rng: np.random.Generator, camera: _Camera,
                 x: float, foot: float, height: float, upright: bool = False
                 ) -> tuple[Figure, int, str, float, float] | None:
    """Draws one person; height is that of a standing adult in pixels."""
    body = sample_body(rng)
    look = sample_look(rng, body)
    action = 'stand' if upright else str(rng.choice(_ACTION_NAMES,
                                                    p=_ACTION_SHARES))
    pose = sample_pose(rng, action)
    grown = rng.uniform(0.6, 0.8) if body.child else (
        0.93 + 0.08 * body.masculine + rng.normal(0, 0.02))
    stature = max(height * grown, MIN_HEIGHT if not upright else 8.0)
    h, w = stage.owner.shape
    posed = forward_kinematics(body, pose)
    proj = project(posed, (x, foot), stature, camera.tilt,
                   float(rng.uniform(4.0, 9.0)))
    figure = draw_figure(proj, body, look, stage.light, (w, h))
    if figure is None or not (figure.alpha > 127).any():
        return None
    if action == 'sit':
        _seat(stage, rng, proj.xy['pelvis'], foot, stature)
    stage.shadow(figure, foot, stature)
    return figure, stage.add(figure), action, pose['yaw'], stature


def _joints(figure: Figure, number: int, owner: np.ndarray) -> np.ndarray:
    """Joints with their visibility in the finished picture."""
    h, w = owner.shape
    joints = figure.joints.copy()
    for joint in joints:
        x, y, v = joint
        if v == 0 or not (0 <= x <= w - 1 and 0 <= y <= h - 1):
            joint[:] = 0
            continue
        cx, cy = round(x), round(y)
        around = owner[max(0, cy - 1):cy + 2, max(0, cx - 1):cx + 2]
        if (around > number).mean() > 0.5:
            joint[2] = 1
    joints[:, :2] = np.round(joints[:, :2], 2)
    return joints


def _person(mask: np.ndarray, joints: np.ndarray, crowd: bool, action: str,
            yaw: float, stature: float) -> ScenePerson | None:
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    piece = mask[y:y + h, x:x + w]
    if np.count_nonzero(piece) < 12:
        return None
    _, parts, stats, _ = cv2.connectedComponentsWithStats(
        piece.astype(np.uint8), connectivity=4)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    if sizes.max() < 12:
        return None
    for i in np.flatnonzero(sizes < 8):
        piece[parts == i + 1] = False
    area = int(np.count_nonzero(mask))
    box = cv2.boundingRect(mask.view(np.uint8))
    return ScenePerson(joints, mask, tuple(int(v) for v in box), area, crowd,
                       action, float((yaw + 180) % 360 - 180), stature)


def _background(rng: np.random.Generator, size: tuple[int, int]
                ) -> tuple[np.ndarray, _Camera, bool]:
    w, h = size
    horizon = int(rng.uniform(0.22, 0.55) * h)
    image = np.empty((h, w, 3), np.uint8)
    outdoors = rng.random() < 0.6
    (_outdoors if outdoors else _indoors)(image, rng, horizon)
    _props(image, rng, horizon)
    sigma = float(rng.choice((0.0, 0.0, 0.6, 1.0, 1.8)))
    if sigma:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    camera = _Camera(horizon, rng.uniform(0.7, 1.05), rng.uniform(1, 14))
    return image, camera, outdoors


def _photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, colour cast, blur, vignette and noise of a camera."""
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
        image = cv2.filter2D(image, -1, kernel if rng.random() < .5
                             else kernel.T.copy())
    grain = _grey(rng, 'fine', w, h)
    amount = float(rng.choice((0.0, 0.02, 0.04, 0.08)))
    return cv2.addWeighted(image, 1, cv2.merge((grain,) * 3), amount,
                           -128 * amount)


def _crowd(stage: _Stage, rng: np.random.Generator, camera: _Camera
           ) -> tuple[list[int], float]:
    """A distant group; returns the numbers of its members."""
    h, w = stage.owner.shape
    x, numbers = rng.uniform(0.15, 0.85) * w, []
    height = rng.uniform(24, 40)
    spread = rng.uniform(0.8, 1.8)
    feet = np.sort(rng.uniform(0, 0.35, rng.integers(7, 15))) * height
    models: list[Figure] = []
    for k, lower in enumerate(feet):
        place = x + rng.normal(0, spread) * height
        foot = camera.horizon + camera.drop * height + lower
        if k < 4:
            done = _draw_person(stage, rng, camera, place, foot, height,
                                True)
            if done is not None:
                models.append(done[0])
                numbers.append(done[1])
            continue
        copy = _copy(rng, models, place, foot, (w, h))
        if copy is not None:
            numbers.append(stage.add(copy))
    return numbers, height


def _copy(rng: np.random.Generator, models: list[Figure], x: float,
          foot: float, size: tuple[int, int]) -> Figure | None:
    """Another member of a group, made from one that is there already."""
    if not models:
        return None
    model = models[int(rng.integers(len(models)))]
    h, w = model.alpha.shape
    x0, y0 = round(x - w / 2), round(foot - 0.95 * h)
    if x0 < 0 or y0 < 0 or x0 + w > size[0] or y0 + h > size[1]:
        return None
    image, alpha = model.image, model.alpha
    if rng.random() < 0.5:
        image, alpha = cv2.flip(image, 1), cv2.flip(alpha, 1)
    gain = cv2.merge([cv2.convertScaleAbs(alpha, alpha=float(v))
                      for v in rng.uniform(0.7, 1.0, 3)])
    return Figure((x0, y0), cv2.multiply(image, gain, scale=1 / 255), alpha,
                  model.joints)


def _places(rng: np.random.Generator, camera: _Camera, size: tuple[int, int]
            ) -> list[tuple[float, float, float]]:
    """Foot (x, y) and height of the people in front, far ones first."""
    w, h = size
    count = int(rng.choice(len(PEOPLE_SHARES), p=PEOPLE_SHARES))
    whole = max(60.0, 0.98 * (h - camera.horizon) / camera.drop)
    places: list[tuple[float, float, float]] = []
    for _ in range(count):
        most = min(whole, 1.0 * h) if rng.random() < 0.75 else 1.35 * h
        height = float(np.exp(rng.uniform(np.log(54), np.log(most))))
        y = camera.horizon + camera.drop * height
        tries = 1 if rng.random() < 0.2 else 6
        options = rng.uniform(0.04, 0.96, tries) * w
        gaps = [min((abs(x - p[0]) / (0.2 * (height + p[2]))
                     for p in places), default=9.0) for x in options]
        places.append((float(options[int(np.argmax(gaps))]), y, height))
    return sorted(places, key=lambda p: p[1])


def render_scene(rng: np.random.Generator,
                 size: tuple[int, int] = (384, 288)) -> Scene:
    """Draws a picture of people in surroundings.

    Args:
        rng: Source of all randomness of the scene.
        size: Width and height of the picture, 64 to 4096 pixels each.

    Returns:
        The picture and the people seen in it.

    Raises:
        ValueError: The size is out of range.
    """
    if len(size) != 2 or not all(64 <= v <= 4096 for v in size):
        raise ValueError(f'expected a width and a height from 64 to 4096 '
                         f'pixels, got {size}')
    image, camera, outdoors = _background(rng, size)
    light = np.array((rng.normal(0, 0.5), -rng.uniform(0.4, 0.9),
                      rng.uniform(0.5, 0.9)))
    stage = _Stage(image, light / np.linalg.norm(light),
                   rng.uniform(0.3, 0.9) * (outdoors
                                            and rng.random() < 0.6))
    groups: list[tuple[list[int], float]] = []
    drawn = []
    if rng.random() < CROWD_SHARE:
        groups.append(_crowd(stage, rng, camera))
    tiny = []
    if rng.random() < TINY_SHARE:
        height = rng.uniform(14, 24)
        done = _draw_person(
            stage, rng, camera, rng.uniform(0.05, 0.95) * size[0],
            camera.horizon + camera.drop * height, height, True)
        if done is not None:
            tiny.append(done)
    for x, y, height in _places(rng, camera, size):
        done = _draw_person(stage, rng, camera, x, y, height)
        if done is not None:
            drawn.append(done)
        if rng.random() < 0.13:
            _occluder(stage, rng, x, y, height)
    return Scene(_photograph(stage.image, rng),
                 _collect(stage.owner, drawn, tiny, groups))


def _collect(owner: np.ndarray, drawn: list, tiny: list, groups: list
             ) -> list[ScenePerson]:
    """Annotated people of a finished picture, near ones first."""
    people = []
    nothing = np.zeros((17, 3))
    for figure, number, action, yaw, stature in drawn[::-1]:
        joints = _joints(figure, number, owner)
        mask = owner == number
        seen = np.count_nonzero(mask) / max(
            1, np.count_nonzero(figure.alpha > 127))
        if seen < 0.15 or not (joints[:, 2] == 2).any():
            joints = nothing.copy()
        people.append(_person(mask, joints, False, action, yaw, stature))
    for _, number, action, yaw, stature in tiny:
        people.append(_person(owner == number, nothing.copy(), False,
                              action, yaw, stature))
    for numbers, height in groups:
        people.append(_person(np.isin(owner, numbers), nothing.copy(), True,
                              '', 0.0, height))
    return [p for p in people if p is not None]
