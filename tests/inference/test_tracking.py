"""Track ids of moving figures."""

import numpy as np
import pytest

from pose_backbones.inference.tracking import PoseTracker

# A standing figure of 40 x 100 pixels around its middle.
FIGURE = np.array(
    [[0, -50], [-15, -30], [15, -30], [-20, 0], [20, 0], [-10, 10], [10, 10], [-12, 50], [12, 50]],
    float,
)
COUNT = len(FIGURE)


def people(*middles, figure=FIGURE):
    """Key points, scores and boxes of figures at these places."""
    middles = np.array(middles, float).reshape(-1, 1, 2)
    keypoints = middles + figure
    if not len(middles):
        return np.zeros((0, COUNT, 2)), np.zeros((0, COUNT)), np.zeros((0, 4))
    return (
        keypoints,
        np.ones(keypoints.shape[:2]),
        np.concatenate([keypoints.min(1), keypoints.max(1)], 1),
    )


def test_numbers_count_up_from_one():
    tracker = PoseTracker()
    assert tracker.alive == ()
    ids = tracker.update(*people((50, 60), (150, 60), (250, 60)))
    assert ids.tolist() == [1, 2, 3]
    assert ids.dtype == np.int64
    # Another order, a shift, and one more in front.
    ids = tracker.update(*people((400, 60), (252, 61), (52, 60), (149, 62)))
    assert ids.tolist() == [4, 3, 1, 2]
    assert tracker.alive == (1, 2, 3, 4)


def test_nobody_and_one():
    tracker = PoseTracker()
    for _ in range(3):
        ids = tracker.update(*people())
        assert (ids.shape, ids.dtype) == ((0,), np.int64)
    for step in range(5):
        assert tracker.update(*people((50 + step, 60))).tolist() == [1]
        assert tracker.update(*people()).tolist() == []


@pytest.mark.parametrize('hidden', [0, 5])
def test_people_who_cross(hidden):
    # At step 20 both are at the same place; the left one is seen first.
    tracker = PoseTracker()
    rng = np.random.default_rng(0)
    for step in range(41):
        both = [(100 + 5 * step, 100), (300 - 5 * step, 104)]
        figure = FIGURE + rng.normal(0, 0.5, FIGURE.shape)
        if abs(step - 20) <= hidden // 2 and hidden:
            ids = tracker.update(*people(both[0], figure=figure))
            assert ids.tolist() == [1]
        else:
            order = [0, 1] if step == 0 else rng.permutation(2)
            ids = tracker.update(*people(*(both[row] for row in order), figure=figure))
            assert ids.tolist() == [row + 1 for row in order], step


@pytest.mark.parametrize(('away', 'expected'), [(10, 1), (11, 2)])
def test_who_leaves_and_comes_back(away, expected):
    tracker = PoseTracker(max_age=10)
    tracker.update(*people((50, 60)))
    for _ in range(away - 1):
        tracker.update(*people())
        assert tracker.alive == (1,)
    assert tracker.update(*people((53, 60))).tolist() == [expected]
    assert tracker.alive == (expected,)


def test_who_comes_back_to_where_a_walk_ended():
    # Moved on with its speed, the track would be far away by now.
    tracker = PoseTracker()
    for step in range(10):
        tracker.update(*people((50 + 8 * step, 60)))
    for _ in range(12):
        tracker.update(*people())
    assert tracker.update(*people((124, 60))).tolist() == [1]


def test_a_walk_goes_on_behind_a_pillar():
    # 15 frames at 8 pixels: neither pose nor box are near the last ones.
    tracker = PoseTracker()
    for step in range(40):
        seen = [] if 15 <= step < 30 else [(50 + 8 * step, 60)]
        ids = tracker.update(*people(*seen))
        assert ids.tolist() == [1] * len(seen)


def test_poses_decide_before_boxes():
    # Two boxes that change places, with the poses left where they were.
    tracker = PoseTracker()
    keypoints, scores, boxes = people((50, 60), (90, 60))
    tracker.update(keypoints, scores, boxes)
    ids = tracker.update(keypoints, scores, boxes[::-1])
    assert ids.tolist() == [1, 2]


def test_boxes_decide_where_poses_are_not_known():
    keypoints, scores, boxes = people((50, 60), (150, 60))
    for blurred in (
        np.full_like(scores, 0.1),  # not sure
        np.pad(scores[:, :2], ((0, 0), (0, COUNT - 2))),
    ):
        tracker = PoseTracker()
        tracker.update(keypoints, scores, boxes)
        ids = tracker.update(keypoints[::-1], blurred, boxes[::-1] + 5)
        assert ids.tolist() == [2, 1]
    tracker = PoseTracker()
    tracker.update(keypoints, scores, boxes)
    lost = np.full_like(keypoints, np.nan)
    ids = tracker.update(lost, scores, boxes[::-1] + 5)
    assert ids.tolist() == [2, 1]


