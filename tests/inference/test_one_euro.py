"""Tests of the 1 Euro filter against a scalar implementation of the paper."""

import math

import numpy as np
import pytest

from pose_backbones.inference.one_euro import OneEuroFilter


class Scalar:
    """Algorithms 1 to 3 of the paper, line by line; speeds are divided by `unit`."""

    def __init__(self, min_cutoff, beta, d_cutoff, unit):
        self.min_cutoff, self.beta = min_cutoff, beta
        self.d_cutoff, self.unit = d_cutoff, unit
        self.time = self.value = self.speed = None

    @staticmethod
    def alpha(rate, cutoff):
        tau = 1.0 / (2 * math.pi * cutoff)
        te = 1.0 / rate
        return 1.0 / (1.0 + tau / te)

    def filter(self, time, value):
        if self.time is None:
            self.value, self.speed = value, 0.0
        else:
            rate = 1.0 / (time - self.time)
            slope = (value - self.value) * rate
            a = self.alpha(rate, self.d_cutoff)
            self.speed = a * slope + (1 - a) * self.speed
            cutoff = self.min_cutoff + self.beta * abs(self.speed / self.unit)
            a = self.alpha(rate, cutoff)
            self.value = a * value + (1 - a) * self.value
        self.time = time
        return self.value


PARAMETERS = [(1.0, 20.0, 1.0), (0.3, 0.0, 1.0), (2.5, 3.0, 0.4)]
BOX = (10, 20, 90, 65)  # size: the square root of 80 x 45
UNIT = 60.0


def walk(rng, steps, shape):
    """Return times at an uneven rate, and keypoints that move with jitter."""
    times = np.cumsum(rng.uniform(0.01, 0.1, steps))
    paths = np.cumsum(rng.normal(0, 4, (steps, *shape)), 0)
    return times, paths + 100


@pytest.mark.parametrize('parameters', PARAMETERS)
def test_filter_matches_the_paper(parameters):
    times, points = walk(np.random.default_rng(0), 60, (2, 3, 2))
    scalars = [
        [[Scalar(*parameters, unit) for _ in 'xy'] for _ in range(3)] for unit in (UNIT, 2 * UNIT)
    ]
    boxes = np.array([BOX, np.multiply(BOX, 2)], np.float32)
    smooth = OneEuroFilter(*parameters)
    for time, people in zip(times, points):
        expected = [
            [[scalars[n][k][c].filter(time, people[n, k, c]) for c in range(2)] for k in range(3)]
            for n in range(2)
        ]
        filtered = smooth(time, people, np.array([4, 9]), boxes)
        np.testing.assert_allclose(filtered, expected, rtol=1e-9)


def test_filter_defaults():
    times, points = walk(np.random.default_rng(5), 9, (1, 2, 2))
    named = OneEuroFilter(min_cutoff=1, beta=20, d_cutoff=1)
    plain = OneEuroFilter()
    for time, people in zip(times, points):
        np.testing.assert_array_equal(
            plain(time, people, [1], [BOX]), named(time, people, [1], [BOX])
        )


def test_joints_are_filtered_independently():
    rng = np.random.default_rng(1)
    times, points = walk(rng, 50, (1, 4, 2))
    points[rng.random((50, 1, 4)) < 0.3] = np.nan
    points[7, 0, 1] = np.inf, 3  # a joint with one infinite coordinate counts as missing
    points[:, 0, 3] = np.nan
    scalars = [[Scalar(1, 20, 1, UNIT) for _ in 'xy'] for _ in range(4)]
    smooth = OneEuroFilter()
    for time, people in zip(times, points):
        filtered = smooth(time, people, [1], [BOX])
        for k in range(4):
            expected = people[0, k]
            if np.isfinite(expected).all():
                expected = [scalars[k][c].filter(time, expected[c]) for c in range(2)]
            np.testing.assert_allclose(filtered[0, k], expected, rtol=1e-9)


def test_filter_is_independent_of_image_size():
    times, points = walk(np.random.default_rng(2), 30, (1, 3, 2))
    small, large = OneEuroFilter(), OneEuroFilter()
    for time, people in zip(times, points):
        np.testing.assert_allclose(
            8 * small(time, people, [1], [BOX]),
            large(time, 8 * people, [1], 8 * np.array([BOX])),
            rtol=1e-9,
        )


