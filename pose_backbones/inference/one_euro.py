"""Smooth keypoints over time with the 1 Euro filter.

The package OneEuroFilter filters one scalar per object, does not handle missing keypoints, and does
not scale speeds by the size of the person, so the filter is implemented here for arrays.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..utils.arguments import check_number


@dataclass
class _State:
    """Filter state of one track; NaN for joints that have not been visible yet."""

    time: np.ndarray  # (K, 1), seconds at which each joint was last visible
    value: np.ndarray  # (K, 2), smoothed position in pixels
    speed: np.ndarray  # (K, 2), smoothed speed in pixels per second


class OneEuroFilter:
    """Low-pass filter whose cutoff frequency increases with the speed of a joint.

    Paper: Casiez, Roussel and Vogel, '1 € Filter: A Simple Speed-based Low-pass Filter for Noisy
    Input in Interactive Systems', CHI 2012, algorithms 1 to 3; https://gery.casiez.net/1euro/. The
    x and y coordinates of each joint of each track are filtered independently.

    Deviations from the paper: speeds are divided by the size of the person (the square root of the
    box area), so that the same parameters suit near and far people and all image sizes. The rate
    is computed from the time stamps, separately for each joint.

    Args:
        min_cutoff: Cutoff in Hz at rest. Lower values reduce jitter.
        beta: Increase of the cutoff with speed, in cycles per person size. Higher values reduce
            the lag of fast joints. Typical values are 1 to 50.
        d_cutoff: Cutoff in Hz for the low-pass filter of the speeds.

    Raises:
        TypeError, ValueError: If `min_cutoff` or `d_cutoff` is not a positive number, or `beta` is
            negative.
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
        """Smooth the keypoints of a frame.

        Args:
            time: Time of the frame in seconds; must be later than that of the last frame.
            keypoints: (n, K, 2), x and y in pixels. Joints that are not finite are returned
                unchanged and do not update the filter.
            ids: (n,), track IDs, all different.
            boxes: (n, 4), xyxy in pixels. Sides below 1 pixel and NaN count as 1.
            alive: Tracks whose state is kept although they are not in this frame, for example
                `PoseTracker.alive`. The states of all other tracks are removed.

        Returns:
            (n, K, 2), a new array with the data type of `keypoints`.

        Raises:
            ValueError: If the time does not increase, or shapes or IDs are invalid.
        """
        keypoints, boxes = np.asarray(keypoints), np.asarray(boxes)
        tracks: list[int] = np.asarray(ids).tolist()
        _check_people(keypoints, tracks, boxes)
        if not (math.isfinite(time) and time > self._time):
            raise ValueError(
                f'time is {time!r}: expected a time in seconds after '
                f'that of the last frame, {self._time:g}'
            )
        self._time = time
        sides = boxes[:, 2:].astype(float) - boxes[:, :2]
        sizes = np.sqrt(np.fmax(sides, 1).prod(1))
        kept = {*tracks, *alive}
        states = {track: state for track, state in self._states.items() if track in kept}
        smoothed = keypoints.copy()
        for row, (track, size) in enumerate(zip(tracks, sizes)):
            points = keypoints[row].astype(float)
            visible = np.isfinite(points).all(1, keepdims=True)
            states[track] = state = self._step(states.get(track), time, points, visible, size)
            smoothed[row] = np.where(visible, state.value, keypoints[row])
        self._states = states
        return smoothed

    def _step(
        self,
        state: _State | None,
        time: float,
        points: np.ndarray,
        visible: np.ndarray,
        size: float,
    ) -> _State:
        """Apply algorithm 1 to the joints of a track.

        Args:
            state: State of the track; None for a new track.
            time: Seconds.
            points: (K, 2), pixels.
            visible: (K, 1), whether each joint is finite.
            size: Size of the person in pixels.

        Returns:
            The new state.
        """
        if state is None:
            state = _State(
                np.full(visible.shape, np.nan),
                np.full(points.shape, np.nan),
                np.zeros(points.shape),
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
            time=np.where(visible, time, state.time),
            value=np.where(visible, value, state.value),
            speed=np.where(visible, speed, state.speed),
        )


def _low_pass(
    new: np.ndarray, old: np.ndarray, elapsed: np.ndarray, cutoff: np.ndarray | float
) -> np.ndarray:
    """Apply algorithms 2 and 3: exponential smoothing with a cutoff in Hz."""
    alpha = 1 / (1 + 1 / (2 * np.pi * cutoff * elapsed))
    return old + alpha * (new - old)


def _check_people(keypoints: np.ndarray, ids: list[int], boxes: np.ndarray) -> None:
    """Check that the arrays have one row for each person."""
    count = len(ids)
    if keypoints.ndim != 3 or keypoints.shape[::2] != (count, 2) or boxes.shape != (count, 4):
        raise ValueError(
            f'keypoints have the shape {keypoints.shape} and boxes '
            f'{boxes.shape} for {count} ids: expected ({count}, K, 2) and '
            f'({count}, 4)'
        )
    if len(set(ids)) < count:
        raise ValueError(f'ids are {ids}: expected each track once')
