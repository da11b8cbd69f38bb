"""Compare the speed of two models."""

import statistics
import time

import numpy as np

from .runtimes import Runtime

_MAX_ROUNDS = 15


def speed_ratio(
    first: Runtime, second: Runtime, crops: np.ndarray, min_rounds: int, seconds: float
) -> float:
    """Return how many times as fast the second model is.

    The models take turns, so that other load of the machine affects both. Each is called once
    before, to compile it.

    Args:
        first, second: The models.
        crops: (N, H, W, 3), uint8, BGR.
        min_rounds: Smallest number of measurements of each model.
        seconds: Time after which no further measurement starts.

    Returns:
        The median of the ratios.
    """
    ratios: list[float] = []
    first(crops), second(crops)
    end = time.perf_counter() + seconds
    while len(ratios) < _MAX_ROUNDS and (len(ratios) < min_rounds or time.perf_counter() < end):
        times = []
        for runtime in (first, second):
            start = time.perf_counter()
            runtime(crops)
            times.append(time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)
