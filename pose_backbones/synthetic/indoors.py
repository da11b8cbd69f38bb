"""Draw indoor backgrounds: walls, windows and furniture."""

from dataclasses import dataclass

import cv2
import numpy as np

from .ground import lay_ground
from .props import draw_foliage
from .textures import any_colour, fill_box


@dataclass(frozen=True)
class _Room:
    """Image of a room, the row where its floor ends, and the colour of its wall."""

    image: np.ndarray
    horizon: int
    wall: np.ndarray


def _window(room: _Room, rng: np.random.Generator, x: float, s: float, colour: np.ndarray) -> None:
    y = rng.uniform(0.0, 0.4) * room.horizon
    fill_box(room.image, rng, (x - 4, y - 4, x + 0.8 * s + 4, y + s + 4), 'fine', room.wall * 0.6)
    fill_box(
        room.image,
        rng,
        (x, y, x + 0.8 * s, y + s),
        'cloud',
        any_colour(rng, (90, 120), (10, 70), (190, 240)),
    )
    cv2.line(
        room.image,
        (int(x + 0.4 * s), int(y)),
        (int(x + 0.4 * s), int(y + s)),
        (room.wall * 0.6).tolist(),
        3,
    )


def _painting(
    room: _Room, rng: np.random.Generator, x: float, s: float, colour: np.ndarray
) -> None:
    y = rng.uniform(0.1, 0.5) * room.horizon
    fill_box(
        room.image, rng, (x - 3, y - 3, x + 0.6 * s + 3, y + 0.5 * s + 3), 'plank', colour * 0.4
    )
    fill_box(
        room.image,
        rng,
        (x, y, x + 0.6 * s, y + 0.5 * s),
        'leaf',
        any_colour(rng, sat=(40, 200)),
        0.7,
    )


def _bookcase(
    room: _Room, rng: np.random.Generator, x: float, s: float, colour: np.ndarray
) -> None:
    top = room.horizon - 1.7 * s
    fill_box(room.image, rng, (x, top, x + 1.1 * s, room.horizon + 4), 'plank', colour * 0.5)
    for i in range(4):
        a = x + 4
        while a < x + 1.1 * s - 8:
            b = a + rng.uniform(3, 9)
            y = top + (i + 1) * 0.4 * s
            fill_box(
                room.image, rng, (a, y - rng.uniform(0.2, 0.34) * s, b, y), 'fine', any_colour(rng)
            )
            a = b + 1


def _sofa(room: _Room, rng: np.random.Generator, x: float, s: float, colour: np.ndarray) -> None:
    y = room.horizon + 0.25 * s
    for box, tone in (
        ((0, -0.9, 1.9, -0.2), 1.0),
        ((-0.1, -0.6, 0.2, 0), 0.85),
        ((1.7, -0.6, 2.0, 0), 0.85),
        ((0, -0.45, 1.9, 0), 0.92),
    ):
        fill_box(
            room.image,
            rng,
            (x + box[0] * s, y + box[1] * s, x + box[2] * s, y + box[3] * s),
            'soft',
            np.minimum(colour * tone, 230),
            0.15,
        )


def _door(room: _Room, rng: np.random.Generator, x: float, s: float, colour: np.ndarray) -> None:
    fill_box(
        room.image, rng, (x, room.horizon - 2 * s, x + 0.9 * s, room.horizon), 'plank', colour, 0.15
    )


def _plant(room: _Room, rng: np.random.Generator, x: float, s: float, colour: np.ndarray) -> None:
    draw_foliage(room.image, rng, x, room.horizon - 0.5 * s, 0.6 * s)
    fill_box(
        room.image,
        rng,
        (x - 0.15 * s, room.horizon - 0.2 * s, x + 0.15 * s, room.horizon + 0.15 * s),
        'fine',
        colour * 0.7,
    )


#: functions that draw furniture at column x, about s pixels in size
_FURNITURE = (_window, _painting, _bookcase, _sofa, _door, _plant)


def draw_indoors(image: np.ndarray, rng: np.random.Generator, horizon: int) -> None:
    """Draw a room with furniture along its wall.

    Args:
        image: (h, w, 3) BGR uint8, overwritten completely.
        rng: Random number generator.
        horizon: Row where the floor ends, in pixels.
    """
    h, w = image.shape[:2]
    wall = any_colour(rng, (5, 40) if rng.random() < 0.5 else (0, 180), (5, 70), (110, 235))
    kind = str(rng.choice(('plaster', 'plaster', 'soft', 'brick', 'fine')))
    fill_box(image, rng, (0, 0, w, horizon), kind, wall, 0.12)
    floor = any_colour(rng, (5, 30), (15, 140), (70, 190))
    lay_ground(image, rng, horizon, str(rng.choice(('plank', 'tile', 'carpet', 'plank'))), floor)
    fill_box(image, rng, (0, horizon - 5, w, horizon), 'fine', wall * 0.7)
    room = _Room(image, horizon, wall)
    for _ in range(rng.integers(2, 7)):
        x, s = rng.uniform(-0.1, 1) * w, rng.uniform(0.15, 0.45) * h
        kind, colour = rng.integers(6), any_colour(rng, sat=(10, 190))
        _FURNITURE[kind](room, rng, x, s, colour)
