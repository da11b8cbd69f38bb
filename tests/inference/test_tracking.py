"""Tests of `PoseTracker` with moving people."""

import numpy as np
import pytest

from pose_backbones.inference.tracking import PoseTracker

# A standing person of 40 x 100 pixels, relative to the centre.
PERSON = np.array(
    [[0, -50], [-15, -30], [15, -30], [-20, 0], [20, 0], [-10, 10], [10, 10], [-12, 50], [12, 50]],
    float,
)
COUNT = len(PERSON)


def people(*middles, person=PERSON):
    """Return keypoints, scores and boxes of people at the given centres."""
    middles = np.array(middles, float).reshape(-1, 1, 2)
    keypoints = middles + person
    if not len(middles):
        return np.zeros((0, COUNT, 2)), np.zeros((0, COUNT)), np.zeros((0, 4))
    return (
        keypoints,
        np.ones(keypoints.shape[:2]),
        np.concatenate([keypoints.min(1), keypoints.max(1)], 1),
    )


def test_track_ids_count_from_one():
    tracker = PoseTracker()
    assert tracker.alive == ()
    ids = tracker.update(*people((50, 60), (150, 60), (250, 60)))
    assert ids.tolist() == [1, 2, 3]
    assert ids.dtype == np.int64
    # Another order, a shift, and a new person in the first row.
    ids = tracker.update(*people((400, 60), (252, 61), (52, 60), (149, 62)))
    assert ids.tolist() == [4, 3, 1, 2]
    assert tracker.alive == (1, 2, 3, 4)


def test_frames_without_people():
    tracker = PoseTracker()
    for _ in range(3):
        ids = tracker.update(*people())
        assert (ids.shape, ids.dtype) == ((0,), np.int64)
    for step in range(5):
        assert tracker.update(*people((50 + step, 60))).tolist() == [1]
        assert tracker.update(*people()).tolist() == []


@pytest.mark.parametrize('hidden', [0, 5])
def test_tracks_of_people_who_cross(hidden):
    # At step 20 both are at the same position; the left one is in the first row.
    tracker = PoseTracker()
    rng = np.random.default_rng(0)
    for step in range(41):
        both = [(100 + 5 * step, 100), (300 - 5 * step, 104)]
        person = PERSON + rng.normal(0, 0.5, PERSON.shape)
        if abs(step - 20) <= hidden // 2 and hidden:
            ids = tracker.update(*people(both[0], person=person))
            assert ids.tolist() == [1]
        else:
            order = [0, 1] if step == 0 else rng.permutation(2)
            ids = tracker.update(*people(*(both[row] for row in order), person=person))
            assert ids.tolist() == [row + 1 for row in order], step


@pytest.mark.parametrize(('num_absent', 'expected'), [(10, 1), (11, 2)])
def test_track_id_after_an_absence(num_absent, expected):
    tracker = PoseTracker(max_age=10)
    tracker.update(*people((50, 60)))
    for _ in range(num_absent - 1):
        tracker.update(*people())
        assert tracker.alive == (1,)
    assert tracker.update(*people((53, 60))).tolist() == [expected]
    assert tracker.alive == (expected,)


def test_person_returns_to_the_last_position():
    # Moved by its velocity, the track would be far away now.
    tracker = PoseTracker()
    for step in range(10):
        tracker.update(*people((50 + 8 * step, 60)))
    for _ in range(12):
        tracker.update(*people())
    assert tracker.update(*people((124, 60))).tolist() == [1]


def test_moving_person_is_tracked_through_an_occlusion():
    # 15 frames with 8 pixels each: pose and box do not overlap the last ones.
    tracker = PoseTracker()
    for step in range(40):
        seen = [] if 15 <= step < 30 else [(50 + 8 * step, 60)]
        ids = tracker.update(*people(*seen))
        assert ids.tolist() == [1] * len(seen)


def test_poses_are_matched_before_boxes():
    # Two boxes are exchanged, while the poses stay at their positions.
    tracker = PoseTracker()
    keypoints, scores, boxes = people((50, 60), (90, 60))
    tracker.update(keypoints, scores, boxes)
    ids = tracker.update(keypoints, scores, boxes[::-1])
    assert ids.tolist() == [1, 2]


