"""Strategies for random inputs: sizes, boxes at every border, keypoints and arrays."""

import math

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st


def share(fraction: float) -> settings:
    """Return settings with a share of the examples of the profile, for expensive tests."""
    return settings(max_examples=max(5, round(settings().max_examples * fraction)))


#: seeds of NumPy and PyTorch, for arrays that are too large to be drawn number by number
seeds = st.integers(0, 2**32 - 1)


def coordinates(size: float) -> st.SearchStrategy[float]:
    """Return coordinates in, at and beyond the borders of an axis of `size` pixels."""
    special = [0, 0.5, 1, size / 2, size - 1, size - 0.5, size, size + 1, -1, -size, 2 * size]
    return st.one_of(
        st.sampled_from([float(value) for value in special]),
        st.floats(-size, 2 * size, width=32, allow_subnormal=False),
        st.floats(-size, 2 * size).map(lambda value: round(value, 2)),
        st.integers(-2, round(size) + 2).map(float),
    )


@st.composite
def boxes(draw, width: float, height: float) -> tuple[float, float, float, float]:
    """Draw a non-empty box as x, y, width and height, at any border or beyond it."""
    lengths = st.one_of(
        st.sampled_from([0.5, 1.0, 2.0]),
        st.floats(0.25, 3 * max(width, height), width=32),
        st.floats(0.25, 3 * max(width, height)).map(lambda value: round(value, 2)),
        st.integers(1, 3 * round(max(width, height))).map(float),
    )
    return draw(coordinates(width)), draw(coordinates(height)), draw(lengths), draw(lengths)


@st.composite
def inner_boxes(draw, width: float, height: float) -> tuple[float, float, float, float]:
    """Draw a box inside the image, x, y, width and height, at least 4 pixels wide and high."""
    x = draw(st.floats(0, width - 6, width=32))
    y = draw(st.floats(0, height - 6, width=32))
    return (
        x,
        y,
        draw(st.floats(4, math.floor(width - x - 1), width=32)),
        draw(st.floats(4, math.floor(height - y - 1), width=32)),
    )


@st.composite
def points(draw, count: int, low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
    """Draw `count` points (count, 2), float32, between two corners, some of them at the corners."""
    axes = []
    for corners in zip(low, high):
        a, b = map(float, np.array(corners, np.float32))
        values = st.floats(a, b, width=32, allow_subnormal=False) | st.sampled_from([a, b])
        axes.append(st.lists(values, min_size=count, max_size=count))
    return np.array([draw(axis) for axis in axes], np.float32).T


def masks(count: int) -> st.SearchStrategy[np.ndarray]:
    """Return boolean arrays (count,)."""
    return st.lists(st.booleans(), min_size=count, max_size=count).map(np.array)


@st.composite
def heatmaps(draw, count: int, height: int, width: int, low: float = -1.0) -> np.ndarray:
    """Draw finite maps (count, height, width), float32: noise, constants, zeros and single cells.

    Args:
        draw: Argument of Hypothesis.
        count, height, width: Shape.
        low: Minimum, times the magnitude that is drawn.
    """
    rng = np.random.default_rng(draw(seeds))
    magnitude = draw(st.sampled_from([1e-30, 1e-3, 1.0, 255.0, 1e4, 1e30]))
    maps = np.zeros((count, height, width), np.float32)
    kinds = draw(st.lists(st.sampled_from('noise constant zero cell two'.split()), min_size=1))
    for index in range(count):
        kind = kinds[index % len(kinds)]
        if kind == 'noise':
            maps[index] = rng.uniform(low, 1, (height, width))
        elif kind == 'constant':
            maps[index] = rng.uniform(low, 1)
        elif kind in ('cell', 'two'):
            for _ in range(1 + (kind == 'two')):
                row = rng.choice([0, height - 1, rng.integers(height)])
                column = rng.choice([0, width - 1, rng.integers(width)])
                maps[index, row, column] = 1
    return maps * np.float32(magnitude)