def test_filter_state_follows_track_ids():
    times, points = walk(np.random.default_rng(3), 20, (2, 3, 2))
    apart = [OneEuroFilter(), OneEuroFilter()]
    both = OneEuroFilter()
    for step, (time, people) in enumerate(zip(times, points)):
        order = [step % 2, 1 - step % 2]
        filtered = both(time, people[order], np.array([5, 7])[order], [BOX] * 2)
        for row, person in enumerate(order):
            expected = apart[person](time, people[[person]], [1], [BOX])
            np.testing.assert_array_equal(filtered[row], expected[0])


def test_filter_state_is_removed_with_the_track():
    times, points = walk(np.random.default_rng(4), 6, (1, 3, 2))
    no_people = np.zeros((0, 3, 2)), [], np.zeros((0, 4))
    for alive, kept in (((1,), True), ((2,), False), ((), False)):
        smooth = OneEuroFilter()
        for time, people in zip(times[:4], points):
            smooth(time, people, [1], [BOX])
        empty = smooth(times[4], *no_people, alive)
        assert empty.shape == (0, 3, 2)
        filtered = smooth(times[5], points[5], [1], [BOX])
        assert (filtered != points[5]).all() == kept
        assert (filtered == points[5]).all() != kept


def test_filter_state_is_bounded():
    smooth = OneEuroFilter()
    for step in range(100):
        smooth(
            step,
            np.zeros((2, 3, 2)),
            [2 * step, 2 * step + 1],
            [BOX] * 2,
            alive=[2 * step - 1, 10**6],
        )
    assert len(smooth._states) == 3


def test_filter_reduces_jitter_without_lag():
    rng = np.random.default_rng(6)
    times = np.arange(300) / 30
    truth = np.zeros((300, 1, 2, 2))
    truth[:, 0, 1, 0] = UNIT * 2 * times  # two person sizes per second
    noisy = truth + rng.normal(0, 0.01 * UNIT, truth.shape)
    smooth = OneEuroFilter()
    filtered = np.stack([smooth(time, people, [1], [BOX]) for time, people in zip(times, noisy)])
    trembling = np.abs(np.diff(filtered[60:, 0, 0], axis=0)).mean()
    before = np.abs(np.diff(noisy[60:, 0, 0], axis=0)).mean()
    assert trembling < before / 2
    behind = (truth - filtered)[60:, 0, 1, 0].mean()
    assert abs(behind) < 0.01 * UNIT


@pytest.mark.parametrize('box', [(5, 5, 5, 5), (9, 9, 2, 2), (math.nan, 0, 5, 5)])
def test_boxes_without_area_are_smoothed(box):
    times, points = walk(np.random.default_rng(7), 5, (1, 3, 2))
    smooth, other_filter = OneEuroFilter(), OneEuroFilter()
    sides = (0, 0, 1, 5 if math.isnan(box[0]) else 1)
    for time, people in zip(times, points):
        np.testing.assert_array_equal(
            smooth(time, people, [1], [box]), other_filter(time, people, [1], [sides])
        )


def test_input_is_unchanged_and_dtype_is_kept():
    smooth = OneEuroFilter()
    for time in (0, 1):
        people = np.full((1, 2, 2), 3.0 + time, np.float32)
        filtered = smooth(time, people, [1], [BOX])
        assert filtered.dtype == np.float32
        assert (people == 3 + time).all()
    assert (filtered < 4).all()


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'min_cutoff': 0}, ValueError, 'min_cutoff is 0: expected a positive'),
        ({'d_cutoff': -1.0}, ValueError, 'd_cutoff is -1.0: expected a positive'),
        ({'beta': -0.1}, ValueError, 'beta is -0.1: expected a number of at'),
        ({'beta': 'high'}, TypeError, "beta is 'high': expected a number"),
        ({'min_cutoff': math.inf}, ValueError, 'min_cutoff is inf'),
    ],
)
def test_invalid_filter_options_raise(options, error, message):
    with pytest.raises(error, match=message):
        OneEuroFilter(**options)


def test_invalid_people_raise():
    smooth = OneEuroFilter()
    people = np.zeros((2, 3, 2))
    smooth(5.0, people, [1, 2], [BOX] * 2)
    for time in (5.0, 4, math.nan):
        with pytest.raises(
            ValueError,
            match=f'time is {time}: expected a time in seconds after that of the last frame, 5',
        ):
            smooth(time, people, [1, 2], [BOX] * 2)
    with pytest.raises(ValueError, match=r'ids are \[1, 1\]: expected each'):
        smooth(6, people, [1, 1], [BOX] * 2)
    for ids, boxes in (([1], [BOX] * 2), ([1, 2], [BOX])):
        with pytest.raises(ValueError, match=r'shape \(2, 3, 2\) and boxes '):
            smooth(6, people, ids, boxes)
