"""Draw objects: plants, seats, objects on the ground and occluders."""

import cv2
import numpy as np

from .textures import any_colour, fill_box, grey_piece, tint


def draw_foliage(
    image: np.ndarray, rng: np.random.Generator, x: float, y: float, size: float
) -> np.ndarray:
    """Draw a bush or the crown of a tree.

    Args:
        image: (h, w, 3) BGR uint8, changed in place.
        rng: Random number generator.
        x: Column of the centre in pixels.
        y: Row of the centre in pixels.
        size: Size in pixels.

    Returns:
        (h, w) uint8 mask of the object, 255 inside.
    """
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
    ragged = grey_piece(rng, 'leaf', x1 - x0, y1 - y0)
    part[:] = cv2.compare(
        cv2.addWeighted(cv2.blur(part, (7, 7)), 1.0, ragged, 0.8, -102), 128, cv2.CMP_GT
    )
    tone = cv2.addWeighted(cv2.blur(tone, (5, 5)), 1.0, ragged, 0.7, -90)
    green = any_colour(rng, (24, 58), (70, 150), (90, 170))
    cv2.copyTo(tint(tone, green * 0.25, green * 1.5), part, image[y0:y1, x0:x1])
    return mask


def _box(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: int, colour: np.ndarray
) -> None:
    fill_box(image, rng, (x - 0.7 * s, y - s, x + 0.7 * s, y), 'plank', colour)
    fill_box(
        image,
        rng,
        (x - 0.7 * s, y - 1.2 * s, x + 0.7 * s, y - s),
        'plank',
        np.minimum(colour * 1.3, 240),
    )