def test_boxes_are_matched_if_poses_have_low_scores():
    keypoints, scores, boxes = people((50, 60), (150, 60))
    for blurred in (
        np.full_like(scores, 0.1),  # low scores
        np.pad(scores[:, :2], ((0, 0), (0, COUNT - 2))),
    ):
        tracker = PoseTracker()
        tracker.update(keypoints, scores, boxes)
        ids = tracker.update(keypoints[::-1], blurred, boxes[::-1] + 5)
        assert ids.tolist() == [2, 1]
    tracker = PoseTracker()
    tracker.update(keypoints, scores, boxes)
    nan_keypoints = np.full_like(keypoints, np.nan)
    ids = tracker.update(nan_keypoints, scores, boxes[::-1] + 5)
    assert ids.tolist() == [2, 1]


def test_matching_maximizes_the_total_similarity():
    # The first person is nearest to track 2, but the second person matches only track 2.
    tracker = PoseTracker()
    tracker.update(*people((100, 60), (112, 60)))
    ids = tracker.update(*people((108, 60), (118, 60)))
    assert ids.tolist() == [1, 2]


def similar(first, second, sigma):
    """Return the OKS as in COCO's evaluation for people of the same size."""
    area = 0.53 * 40 * 100
    squares = ((first - second) ** 2).sum(-1)
    return np.exp(-squares / (2 * area * (2 * sigma) ** 2)).mean()


@pytest.mark.parametrize('sigmas', [None, np.linspace(0.03, 0.1, COUNT)])
@pytest.mark.parametrize(('least', 'expected'), [(-1e-4, 1), (1e-4, 2)])
def test_oks_matches_coco(sigmas, least, expected):
    sigma = 0.067 if sigmas is None else sigmas
    oks = similar(PERSON, PERSON + (6, 2), sigma)
    assert 0.3 < oks < 0.9
    # The boxes are far apart, so that only the poses match.
    tracker = PoseTracker(sigmas, min_oks=oks + least)
    keypoints, scores, boxes = people((50, 60))
    tracker.update(keypoints, scores, boxes)
    ids = tracker.update(keypoints + (6, 2), scores, boxes + 1000)
    assert ids.tolist() == [expected]


@pytest.mark.parametrize(('least', 'expected'), [(-1e-4, 1), (1e-4, 2)])
def test_iou_threshold(least, expected):
    # 40 x 100 moved by 10 and 20: the intersection is 30 x 80.
    iou = 2400 / (8000 - 2400)
    tracker = PoseTracker(min_iou=iou + least)
    keypoints, scores, boxes = people((50, 60))
    tracker.update(keypoints, scores, boxes)
    ids = tracker.update(keypoints, 0 * scores, boxes + (10, 20, 10, 20))
    assert ids.tolist() == [expected]


@pytest.mark.parametrize('box', [(5, 5, 5, 5), (9, 9, 2, 2), (np.nan,) * 4])
def test_boxes_without_area_match_only_themselves(box):
    tracker = PoseTracker()
    keypoints, scores, boxes = people((50, 60), (150, 60))
    boxes[1] = box
    assert tracker.update(keypoints, scores, boxes).tolist() == [1, 2]
    ids = tracker.update(keypoints, scores, boxes).tolist()
    assert ids[0] == 1
    assert ids[1] in (2, 3)


def test_tracker_does_not_change_its_input():
    keypoints, scores, boxes = people((50, 60))
    scores[0, 3] = 0
    copies = keypoints.copy(), scores.copy(), boxes.copy()
    PoseTracker().update(keypoints, scores, boxes)
    for array, copy in zip((keypoints, scores, boxes), copies):
        np.testing.assert_array_equal(array, copy)


def test_memory_is_bounded():
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
def test_invalid_tracking_options_raise(options, error, message):
    with pytest.raises(error, match=message):
        PoseTracker(**options)


def test_invalid_shapes_raise():
    keypoints, scores, boxes = people((50, 60), (150, 60))
    tracker = PoseTracker()
    for shapes in (
        (keypoints[0], scores, boxes),
        (keypoints, scores[:1], boxes),
        (keypoints, scores, boxes[:1]),
    ):
        with pytest.raises(
            ValueError, match='keypoints, scores and boxes have the shapes .*: expected '
        ):
            tracker.update(*shapes)
    with pytest.raises(ValueError, match=r'expected \(2, 4, 2\), \(2, 4\), '):
        PoseTracker([0.1] * 4).update(keypoints, scores, boxes)
    tracker.update(keypoints, scores, boxes)
    with pytest.raises(ValueError, match=r'expected \(2, 9, 2\), \(2, 9\), '):
        tracker.update(keypoints[:, :5], scores[:, :5], boxes)
