"""Tests of the benchmark of `detector_interval`."""

from itertools import pairwise

import numpy as np

from benchmarks.detector_interval import Frame, Row, SimulatedDetector, make_clip, measure, table
from pose_backbones import PoseInferencer
from pose_backbones.synthetic import render_scene
from tests.helpers.pose_cases import estimator


def scene_of_people():
    rng = np.random.default_rng(0)
    while True:
        scene = render_scene(rng)
        if sum(not person.iscrowd for person in scene.people) > 1:
            return scene


def test_people_move_as_stated():
    frames = list(make_clip(scene_of_people(), 41, 3.0))
    np.testing.assert_allclose(frames[40].keypoints, frames[0].keypoints, atol=1e-6)
    steps = [b.boxes.mean() - a.boxes.mean() for a, b in pairwise(frames)]
    assert 1 < max(map(abs, steps)) < 3
    # The image moves with the keypoints: the pixels of the first half period are shifted.
    first, other = frames[0], frames[1]
    x, y = np.round(first.boxes.mean(0).reshape(2, 2).mean(0)).astype(int)
    moved = np.round(other.boxes.mean(0).reshape(2, 2).mean(0)).astype(int)
    a = first.image[y - 5 : y + 5, x - 5 : x + 5].astype(int)
    b = other.image[moved[1] - 5 : moved[1] + 5, moved[0] - 5 : moved[0] + 5].astype(int)
    assert np.abs(a - b).mean() < 12


def test_measurements_use_the_interval():
    frames = list(make_clip(scene_of_people(), 6, 3.0))
    calls = []
    detector = SimulatedDetector(lambda image: calls.append(1), frames)
    np.testing.assert_allclose(
        detector(frames[0].image), frames[0].boxes, atol=0.2 * np.ptp(frames[0].boxes)
    )
    calls.clear()
    pose = PoseInferencer(estimator())
    row = measure(pose, lambda image: calls.append(1), [frames], 3)
    assert len(calls) == 2
    assert row.interval == 3
    assert 0 <= row.oks < 1


def test_oks_of_true_keypoints_is_one(monkeypatch):
    frames = list(make_clip(scene_of_people(), 3, 3.0))
    truth = iter(frames)

    class Pose:
        metainfo = dict(sigmas=[0.1] * 17)

        def __call__(self, images, detect, detector_interval):
            return [Frame(image, next(truth).keypoints[..., :2], np.zeros(0)) for image in images]

    row = measure(Pose(), lambda image: None, [frames], 1)
    assert row.oks == 1
    assert row.lost == 0


def test_table():
    lines = list(table([Row(1, 10.0, 0.9, 0.01), Row(5, 25.0, 0.85, 0.02)]))
    assert [cell.strip() for cell in lines[-1].strip('|').split('|')] == [
        *('5', '25.0', '2.50', '0.850', '2.0%')
    ]