def test_the_best_sum_wins():
    # The first one is nearest to track 2, which the second needs more.
    tracker = PoseTracker()
    tracker.update(*people((100, 60), (112, 60)))
    ids = tracker.update(*people((108, 60), (118, 60)))
    assert ids.tolist() == [1, 2]


def similar(first, second, sigma):
    """OKS after COCO's evaluation, of figures of the same size."""
    area = 0.53 * 40 * 100
    squares = ((first - second) ** 2).sum(-1)
    return np.exp(-squares / (2 * area * (2 * sigma) ** 2)).mean()


@pytest.mark.parametrize('sigmas', [None, np.linspace(0.03, 0.1, COUNT)])
@pytest.mark.parametrize(('least', 'expected'), [(-1e-4, 1), (1e-4, 2)])
def test_oks_as_coco_has_it(sigmas, least, expected):
    sigma = 0.067 if sigmas is None else sigmas
    oks = similar(FIGURE, FIGURE + (6, 2), sigma)
    assert 0.3 < oks < 0.9
    # Boxes far apart, for the pose alone to decide.
    tracker = PoseTracker(sigmas, min_oks=oks + least)
    keypoints, scores, boxes = people((50, 60))
    tracker.update(keypoints, scores, boxes)
    ids = tracker.update(keypoints + (6, 2), scores, boxes + 1000)
    assert ids.tolist() == [expected]


@pytest.mark.parametrize(('least', 'expected'), [(-1e-4, 1), (1e-4, 2)])
def test_iou(least, expected):
    # 40 x 100 moved by 10 and 20: 30 x 80 in common.
    iou = 2400 / (8000 - 2400)
    tracker = PoseTracker(min_iou=iou + least)
    keypoints, scores, boxes = people((50, 60))
    tracker.update(keypoints, scores, boxes)
    ids = tracker.update(keypoints, 0 * scores, boxes + (10, 20, 10, 20))
    assert ids.tolist() == [expected]


@pytest.mark.parametrize('box', [(5, 5, 5, 5), (9, 9, 2, 2), (np.nan,) * 4])
def test_boxes_without_size_are_no_one_else(box):
    tracker = PoseTracker()
    keypoints, scores, boxes = people((50, 60), (150, 60))
    boxes[1] = box
    assert tracker.update(keypoints, scores, boxes).tolist() == [1, 2]
    ids = tracker.update(keypoints, scores, boxes).tolist()
    assert ids[0] == 1
    assert ids[1] in (2, 3)


def test_input_is_kept():
    keypoints, scores, boxes = people((50, 60))
    scores[0, 3] = 0
    copies = keypoints.copy(), scores.copy(), boxes.copy()
    PoseTracker().update(keypoints, scores, boxes)
    for array, copy in zip((keypoints, scores, boxes), copies):
        np.testing.assert_array_equal(array, copy)


def test_memory_does_not_grow():
    tracker = PoseTracker(max_age=5)
    for step in range(300):
        ids = tracker.update(*people((1000 * step, 60), (1000 * step, 900)))
        assert len(tracker.alive) <= 2 * 6
    assert ids.tolist() == [599, 600]
    assert tracker.alive == tuple(range(589, 601))


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'max_age': 0}, ValueError, 'max_age is 0: expected an integer'),
        ({'min_oks': 1.0}, ValueError, 'min_oks is 1.0: expected a number, 0 <='),
        ({'min_iou': 'x'}, TypeError, "min_iou is 'x': expected a number"),
        ({'min_score': -1}, ValueError, 'min_score is -1: expected a number'),
        ({'sigmas': [0.1, 0]}, ValueError, r'sigmas are \[0.1, 0\]: expected a'),
        ({'sigmas': []}, ValueError, r'sigmas are \[\]: expected a positive'),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        PoseTracker(**options)


def test_bad_shapes():
    keypoints, scores, boxes = people((50, 60), (150, 60))
    tracker = PoseTracker()
    for bad in (
        (keypoints[0], scores, boxes),
        (keypoints, scores[:1], boxes),
        (keypoints, scores, boxes[:1]),
    ):
        with pytest.raises(
            ValueError, match='keypoints, scores and boxes have the shapes .*: expected '
        ):
            tracker.update(*bad)
    with pytest.raises(ValueError, match=r'expected \(2, 4, 2\), \(2, 4\), '):
        PoseTracker([0.1] * 4).update(keypoints, scores, boxes)
    tracker.update(keypoints, scores, boxes)
    with pytest.raises(ValueError, match=r'expected \(2, 9, 2\), \(2, 9\), '):
        tracker.update(keypoints[:, :5], scores[:, :5], boxes)
