"""Draw outdoor backgrounds: sky, hills, buildings, trees and streets."""

import cv2
import numpy as np

from .ground import lay_ground
from .props import draw_foliage
from .textures import any_colour, fill_box, tinted_piece


def _building(image: np.ndarray, rng: np.random.Generator, base: int) -> None:
    """Draw a building with windows, standing at row `base`."""
    w = image.shape[1]
    width, height = int(rng.uniform(0.15, 0.5) * w), int(rng.uniform(0.3, 1.0) * max(base, 40))
    x0, y0 = int(rng.uniform(-0.2, 0.9) * w), base - height
    fill_box(
        image,
        rng,
        (x0, y0, x0 + width, base),
        str(rng.choice(('brick', 'plaster', 'fine'))),
        any_colour(rng, (0, 35) if rng.random() < 0.7 else (0, 180), (10, 110)),
    )
    step, pane = int(rng.integers(16, 34)), rng.uniform(0.4, 0.7)
    glass, frame = any_colour(rng, (90, 125), (20, 90)), any_colour(rng)
    for y in range(y0 + 6, base - step // 2, int(step * 1.3)):
        for x in range(x0 + 6, x0 + width - step // 2, step):
            far = (int(x + step * pane), int(y + step * 0.85))
            cv2.rectangle(image, (x, y), far, (glass * rng.uniform(0.5, 1.1)).tolist(), -1)
            cv2.rectangle(image, (x, y), far, frame.tolist(), 1)


def _tree(image: np.ndarray, rng: np.random.Generator, base: int) -> None:
    """Draw a tree standing at row `base`."""
    h, w = image.shape[:2]
    x, size = rng.uniform(0, w), rng.uniform(0.12, 0.3) * h
    top, thick = base - size * rng.uniform(1.0, 2.0), max(2, size * 0.1)
    wood = any_colour(rng, (8, 20), (40, 110), (40, 110)).tolist()
    trunk = np.array(
        ((x - thick, base), (x - 0.6 * thick, top), (x + 0.6 * thick, top), (x + thick, base))
    )
    cv2.fillPoly(image, [trunk.astype(np.int32)], wood)
    for _ in range(3):
        end = (int(x + rng.normal(0, 0.5) * size), int(top - rng.uniform(0, 0.5) * size))
        cv2.line(
            image, (int(x), int(top + 0.3 * size)), end, wood, max(1, int(thick * 0.6)), cv2.LINE_AA
        )
    draw_foliage(image, rng, x, top - 0.2 * size, size)


def _lamp(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: float, colour: np.ndarray
) -> None:
    cv2.line(
        image, (x, y), (x, int(y - 2.2 * s)), colour.tolist(), max(2, int(s * 0.06)), cv2.LINE_AA
    )
    cv2.ellipse(
        image, (x, int(y - 2.2 * s)), (int(s * 0.16), int(s * 0.1)), 0, 0, 360, (200, 230, 240), -1
    )


def _sign(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: float, colour: np.ndarray
) -> None:
    cv2.rectangle(
        image, (x, int(y - 1.6 * s)), (int(x + 1.1 * s), int(y - 0.9 * s)), colour.tolist(), -1
    )
    cv2.putText(
        image,
        ''.join(rng.choice(list('ABCEHKLOPRST'), 4)),
        (int(x + 0.1 * s), int(y - 1.1 * s)),
        0,
        s / 70,
        (255 - colour).tolist(),
        1,
        cv2.LINE_AA,
    )
    cv2.line(image, (int(x + 0.5 * s), int(y - 0.9 * s)), (int(x + 0.5 * s), y), (90, 90, 95), 2)


def _fence(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: float, colour: np.ndarray
) -> None:
    tint = colour.tolist()
    for i in range(x - int(2 * s), x + int(2 * s), 7):
        cv2.line(image, (i, y), (i, int(y - 0.5 * s)), tint, 2)
    cv2.line(image, (x - int(2 * s), int(y - 0.4 * s)), (x + int(2 * s), int(y - 0.4 * s)), tint, 2)


def _car(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: float, colour: np.ndarray
) -> None:
    body = np.array(
        (
            (-1, 0),
            (-1, -0.35),
            (-0.6, -0.4),
            (-0.35, -0.7),
            (0.4, -0.7),
            (0.65, -0.4),
            (1, -0.32),
            (1, 0),
        )
    )
    cv2.fillPoly(
        image, [(body * s * 1.2 + (x, y - 0.12 * s)).astype(np.int32)], colour.tolist(), cv2.LINE_AA
    )
    pane = np.array(((-0.5, -0.4), (-0.3, -0.64), (0.36, -0.64), (0.52, -0.4)))
    cv2.fillPoly(
        image, [(pane * s * 1.2 + (x, y - 0.12 * s)).astype(np.int32)], (90, 80, 70), cv2.LINE_AA
    )
    for side in (-0.6, 0.6):
        cv2.circle(
            image,
            (int(x + side * 1.2 * s), int(y - 0.1 * s)),
            int(0.2 * s),
            (35, 35, 35),
            -1,
            cv2.LINE_AA,
        )


def _bench(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: float, colour: np.ndarray
) -> None:
    fill_box(image, rng, (x, y - 0.45 * s, x + 1.6 * s, y - 0.3 * s), 'plank', colour)
    fill_box(image, rng, (x, y - 0.85 * s, x + 1.6 * s, y - 0.55 * s), 'plank', colour * 0.9)
    for dx in (0.1, 1.4):
        fill_box(image, rng, (x + dx * s, y - 0.3 * s, x + dx * s + 3, y), 'fine', colour * 0.5)


#: functions that draw street objects with their foot at (x, y), about s pixels in size
_STREET = (_lamp, _sign, _fence, _car, _bench)


def _street_clutter(image: np.ndarray, rng: np.random.Generator, base: int) -> None:
    """Draw a lamp post, sign, fence, car or bench near row `base`."""
    h, w = image.shape[:2]
    x, s = int(rng.uniform(0, w)), rng.uniform(0.12, 0.32) * h
    y = int(base + rng.uniform(0.2, 0.5) * s)
    colour, kind = any_colour(rng, sat=(10, 200)), rng.integers(5)
    _STREET[kind](image, rng, x, y, s, colour)


def _sky(image: np.ndarray, rng: np.random.Generator, horizon: int) -> None:
    """Draw sky and clouds above the horizon."""
    top = any_colour(rng, (98, 114), (10, 140), (140, 235))
    low = np.clip(top * 0.5 + 120 + rng.normal(0, 12, 3), 0, 255)
    fade = np.linspace(0, 1, horizon)[:, None, None]
    image[:horizon] = (top * (1 - fade) + low * fade).astype(np.uint8)
    cloud = tinted_piece(rng, 'cloud', image.shape[1], horizon, np.full(3, 128.0), 1.0)
    amount = rng.uniform(-0.05, 0.3)
    if amount > 0:
        image[:horizon] = cv2.addWeighted(image[:horizon], 1, cloud, amount, -110 * amount)


def _hills(image: np.ndarray, rng: np.random.Generator, horizon: int) -> None:
    """Draw hills on the horizon."""
    h, w = image.shape[:2]
    ridge = np.cumsum(rng.normal(0, 0.02, 24)) * h
    xs = np.linspace(0, w, 24)
    hills = np.stack((xs, horizon - abs(ridge) - 0.03 * h), 1)
    hills = np.vstack((hills, ((w, horizon), (0, horizon))))
    cv2.fillPoly(
        image,
        [hills.astype(np.int32)],
        any_colour(rng, (40, 110), (30, 100), (70, 160)).tolist(),
        cv2.LINE_AA,
    )


def draw_outdoors(image: np.ndarray, rng: np.random.Generator, horizon: int) -> None:
    """Draw a town or a landscape.

    Args:
        image: (h, w, 3) BGR uint8, overwritten completely.
        rng: Random number generator.
        horizon: Row where the ground ends, in pixels.
    """
    town = rng.random() < 0.55
    _sky(image, rng, horizon)
    if town:
        kind = str(rng.choice(('fine', 'tile', 'brick', 'carpet')))
        ground = any_colour(rng, (8, 30), (5, 50), (90, 190))
    else:
        kind = str(rng.choice(('carpet', 'leaf', 'fine')))
        hue = (30, 52) if rng.random() < 0.7 else (10, 26)
        ground = any_colour(rng, hue, (50, 150), (80, 180))
        _hills(image, rng, horizon)
    for _ in range(rng.integers(2, 5) if town else 0):
        _building(image, rng, horizon)
    lay_ground(image, rng, horizon, kind, ground)
    for _ in range(rng.integers(0, 3 if town else 6)):
        _tree(image, rng, horizon + int(rng.uniform(0, 0.08) * image.shape[0]))
    for _ in range(rng.integers(0, 4 if town else 2)):
        _street_clutter(image, rng, horizon)
