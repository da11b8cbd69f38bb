"""Smoothing key points over time with the 1 Euro filter."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..utils.arguments import check_number


@dataclass
class _State:
    """Of one track; nan for joints that have not been seen yet."""

    time: np.ndarray  # (K, 1) seconds, when each joint was seen last
    value: np.ndarray  # (K, 2) pixels, smoothed
    speed: np.ndarray  # (K, 2) pixels a second, smoothed


class OneEuroFilter:
    """A low-pass filter that lets through more the faster a joint moves.

    Paper: Casiez, Roussel and Vogel, '1 € Filter: A Simple Speed-based
    Low-pass Filter for Noisy Input in Interactive Systems', CHI 2012,
    algorithms 1 to 3; https://gery.casiez.net/1euro/. x and y of each joint
    of each track are filtered alone.
    Deviations: speeds are in sizes of the person a second, the size being
    the root of the box's area, so that the parameters suit near and far
    people and all image sizes; the rate is that of the time stamps, joint by
    joint.

    Args:
        min_cutoff: Hz; the lower, the less a joint at rest trembles.
        beta: Hz per size a second, which is cycles per size; the higher, the
            less a fast joint lags behind. Of the order of 1 to 50.
        d_cutoff: Hz, of the low-pass filter of the speeds.

    Raises:
        TypeError, ValueError: If `min_cutoff` or `d_cutoff` is no positive
            number, or `beta` is negative.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 20.0, d_cutoff: float = 1.0) -> None:
        for name, value in (('min_cutoff', min_cutoff), ('d_cutoff', d_cutoff)):
            check_number(name, value, 'a positive number, in Hz')
            if value <= 0:
                raise ValueError(f'{name} is {value!r}: expected a positive number, in Hz')
        check_number('beta', beta, 'a number of at least 0')
        if beta < 0:
            raise ValueError(f'beta is {beta!r}: expected a number of at least 0')
        self.min_cutoff, self.beta = min_cutoff, beta
        self.d_cutoff = d_cutoff
        self._states: dict[int, _State] = {}
        self._time = -math.inf

    def __call__(
        self,
        time: float,
        keypoints: np.ndarray,
        ids: np.ndarray,
        boxes: np.ndarray,
        alive: Iterable[int] = (),
    ) -> np.ndarray:
        """Smooth the people of a frame.

        Args:
            time: Of the frame, in seconds; later than the one before.
            keypoints: (n, K, 2), x and y in pixels. A joint that is not
                finite stays as it is, and the filter waits for it.
            ids: (n,), the track of each; no two are the same.
            boxes: (n, 4), xyxy in pixels; sides below 1 pixel, and nan,
                count as 1.
            alive: Tracks whose state is kept though they are not in this
                frame, for example `PoseTracker.alive`. That of all others is
                dropped.

        Returns:
            (n, K, 2), a new array of the type of `keypoints`.

        Raises:
            ValueError: If time does not go on, or shapes or ids do not fit.
        """
        keypoints, boxes = np.asarray(keypoints), np.asarray(boxes)
        tracks: list[int] = np.asarray(ids).tolist()
        _check_people(keypoints, tracks, boxes)
        if not (math.isfinite(time) and time > self._time):
            raise ValueError(
                f'time is {time!r}: expected seconds, more than '
                f'those of the last frame, {self._time:g}'
            )
        self._time = time
        sides = boxes[:, 2:].astype(float) - boxes[:, :2]
        sizes = np.sqrt(np.fmax(sides, 1).prod(1))
        kept = {*tracks, *alive}
        states = {track: state for track, state in self._states.items() if track in kept}
        smoothed = keypoints.copy()
        for row, (track, size) in enumerate(zip(tracks, sizes)):
            points = keypoints[row].astype(float)
            seen = np.isfinite(points).all(1, keepdims=True)
            states[track] = state = self._step(states.get(track), time, points, seen, size)
            smoothed[row] = np.where(seen, state.value, keypoints[row])
        self._states = states
        return smoothed

    def _step(
        self, state: _State | None, time: float, points: np.ndarray, seen: np.ndarray, size: float
    ) -> _State:
        """Algorithm 1 for the joints of a track.

        Args:
            state: None for a new track.
            time: Seconds.
            points: (K, 2), pixels.
            seen: (K, 1), which joints there are.
            size: Of the person, in pixels.

        Returns:
            The new state.
        """
        if state is None:
            state = _State(
                np.full(seen.shape, np.nan), np.full(points.shape, np.nan), np.zeros(points.shape)
            )
        elapsed = time - state.time
        first = np.isnan(elapsed)
        with np.errstate(invalid='ignore'):  # joints that are not finite
            speed = _low_pass((points - state.value) / elapsed, state.speed, elapsed, self.d_cutoff)
            cutoff = self.min_cutoff + self.beta * np.abs(speed) / size
            value = _low_pass(points, state.value, elapsed, cutoff)
        speed = np.where(first, 0, speed)
        value = np.where(first, points, value)
        return _State(
            time=np.where(seen, time, state.time),
            value=np.where(seen, value, state.value),
            speed=np.where(seen, speed, state.speed),
        )


def _low_pass(
    new: np.ndarray, old: np.ndarray, elapsed: np.ndarray, cutoff: np.ndarray | float
) -> np.ndarray:
    """Algorithms 2 and 3: exponential smoothing with a cutoff in Hz."""
    alpha = 1 / (1 + 1 / (2 * np.pi * cutoff * elapsed))
    return old + alpha * (new - old)


def _check_people(keypoints: np.ndarray, ids: list[int], boxes: np.ndarray) -> None:
    """Refuse arrays that are not of the same people."""
    count = len(ids)
    if keypoints.ndim != 3 or keypoints.shape[::2] != (count, 2) or boxes.shape != (count, 4):
        raise ValueError(
            f'keypoints have the shape {keypoints.shape} and boxes '
            f'{boxes.shape} for {count} ids: expected ({count}, K, 2) and '
            f'({count}, 4)'
        )
    if len(set(ids)) < count:
        raise ValueError(f'ids are {ids}: expected each track once')
