"""Draw bounding boxes of people, and write their IDs."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .overlay import RIM

_TURN = 0.618034  # hue difference between consecutive IDs, as a fraction of the colour circle
_LIGHT = 0.62  # minimum luminance of the colours
_LEAST, _USUAL = 7, 11  # minimum and comfortable font size in pixels


def identity_colour(number: int) -> tuple[int, int, int]:
    """Return a light colour (blue, green, red) that differs from those of nearby IDs."""
    colour = np.array(colorsys.hsv_to_rgb((0.14 + number * _TURN) % 1, 0.62, 1.0))
    light = colour @ (0.299, 0.587, 0.114)
    if light < _LIGHT:  # blend with white, so that dark text is readable on it
        colour += (1 - colour) * (_LIGHT - light) / (1 - light)
    red, green, blue = np.rint(255 * colour).astype(int).tolist()
    return blue, green, red


def draw_box(image: np.ndarray, box: np.ndarray, number: int, width: float = 1.0) -> None:
    """Draw a bounding box with a dark rim, in place.

    Args:
        image: (H, W, 3), uint8, BGR.
        box: Left, top, right, bottom in pixels. A box that is not finite is not drawn.
        number: ID of the person, which determines the colour.
        width: Factor for the line width.
    """
    if not np.isfinite(box).all():
        return
    diagonal = float(np.hypot(*image.shape[:2]))
    line = max(round(width * (0.8 + diagonal / 800)), 1)
    limit = np.tile(image.shape[1::-1], 2) + 10 * line
    left, top, right, bottom = np.rint(np.clip(box, -10 * line, limit)).astype(int).tolist()
    _frame(image, (left, top, right, bottom), line, identity_colour(number), 1)
    rim = max(round(line / 2), 1)
    _frame(image, (left - rim, top - rim, right + rim, bottom + rim), rim, RIM, 0.5)


def draw_tags(image: np.ndarray, places: np.ndarray, numbers: Sequence[int]) -> None:
    """Write the IDs of people next to their boxes, in place.

    The font size depends on the sizes of the image and the person. An ID is written above the top
    left corner of its box, or if there is another ID or no space, at another corner inside or
    outside the box. IDs are always inside the image. They are omitted if the image is too small for
    a readable font.

    Args:
        image: (H, W, 3), uint8, BGR.
        places: (n, 4), left, top, right, bottom in pixels. Persons with NaN get no ID.
        numbers: n IDs.
    """
    height, width = image.shape[:2]
    diagonal = float(np.hypot(height, width))
    taken = []
    for place, number in zip(places, numbers):
        left, top, right, bottom = place
        if not (left < width and top < height and right >= 0 and bottom >= 0):
            continue  # outside the image, or NaN
        size = max(diagonal / 65, _USUAL)
        size = min(size, max(0.13 * (bottom - top), 0.4 * size, _USUAL))
        tag = _fitting_tag(str(number), size, (height, width))
        if tag is None:
            continue
        x, y = _corner(place, tag.shape, (height, width), taken)
        region = image[y : y + tag.shape[0], x : x + tag.shape[1]]
        taken.append((x, y, x + tag.shape[1], y + tag.shape[0]))
        share = tag[..., None] / np.float32(255)
        ground = np.float32(identity_colour(number))
        region[:] = np.rint(ground + share * (np.float32(RIM) - ground))


def _fitting_tag(text: str, size: float, image: tuple[int, int]) -> np.ndarray | None:
    """Return a tag that fits into the image; None if the font would be too small."""
    while size >= _LEAST:
        tag = _tag(text, round(size))
        if tag.shape[0] <= image[0] and tag.shape[1] <= image[1]:
            return tag
        size *= 0.9
    return None


@lru_cache(maxsize=256)
def _tag(text: str, size: int) -> np.ndarray:
    """Return the coverage of a tag's pixels by its text, (h, w), uint8."""
    font = ImageFont.load_default(size)
    # All digits determine the height, so that all tags have the same height.
    _, top, _, bottom = font.getbbox('0123456789', anchor='ls')
    wide, edge = font.getlength(text), max(round(0.3 * size), 2)
    tag = Image.new('L', (round(wide) + 2 * edge, bottom - top + 2 * edge))
    ImageDraw.Draw(tag).text((edge, edge - top), text, 255, font, 'ls')
    return np.array(tag)


def _corner(
    place: np.ndarray, size: tuple[int, int], image: tuple[int, int], taken: list[tuple[int, ...]]
) -> tuple[int, int]:
    """Return the top left corner of a tag: the first position that overlaps no other tag."""
    high, wide = size
    left, top, right, bottom = place
    candidates = [
        (left, top - high),
        (left, top),
        (right - wide, top - high),
        (left, bottom - high),
        (left, bottom),
        (right - wide, top),
    ]
    limit = np.array([image[1] - wide, image[0] - high])
    corners = [
        tuple(np.clip(np.rint(corner), 0, limit).astype(int).tolist()) for corner in candidates
    ]
    for x, y in corners:
        if not any(
            x < other[2] and other[0] < x + wide and y < other[3] and other[1] < y + high
            for other in taken
        ):
            return x, y
    return corners[0]


def _frame(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    line: int,
    colour: tuple[int, int, int],
    opacity: float,
) -> None:
    """Draw four bars inside a box, including its last row and column."""
    left, top, right, bottom = box
    bars = [
        (left, top, right + 1, top + line),
        (left, bottom + 1 - line, right + 1, bottom + 1),
        (left, top + line, left + line, bottom + 1 - line),
        (right + 1 - line, top + line, right + 1, bottom + 1 - line),
    ]
    for bar in bars:
        x0, y0, x1, y1 = np.maximum(bar, 0)
        region = image[y0:y1, x0:x1]
        region[:] = np.rint(region + opacity * (np.float32(colour) - region))
