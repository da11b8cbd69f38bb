"""Tests of `VideoTracker`: track IDs, smoothing and several videos."""

import cv2
import numpy as np
import pytest

from pose_backbones import PoseInferencer
from pose_backbones.inference.one_euro import OneEuroFilter
from pose_backbones.inference.pose_result import PoseResult
from pose_backbones.inference.tracking import VideoTracker
from pose_backbones.visualization.skeleton import Skeleton
from tests.helpers.pose_cases import estimator, make_image
from tests.helpers.video_cases import make_video

SKELETON = Skeleton(('a', 'b', 'c'), ())


def result(index: int, people: np.ndarray, frame: int | None) -> PoseResult:
    """Return a result for people at positions (n, 2)."""
    shape = np.array([(0, 0), (10, 20), (20, 0)])
    keypoints = people[:, None] + shape
    return PoseResult(
        keypoints,
        np.ones((len(people), 3)),
        np.concatenate((keypoints.min(1), keypoints.max(1)), 1),
        np.ones(len(people)),
        SKELETON,
        (400, 300),
        f'{index}',
        index,
        index,
        frame=frame,
        time=None if frame is None else frame / 10,
    )


def test_track_ids_do_not_depend_on_row_order():
    tracker = VideoTracker(None, smooth=False)
    first = np.array([(50.0, 50), (200.0, 50)])
    for frame in range(5):
        people = first + (3 * frame, 0)
        poses = result(frame, people[::-1] if frame % 2 else people, frame)
        before = poses.keypoints.copy()
        tracker.update(poses, part=0)
        assert poses.track_ids.tolist() == ([2, 1] if frame % 2 else [1, 2])
        np.testing.assert_array_equal(poses.keypoints, before)


def test_tracks_start_anew_for_each_video():
    tracker = VideoTracker([0.1, 0.1, 0.1], smooth=True)
    place = np.array([(50.0, 50)])
    for index, (part, frame, ids) in enumerate(
        ((0, 0, [1]), (0, 1, [1]), (None, None, [1]), (2, 0, [1]))
    ):
        poses = result(index, place, frame)
        tracker.update(poses, part)
        assert poses.track_ids.tolist() == ids
    far = result(9, place + 200, 1)
    tracker.update(far, 2)
    assert far.track_ids.tolist() == [2]


def test_smoothing_uses_the_one_euro_filter():
    rng = np.random.default_rng(0)
    tracker, filters = VideoTracker(None, smooth=True), OneEuroFilter()
    differences = []
    for frame in range(6):
        place = np.array([(50.0, 50)]) + rng.normal(0, 2, (1, 2))
        poses, untracked = (result(frame, place, frame) for _ in range(2))
        tracker.update(poses, 0)
        expected = filters(frame / 10, untracked.keypoints, np.array([1]), untracked.boxes, (1,))
        np.testing.assert_allclose(poses.keypoints, expected, rtol=1e-6)
        assert poses.keypoints.dtype == np.float32
        differences.append(np.abs(poses.keypoints - untracked.keypoints).max())
    assert differences[0] == 0
    assert min(differences[1:]) > 0.01


@pytest.mark.parametrize('smooth', [False, True])
def test_tracking_several_videos(tmp_path, smooth):
    clips = [str(make_video(tmp_path / f'{name}.mp4', 4, 10.0)) for name in 'ab']
    pose = PoseInferencer(estimator())
    boxes = np.array([[5, 5, 40, 60], [50, 5, 90, 60.0]])
    tracked = list(
        pose([clips[0], make_image(0), clips[1]], lambda image: boxes, track=True, smooth=smooth)
    )
    untracked = list(pose([clips[0], make_image(0), clips[1]], lambda image: boxes))
    assert [poses.frame for poses in tracked] == [0, 1, 2, 3, None, 0, 1, 2, 3]
    assert all(poses.track_ids.tolist() == [1, 2] for poses in tracked)
    is_equal = [
        np.array_equal(poses.keypoints, other.keypoints) for poses, other in zip(tracked, untracked)
    ]
    assert all(is_equal[k] for k in (0, 4, 5))
    assert all(is_equal) is not smooth
    assert all(poses.track_ids is None for poses in untracked)


def test_arrays_are_tracked_and_files_are_not(tmp_path):
    """Results for arrays equal those for a video with 30 frames per second, except for coding."""
    image, boxes = make_image(0), np.array([(5.0, 5, 60, 50), (20, 10, 75, 55)])
    frames = [np.roll(image, 2 * n, 1) for n in range(4)]
    moved = [boxes + (2 * n, 0, 2 * n, 0) for n in range(4)]
    pose = PoseInferencer(estimator(), device='cpu')
    untracked = [poses.keypoints for poses in pose(iter(frames), iter(moved))]
    tracked = list(pose(iter(frames), iter(moved), track=True, smooth=True))
    filters = OneEuroFilter()
    for number, (poses, keypoints, corners) in enumerate(zip(tracked, untracked, moved)):
        assert poses.track_ids.tolist() == [1, 2]
        assert poses.frame is poses.time is None
        expected = filters(number / 30, keypoints, poses.track_ids, corners, {1, 2})
        np.testing.assert_allclose(poses.keypoints, expected, atol=1e-3)
    assert np.abs(tracked[3].keypoints - untracked[3]).max() > 0.1
    paths = []
    for number, frame in enumerate(frames):
        paths.append(str(tmp_path / f'{number}.png'))
        assert cv2.imwrite(paths[-1], frame)
    for poses, keypoints in zip(pose(paths, moved, track=True, smooth=True), untracked):
        assert poses.track_ids is None
        np.testing.assert_allclose(poses.keypoints, keypoints, atol=1e-3)
