"""Appearance of a person: skin, hair and clothes.

Colours are (blue, green, red) from 0 to 255.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .body import Body

_SKINS = (
    (188, 208, 238),
    (166, 192, 230),
    (144, 176, 220),
    (120, 158, 206),
    (92, 130, 180),
    (66, 98, 146),
    (48, 72, 112),
    (40, 54, 82),
)
_HAIRS = (
    (24, 22, 24),
    (32, 36, 46),
    (38, 56, 84),
    (60, 96, 140),
    (96, 150, 196),
    (40, 60, 150),
    (150, 150, 152),
    (210, 212, 214),
)


@dataclass(frozen=True)
class Look:
    """Colours (BGR, 0 to 255) and clothing of one person.

    Attributes:
        skin: Colour of the skin.
        hair: Colour of the hair and a beard.
        top: Colour of the top.
        top_second: Colour of its pattern, of a hat, a backpack and what is
            under a jacket.
        bottom: Colour of trousers or a skirt.
        bottom_second: Colour of the pattern on these.
        shoes: Colour of the shoes.
        style: Hair: bald, buzz, short, afro, bob, long, pony or bun.
        sleeve: Covered share of the arm, 0 to 1.
        leg: Share of the leg covered by trousers, 0 to 1.
        skirt: Length of a skirt in thighs, 0 for none.
        pattern: Numbers of the patterns of (top, bottom), -1 for plain.
        hem: Lower end of the top: 0 at the hips, 1 at the neck.
        loose: Width of the clothes; 1 is skin-tight.
        jacket: Whether the top is an open jacket.
        tucked: Whether the top is tucked in behind a belt.
        hat: cap, beanie or '' for none.
        glasses: clear, sun or '' for none.
        beard: Whether there is a beard.
        backpack: Whether there is a backpack.
        grain: Selects the folds of the cloth, 0 to 65535.
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


def _pick(rng: np.random.Generator, options: tuple) -> Any:
    """Sample one of the options."""
    return options[int(rng.integers(len(options)))]


def _cloth_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Sample a colour of clothes."""
    kind = rng.random()
    if kind < 0.38:
        v = _pick(rng, (30, 45, 70, 110, 150, 190, 225)) + rng.normal(0, 8)
        hsv = (rng.integers(180), rng.integers(0, 28), v)
    elif kind < 0.6:
        hsv = (rng.normal(110, 8), rng.integers(70, 170), rng.integers(60, 190))
    else:
        hsv = (rng.integers(180), rng.triangular(50, 90, 200), rng.integers(70, 215))
    pixel = np.uint8([[np.clip(hsv, 0, (179, 255, 250))]])
    return tuple(int(v) for v in cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0])


def _far_colour(rng: np.random.Generator, *others: tuple) -> tuple:
    """Sample a colour of clothes that differs from the others, with a limited number of tries."""
    for _ in range(8):
        colour = _cloth_colour(rng)
        if all(sum(abs(a - b) for a, b in zip(colour, o, strict=True)) > 110 for o in others):
            break
    return colour


def sample_look(rng: np.random.Generator, body: Body) -> Look:
    """Sample the appearance of a person.

    Args:
        rng: Random number generator.
        body: Proportions of the person.

    Returns:
        The appearance.
    """
    skin = np.array(_SKINS[rng.integers(len(_SKINS))]) + rng.normal(0, 6, 3)
    skin = tuple(int(v) for v in np.clip(skin, 20, 250))
    male = rng.random() < 0.1 + 0.8 * body.masculine
    styles = (
        ('bald', 'buzz', 'short', 'short', 'short', 'afro')
        if male
        else ('short', 'bob', 'bob', 'long', 'long', 'pony', 'bun', 'afro')
    )
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
        skin=skin,
        hair=_HAIRS[int(len(_HAIRS) * rng.beta(1, 1.8))],
        top=top,
        top_second=_far_colour(rng, top),
        bottom=bottom,
        bottom_second=tuple(int(0.75 * v) for v in bottom),
        shoes=_far_colour(rng, bottom),
        style=_pick(rng, styles),
        sleeve=_pick(rng, (0.0, 0.22, 0.3, 0.5, 1.0, 1.0, 1.0)),
        leg=leg,
        skirt=skirt,
        pattern=(
            int(rng.integers(6)) if rng.random() < 0.45 else -1,
            int(rng.integers(6)) if rng.random() < 0.12 else -1,
        ),
        hem=float(rng.uniform(-0.16, 0.06)),
        loose=float(rng.uniform(1.04, 1.22)),
        jacket=rng.random() < 0.2,
        tucked=rng.random() < 0.3,
        hat=_pick(rng, ('', '', '', '', '', '', 'cap', 'beanie')),
        glasses=_pick(rng, ('', '', '', '', '', 'clear', 'sun')),
        beard=male and not body.child and rng.random() < 0.25,
        backpack=rng.random() < 0.08,
        grain=int(rng.integers(1 << 16)),
    )
