"""Tests of `detector_interval`: boxes that follow poses on videos whose people move as known.

The people are squares of one color each. The pose model of these tests finds the colored pixels
within the crop: its keypoints are the corners and the centre of the square.
"""

import json

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from pose_backbones import PoseInferencer
from pose_backbones.cli import infer
from pose_backbones.errors import ConfigError, WorkDirError
from pose_backbones.inference import prediction_stream
from pose_backbones.inference.following import DetectionSchedule, boxes_around_poses
from pose_backbones.inference.inputs import Failure, Frame
from tests.helpers.pose_cases import BOTTOM_UP, estimator, make_image, model_options
from tests.helpers.video_cases import make_video

SIDE = 20
SPEED = 3  # pixels per frame


def draw_square(position: int | None) -> np.ndarray:
    """Return an image (80, 160, 3) with a white square; None: without it."""
    image = np.zeros((80, 160, 3), np.uint8)
    if position is not None:
        image[30 : 30 + SIDE, position : position + SIDE] = 255
    return image


def square_in(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the keypoints (17, 2) of the square within a crop, and their scores (17,).

    The crop is larger than the box by a factor of 1.25, as in MMPose.
    """
    margins = (box[2:] - box[:2]) * 0.125
    box = np.concatenate([box[:2] - margins, box[2:] + margins])
    x0, y0, x1, y1 = np.round(np.clip(box, 0, (160, 80, 160, 80))).astype(int)
    rows, columns = np.nonzero(image[y0:y1, x0:x1, 0] > 127)
    if not len(rows):
        return np.zeros((17, 2)), np.full(17, 0.1)
    left, right = columns.min() + x0, columns.max() + x0 + 1
    top, bottom = rows.min() + y0, rows.max() + y0 + 1
    centre = (left + right) / 2, (top + bottom) / 2
    points = [(left, top), (right, top), (left, bottom), (right, bottom), *[centre] * 13]
    return np.array(points, float), np.full(17, 0.9)


class SquareDetector:
    """Returns the box of the square, and counts its calls."""

    def __init__(self, batch_size: int = 1):
        self.batch_size, self.calls = batch_size, 0

    def __call__(self, image):
        self.calls += 1
        points, scores = square_in(image, np.array([0, 0, 160, 80]))
        return [[*points[0], *points[3], 0.8]] if scores[0] > 0.5 else []

    def detect_batch(self, images):
        return [self(image) for image in images]


@pytest.fixture
def pose(monkeypatch):
    """Return an inferencer whose predictions are those of `square_in`."""

    def prepare(frame, box=None, score=1.0):
        return dict(inputs=torch.zeros(1), image=frame.image, box=box)

    def predict(batch):
        found = [square_in(sample['image'], sample['box']) for sample in batch]
        return [
            InstanceData(
                keypoints=points[None].astype(np.float32),
                keypoint_scores=scores[None].astype(np.float32),
            )
            for points, scores in found
        ]

    inferencer = PoseInferencer(estimator(), batch_size=4)
    monkeypatch.setattr(inferencer, 'prepare', prepare)
    monkeypatch.setattr(inferencer, 'predict', predict)
    return inferencer


@pytest.mark.parametrize('interval', [1, 3, 10])
@pytest.mark.parametrize('limit', [1, 4])
def test_boxes_follow_a_moving_person(pose, interval, limit):
    images = [draw_square(10 + SPEED * number) for number in range(20)]
    detect = SquareDetector(limit)
    results = list(pose(images, detect, detector_interval=interval))
    assert detect.calls == -(-20 // interval)
    for number, result in enumerate(results):
        position = 10 + SPEED * number
        points, _ = square_in(images[number], np.array([0, 0, 160, 80]))
        np.testing.assert_array_equal(result.keypoints, [points])
        expected = np.array([position, 30, position + SIDE, 30 + SIDE], float)
        if number % interval:  # the square of the previous frame, with margins
            expected += np.array([-0.08, -0.13, 0.08, 0.1]) * SIDE - [SPEED, 0, SPEED, 0]
        np.testing.assert_allclose(result.boxes, [expected], atol=1e-3)
        assert result.box_scores.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize('batch_size', [1, 2, 16])
def test_batches_do_not_change_the_results(pose, batch_size):
    images = [draw_square(10 + number) for number in range(20)]
    expected = list(pose(images, SquareDetector(), detector_interval=4))
    pose.batch_size = batch_size
    results = list(pose(images, SquareDetector(16), detector_interval=4))
    for result, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.boxes, other.boxes)
        np.testing.assert_array_equal(result.keypoints, other.keypoints)


def test_margins_and_overlap():
    points = np.array([[[10, 20], [30, 20], [20, 70], [500, 500]]] * 3, np.float32)
    points[2] += 5
    scores = np.array([[0.9, 0.3, 0.5, 0.1]] * 3, np.float32)
    boxes = boxes_around_poses(points, scores, np.array([0.4, 0.6, 0.5], np.float32))
    # The first is a duplicate of the second. The longer side of the keypoints has 50 pixels.
    np.testing.assert_allclose(boxes.corners, [[6, 13.5, 34, 75], [11, 18.5, 39, 80]], atol=1e-5)
    assert boxes.scores.tolist() == pytest.approx([0.6, 0.5])
    scores[1, 0] = 0.2  # two keypoints are left
    boxes = boxes_around_poses(points, scores, np.array([0.4, 0.6, 0.5], np.float32))
    assert boxes.scores.tolist() == pytest.approx([0.4, 0.5])
    points[0] = 7  # all at one point
    boxes = boxes_around_poses(points, scores, np.array([0.4, 0.6, 0.5], np.float32))
    assert boxes.scores.tolist() == pytest.approx([0.5])


def test_lost_people_return_with_the_next_detection(pose):
    """The square disappears on frame 2 and is back on frame 3; the detector runs on 0, 5 and 10."""
    images = [draw_square(None if number == 2 else 40) for number in range(12)]
    results = list(pose(images, SquareDetector(), detector_interval=5))
    # Frame 2 has the box of the lost person.
    assert [len(result) for result in results] == [1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_detector_runs_after_a_frame_that_could_not_be_used(pose, monkeypatch):
    images = [draw_square(40) for _ in range(6)]
    predict = pose.predict
    calls = []

    def predict_nan(batch):
        found = predict(batch)
        calls.append(len(batch))
        if len(calls) == 3:
            found[0].keypoints = found[0].keypoints * np.nan
        return found

    monkeypatch.setattr(pose, 'predict', predict_nan)
    detect = SquareDetector()
    results = pose(images, detect, detector_interval=6)
    assert [result.index for result in results] == [0, 1, 3, 4, 5]
    assert detect.calls == 2
    assert calls == [1] * 6


def item(part: int, frame: int | None, path: str | None = None) -> Frame:
    return Frame(0, 'x', part, np.zeros((1, 1, 3), np.uint8), 1, path, frame)


def test_schedule():
    schedule = DetectionSchedule(2)
    first = [item(0, number, 'a.mp4') for number in range(3)]
    second = [item(1, number, 'b.mp4') for number in range(2)]
    images = [item(2, None, 'c.png'), item(3, None, 'd.png')]
    arrays = [item(4, None), item(5, None), item(6, None)]
    failure = Failure(0, 'x', 7, ValueError())
    items = [*first, *second, *images, *arrays, failure, item(8, None)]
    assert [schedule.is_due(each) for each in items] == [
        *(True, False, True),
        *(True, False),
        *(True, True),
        *(True, False, True),
        True,
        True,
    ]


def test_invalid_intervals_raise(tmp_path):
    inferencer = PoseInferencer(estimator())
    image = make_image(0)
    for value in (0, -1, 2.0, True):
        with pytest.raises((TypeError, ValueError), match=f'detector_interval is {value}'):
            inferencer(image, SquareDetector(), detector_interval=value)
    for boxes in (None, [[0, 0, 9, 9]], 'whole-image'):
        with pytest.raises(ValueError, match='detector_interval is 2, but the boxes are not'):
            inferencer(image, boxes, detector_interval=2)
    with pytest.raises(ConfigError, match='bottom-up model: expected .* detector_interval'):
        PoseInferencer(estimator(BOTTOM_UP))(image, detector_interval=2)
    arguments = ['x.mp4', '--model', 'm', '--out', str(tmp_path / 'out'), '--detector-interval']
    with pytest.raises(ConfigError, match='--detector-interval 0: expected at least 1'):
        infer.main([*arguments, '0', '--detector', 'rtmdet-m'])
    with pytest.raises(ConfigError, match='--detector-interval requires --detector'):
        infer.main([*arguments, '2', '--whole-image'])


def test_image_files_are_all_detected(tmp_path, pose, caplog, monkeypatch):
    import cv2

    messages = []
    monkeypatch.setattr(
        'pose_backbones.inference.inferencer.print_log', lambda text, *_: messages.append(text)
    )
    for number in range(3):
        cv2.imwrite(str(tmp_path / f'{number}.png'), draw_square(10 * number))
    detect = SquareDetector()
    results = list(pose(tmp_path, detect, detector_interval=3))
    assert [result.boxes[0, 0] for result in results] == [0, 10, 20]
    assert detect.calls == 3
    assert len(messages) == 1
    assert 'no effect on image files' in messages[0]


def test_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    """The run stops in the second of two videos, after a frame whose boxes follow poses."""
    monkeypatch.setattr(infer, 'load_detector', lambda *_: lambda image: [[10, 5, 80, 60, 0.9]])
    videos = [str(make_video(tmp_path / f'{name}.mp4', 9)) for name in 'ab']
    arguments = [
        *videos,
        *model_options(tmp_path),
        *('--backend', 'torch', '--draw', 'none', '--detector', 'rtmdet-m'),
        *('--detector-interval', '4', '--track', '--smooth', '--out'),
    ]
    assert infer.main([*arguments, str(tmp_path / 'whole')]) == 0
    original = prediction_stream._gather

    def stop(entry, frame, skeleton):
        if frame.part == 1 and frame.frame == 6:
            raise KeyboardInterrupt
        return original(entry, frame, skeleton)

    with monkeypatch.context() as patch:
        patch.setattr(prediction_stream, '_gather', stop)
        with pytest.raises(KeyboardInterrupt):
            infer.main([*arguments, str(tmp_path / 'part')])
    for value, message in (
        ('2', 'from a run with detector_interval 4, but .* 2'),
        ('1', 'now null'),
    ):
        changed = [value if argument == '4' else argument for argument in arguments]
        with pytest.raises(WorkDirError, match=message):
            infer.main([*changed, str(tmp_path / 'part'), '--resume'])
    assert infer.main([*arguments, str(tmp_path / 'part'), '--resume']) == 0
    whole, part = (
        json.loads((tmp_path / name / 'predictions.json').read_text()) for name in ('whole', 'part')
    )
    assert len(whole) == len(part) == 18
    for person, other in zip(whole, part):
        for key in ('keypoints', 'bbox'):  # rounding differs between batches
            np.testing.assert_allclose(person.pop(key), other.pop(key), atol=0.01)
        assert person.pop('score') == pytest.approx(other.pop('score'), abs=1e-4)
        assert person == other