def _ball(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: int, colour: np.ndarray
) -> None:
    for k, tone in enumerate(_tones(colour)):
        cv2.circle(
            image,
            (x - k * s // 10, y - s // 2 - k * s // 10),
            max(1, s // 2 - k * s // 7),
            tone,
            -1,
            cv2.LINE_AA,
        )


def _bin(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: int, colour: np.ndarray
) -> None:
    dark, middle, light = _tones(colour)
    for k, tone in enumerate((dark, middle, light, dark)):
        fill_box(
            image,
            rng,
            (x - s / 2 + k * s / 4, y - 1.3 * s, x - s / 4 + k * s / 4, y),
            'fine',
            np.array(tone),
            0.1,
        )
    cv2.ellipse(image, (x, int(y - 1.3 * s)), (s // 2, s // 7), 0, 0, 360, dark, -1, cv2.LINE_AA)


def _cone(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: int, colour: np.ndarray
) -> None:
    pts = np.array(((x - s // 2, y), (x, y - int(1.4 * s)), (x + s // 2, y)))
    cv2.fillPoly(image, [pts], colour.tolist(), cv2.LINE_AA)
    cv2.line(
        image, (x - s // 4, y - s // 2), (x + s // 4, y - s // 2), _tones(colour)[2], max(1, s // 5)
    )


def _stick(
    image: np.ndarray, rng: np.random.Generator, x: int, y: int, s: int, colour: np.ndarray
) -> None:
    end = (x + int(rng.normal(0, 1.2) * s), y - int(1.2 * s))
    cv2.line(image, (x, y), end, _tones(colour)[0], max(2, s // 5), cv2.LINE_AA)
    cv2.line(image, (x - 1, y), (end[0] - 1, end[1]), colour.tolist(), max(1, s // 10), cv2.LINE_AA)


def _tones(colour: np.ndarray) -> tuple[list, list, list]:
    """Return a darker shade of a colour, the colour itself, and a lighter shade."""
    dark, light = (np.clip(colour * f, 0, 250).tolist() for f in (0.65, 1.25))
    return dark, colour.tolist(), light


#: functions that draw objects on the ground with their foot at (x, y), about s pixels in size
_PROPS = (_box, _ball, _bin, _cone, _stick)


def draw_props(image: np.ndarray, rng: np.random.Generator, horizon: int) -> None:
    """Draw boxes, balls, bins, cones and sticks on the ground.

    Args:
        image: (h, w, 3) BGR uint8, changed in place.
        rng: Random number generator.
        horizon: Row where the ground ends, in pixels.
    """
    h, w = image.shape[:2]
    for y in np.sort(rng.uniform(horizon + 4, 1.02 * h, rng.integers(0, 7))):
        s = int(4 + (y - horizon) * rng.uniform(0.08, 0.3))
        x, y, kind = int(rng.uniform(0, w)), int(y), rng.integers(5)
        colour = any_colour(rng, sat=(20, 190))
        cv2.ellipse(
            image,
            (x, y),
            (int(0.8 * s), max(1, s // 6)),
            0,
            0,
            360,
            (image[min(y, h - 1), x] * 0.55).tolist(),
            -1,
        )
        _PROPS[kind](image, rng, x, y, s, colour)


def draw_seat(
    image: np.ndarray, rng: np.random.Generator, xy: np.ndarray, foot: float, scale: float
) -> None:
    """Draw a box or chair below a sitting person.

    Args:
        image: (h, w, 3) BGR uint8, changed in place.
        rng: Random number generator.
        xy: (2,) pixel position of the pelvis.
        foot: Row of the ground below the person, in pixels.
        scale: Stature of the person in pixels.
    """
    colour = any_colour(rng, sat=(20, 170))
    x, y = float(xy[0]), float(xy[1]) + 0.055 * scale
    half = rng.uniform(0.13, 0.3) * scale
    low = max(foot - 0.02 * scale, y + 4)
    if rng.random() < 0.5:
        fill_box(image, rng, (x - half, y, x + half, low), 'plank', colour)
    else:
        leg = max(2.0, 0.025 * scale)
        for dx in (-half, half - leg):
            fill_box(image, rng, (x + dx, y, x + dx + leg, low), 'fine', colour * 0.6)
        back = 0.38 * scale * (rng.random() < 0.6)
        fill_box(image, rng, (x - half, y - back, x + half, y + 0.05 * scale), 'plank', colour)


def draw_occluder(
    image: np.ndarray, rng: np.random.Generator, x: float, foot: float, height: float
) -> np.ndarray:
    """Draw a bush, post, wall, table or board in front of a person.

    Args:
        image: (h, w, 3) BGR uint8, changed in place.
        rng: Random number generator.
        x: Column of the person, in pixels.
        foot: Row of the ground below the person, in pixels.
        height: Height of a standing adult at that position, in pixels.

    Returns:
        (h, w) uint8 mask of the object, 255 inside.
    """
    h, w = image.shape[:2]
    kind = rng.integers(5)
    colour = any_colour(rng, sat=(15, 180))
    x += rng.normal(0, 0.14) * height
    if kind == 0:
        return draw_foliage(image, rng, x, foot - 0.08 * height, rng.uniform(0.16, 0.3) * height)
    up = rng.uniform(0.12, 0.42) * height
    half = rng.uniform(0.1, 0.3) * height
    low = foot + rng.uniform(0.02, 0.08) * height
    if kind == 1:
        half, up = rng.uniform(0.012, 0.03) * height + 1, 1.3 * height
    elif kind == 2:
        half, up = rng.uniform(0.5, 1.2) * height, 0.6 * up
    boxes = [(x - half, low - up, x + half, low)]
    if kind == 3:
        boxes = [
            (x - half, low - up, x + half, low - up + 0.05 * height),
            (x - half, low - up, x - half + 0.03 * height, low),
            (x + half - 0.03 * height, low - up, x + half, low),
        ]
    mask = np.zeros((h, w), np.uint8)
    cloth = str(rng.choice(('plank', 'brick', 'plaster', 'fine')))
    for i, box in enumerate(boxes):
        fill_box(image, rng, box, cloth, colour * (1.0 if i == 0 else 0.7))
        if box[2] - box[0] > 6 and kind != 3:
            shade = colour * 1.25
            fill_box(
                image,
                rng,
                (box[0], box[1], box[2], box[1] + 0.03 * height),
                'fine',
                np.minimum(shade, 245),
            )
        cv2.rectangle(mask, (int(box[0]), int(box[1])), (int(box[2]) - 1, int(box[3]) - 1), 255, -1)
    return mask
