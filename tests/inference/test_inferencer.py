"""Tests of `PoseInferencer`: equality with MMPose, order, batches and memory."""

import copy
import itertools
import json
import logging
import threading
import weakref

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import inference_bottomup, inference_topdown

from pose_backbones import PoseInferencer
from pose_backbones.errors import CheckpointError, ConfigError, DatasetError, ImageError
from pose_backbones.inference import inputs as sources
from pose_backbones.inference import prediction_stream as results
from pose_backbones.models.backbones import MogaNet
from tests.helpers.pose_cases import (
    BOTTOM_UP,
    TOP_DOWN,
    boxes_in,
    estimator,
    make_image,
    write_checkpoint,
    write_config,
)

#: number of people and size of each image
PEOPLE = (2, 0, 7, 1, 0, 3)
SIZES = ((80, 60), (30, 90), (64, 64), (200, 50), (1, 1), (80, 60))


def make_images() -> list[np.ndarray]:
    return [make_image(k, *size) for k, size in enumerate(SIZES)]


def people() -> list[np.ndarray]:
    return [boxes_in(k, count, *size) for k, (count, size) in enumerate(zip(PEOPLE, SIZES))]


def predict_with_mmpose(model, image, boxes) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints and scores of MMPose's inference functions."""
    if not len(boxes):
        return np.zeros((0, 17, 2)), np.zeros((0, 17))
    pose_results = [item.pred_instances for item in inference_topdown(model, image, boxes)]
    return (
        np.concatenate([item.keypoints for item in pose_results]),
        np.concatenate([item.keypoint_scores for item in pose_results]),
    )


@pytest.mark.parametrize('batch_size', [1, 3, 32])
def test_top_down_matches_mmpose(batch_size):
    pose = PoseInferencer(estimator(), batch_size=batch_size)
    pose_results = list(pose(make_images(), people()))
    assert [result.index for result in pose_results] == list(range(6))
    assert [len(result) for result in pose_results] == list(PEOPLE)
    for result, image, boxes in zip(pose_results, make_images(), people()):
        keypoints, scores = predict_with_mmpose(estimator(), image, boxes)
        np.testing.assert_allclose(result.keypoints, keypoints, atol=1e-3)
        np.testing.assert_allclose(result.scores, scores, atol=1e-5)
        np.testing.assert_array_equal(result.boxes, boxes)
        np.testing.assert_array_equal(result.image, image)
        assert result.size == image.shape[1::-1]
        assert result.box_scores.tolist() == [1] * len(boxes)
        assert result.visible is result.track_ids is result.frame is None
        assert result.names[:2] == ('nose', 'left_eye')
    places = np.concatenate([item.keypoints for item in pose_results]).reshape(-1, 2)
    assert len(np.unique(places.round(2), axis=0)) > 100


def test_box_scores_and_whole_image():
    pose = PoseInferencer(estimator())
    image = make_image(0)
    (result,) = pose(image, [[1, 2, 50, 55, 0.25]])
    assert result.box_scores.tolist() == [0.25]
    (whole_image,) = pose(image)
    keypoints, _ = predict_with_mmpose(estimator(), image, np.array([[0, 0, 80, 60]], np.float32))
    np.testing.assert_allclose(whole_image.keypoints, keypoints, atol=1e-3)
    np.testing.assert_array_equal(whole_image.boxes, [[0, 0, 80, 60]])


def test_flip_test_does_not_change_the_given_model():
    model = estimator()
    flipping = copy.copy(model)
    flipping.test_cfg = {**model.test_cfg, 'flip_test': True}
    image, boxes = make_image(1), boxes_in(1, 3)
    (result,) = PoseInferencer(model, flip_test=True)([image], [boxes])
    keypoints, scores = predict_with_mmpose(flipping, image, boxes)
    np.testing.assert_allclose(result.keypoints, keypoints, atol=1e-3)
    np.testing.assert_allclose(result.scores, scores, atol=1e-5)
    (plain,) = PoseInferencer(flipping, flip_test=False)([image], [boxes])
    assert np.abs(plain.scores - scores).max() > 0.01
    assert model.test_cfg['flip_test'] is False


def test_half_precision_uses_bfloat16_on_cpu():
    model = estimator()
    kinds, predictions = [], []
    image, boxes = make_image(1), boxes_in(1, 3)
    for use_half in (False, True):
        pose = PoseInferencer(model, half=use_half)
        convolutions = [m for m in pose.model.backbone.modules() if isinstance(m, torch.nn.Conv2d)]
        convolutions[0].register_forward_hook(lambda _m, _args, output: kinds.append(output.dtype))
        predictions += pose([image], [boxes])
    whole_image, half = predictions
    assert kinds == [torch.float32, torch.bfloat16]
    difference = np.abs(half.scores - whole_image.scores)
    assert 0 < difference.max() < 0.1 * np.ptp(whole_image.scores)
    assert half.keypoints.dtype == np.float32
    assert 'forward' not in vars(model.head)


@pytest.mark.parametrize('batch_size', [None, 3])
def test_bottom_up_matches_mmpose(batch_size):
    model = estimator(BOTTOM_UP)
    pose = PoseInferencer(model, batch_size=batch_size)
    assert pose.batch_size == (batch_size or 1)
    images = [
        make_image(k, *size)
        for k, size in enumerate(
            ((96, 64), (96, 64), (64, 64), (64, 128), (64, 128), (64, 128), (64, 128), (1, 1))
        )
    ]
    pose_results = list(pose(images))
    assert [item.index for item in pose_results] == list(range(8))
    assert sum(map(len, pose_results)) > 8
    for result, image in zip(pose_results, images):
        expected = inference_bottomup(model, image)[0].pred_instances
        np.testing.assert_allclose(result.keypoints, expected.keypoints, rtol=2e-4, atol=1e-2)
        np.testing.assert_allclose(result.scores, expected.keypoint_scores, atol=1e-4)
        np.testing.assert_allclose(result.boxes, expected.bboxes, rtol=2e-4, atol=1e-2)
        np.testing.assert_allclose(result.box_scores, expected.bbox_scores, atol=1e-4)
    assert pose_results[0].names == ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear')


def test_images_of_equal_shape_share_a_batch(monkeypatch):
    pose = PoseInferencer(estimator(BOTTOM_UP), batch_size=2)
    sizes = note_batches(pose, monkeypatch)
    list(pose([make_image(0, 96, 64)] * 3 + [make_image(0, 64, 64)]))
    assert sizes == [2, 1, 1]


def note_batches(pose, monkeypatch) -> list[int]:
    sizes, predict = [], pose.predict
    monkeypatch.setattr(pose, 'predict', lambda batch: sizes.append(len(batch)) or predict(batch))
    return sizes


def test_batches_contain_crops_of_several_images(monkeypatch):
    pose = PoseInferencer(estimator(), batch_size=5)
    sizes = note_batches(pose, monkeypatch)
    list(pose(make_images(), people()))
    assert sizes == [5, 5, 3]


@pytest.mark.parametrize('keep', [False, True])
def test_memory_is_bounded(keep):
    alive, most = weakref.WeakSet(), 0

    class Image(np.ndarray):  # hashed by identity
        __hash__ = object.__hash__

    def endless():
        for number in itertools.count():
            image = make_image(number % 3, 20, 16).view(Image)
            alive.add(image)
            yield image

    pose = PoseInferencer(estimator(), batch_size=8)
    pose_results = pose(endless(), keep_images=keep)
    for number, result in enumerate(itertools.islice(pose_results, 40)):
        assert result.index == number
        assert (result.image is None) is not keep
        most = max(most, sum(1 for _ in alive))
    assert most <= (10 if keep else 2)
    pose_results.close()


@pytest.mark.parametrize(
    ('size', 'count'), [((192, 256), 8), ((288, 384), 3), ((48, 64), 32), ((2000, 2000), 1)]
)
def test_default_batch_size_on_cpu(size, count):
    model = copy.copy(estimator())
    model.cfg = copy.deepcopy(model.cfg)
    for step in model.cfg.test_dataloader.dataset.pipeline:
        if step.type == 'TopdownAffine':
            step.input_size = size
    assert PoseInferencer(model, device='cpu').batch_size == count


def test_large_images_do_not_wait_for_a_full_batch(monkeypatch):
    taken = []
    monkeypatch.setattr(results, '_MAX_WAITING_BYTES', 3 * make_image(0).nbytes)
    pose = PoseInferencer(estimator(), batch_size=32)
    pose_results = pose(taken.append(n) or make_image(n) for n in itertools.count())
    next(pose_results)
    assert taken == [0, 1, 2, 3]
    taken.clear()
    pose_results = pose(
        (taken.append(n) or make_image(n) for n in itertools.count()), keep_images=False
    )
    next(pose_results)
    assert len(taken) == 32


def test_images_without_people_are_returned_at_once():
    taken = []
    pose = PoseInferencer(estimator())
    pose_results = pose(
        (taken.append(n) or make_image(n) for n in itertools.count()), lambda image: []
    )
    assert len(next(pose_results)) == 0
    assert taken == [0]


def test_camera_frames_are_returned_at_once(monkeypatch):
    taken = []

    class Camera:
        def __enter__(self):
            return ((n, n / 10, taken.append(n) or make_image(n)) for n in itertools.count())

        def __exit__(self, *error):
            taken.append('closed')

    monkeypatch.setattr(sources, 'read_video', lambda number: Camera())
    pose_results = PoseInferencer(estimator())(0)
    first, second = next(pose_results), next(pose_results)
    assert taken == [0, 1]
    assert (first.name, first.time, second.frame) == ('camera 0, frame 0', 0.0, 1)
    pose_results.close()
    assert taken == [0, 1, 'closed']


def test_early_exit_stops_the_thread(tmp_path):
    for k in range(20):
        cv2.imwrite(str(tmp_path / f'{k}.png'), make_image(k, 20, 16))
    pose_results = PoseInferencer(estimator(), batch_size=2)(tmp_path)
    names = [item.name for item in itertools.islice(pose_results, 3)]
    assert names == [str(tmp_path / f'{k}.png') for k in range(3)]
    assert 'prefetch' in [item.name for item in threading.enumerate()]
    pose_results.close()
    assert 'prefetch' not in [item.name for item in threading.enumerate()]
    assert list(pose_results) == []


def test_unreadable_images_are_skipped_and_listed(mmengine_log):
    pose = PoseInferencer(estimator())
    pose_results = pose([make_image(0), b'no image', make_image(2)])
    assert [item.index for item in pose_results] == [0, 2]
    (failure,) = pose_results.failures
    assert (failure.index, failure.name) == (1, 'bytes 2')
    (message,) = [
        item.getMessage() for item in mmengine_log.records if item.levelno >= logging.WARNING
    ]
    assert message.startswith('skipped: bytes 2: cannot read the image')


def test_strict_raises_after_earlier_results():
    pose_results = PoseInferencer(estimator())(
        [make_image(0), make_image(1), b'no image', make_image(2)], strict=True
    )
    assert [next(pose_results).index, next(pose_results).index] == [0, 1]
    with pytest.raises(DatasetError, match='not a format that Pillow supports'):
        next(pose_results)
    assert list(pose_results) == []


@pytest.mark.parametrize('keep_images', [False, True])
def test_images_with_predictions_that_are_not_finite_are_skipped(keep_images, mmengine_log):
    """Half precision can overflow for single images."""
    pose = PoseInferencer(estimator(), batch_size=1)
    predict_finite = pose.predict
    calls = itertools.count()

    def predict(batch):
        (instances,) = predict_finite(batch)
        if next(calls) == 1:
            instances.keypoint_scores[0, 3] = np.nan
        return [instances]

    pose.predict = predict
    boxes = [[[1, 2, 50, 60]], [[1, 2, 50, 60]] * 3, [[1, 2, 50, 60]]]
    images = [make_image(number) for number in range(3)]
    pose_results = pose(images, boxes, keep_images=keep_images)
    assert [result.index for result in pose_results] == [0, 2]
    (failure,) = pose_results.failures
    message = 'the model predicts keypoint_scores that are NaN or infinite for the image array 2'
    assert (failure.index, failure.name) == (1, 'array 2')
    assert str(failure.error).startswith(message)
    assert f'skipped: array 2: {message}' in mmengine_log.text
    calls = itertools.count()
    pose_results = pose(images, boxes, keep_images=keep_images, strict=True)
    assert next(pose_results).index == 0
    with pytest.raises(ImageError, match=message):
        next(pose_results)


@pytest.mark.parametrize('text', [TOP_DOWN, BOTTOM_UP])
def test_weights_that_are_not_finite_give_no_results(text):
    model = copy.deepcopy(estimator(text))
    for value in model.head.parameters():
        value.data.fill_(torch.nan)
    pose_results = PoseInferencer(model)([make_image(0), make_image(1)])
    assert list(pose_results) == []
    assert [failure.index for failure in pose_results.failures] == [0, 1]


@pytest.mark.parametrize('faulty_input', ['boxes', 'detector', 'inputs'])
def test_user_errors_are_raised_in_order(faulty_input):
    pose = PoseInferencer(estimator())

    def images():
        for number in range(5):
            if number == 3 and faulty_input == 'inputs':
                raise ZeroDivisionError('third')
            yield make_image(number)

    def detect(image):
        if faulty_input == 'detector' and (image == make_image(3)).all():
            raise ZeroDivisionError('third')
        return [[1, 2, 50, 60]]

    boxes = iter([[[1, 2, 50, 60]]] * 3) if faulty_input == 'boxes' else detect
    pose_results = pose(images(), boxes)
    assert [next(pose_results).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(
        ValueError if faulty_input == 'boxes' else ZeroDivisionError,
        match='got 3' if faulty_input == 'boxes' else 'third',
    ):
        next(pose_results)


def test_detector_is_the_default_for_boxes():
    calls = []

    def detect(image):
        calls.append(image.shape)
        return np.array([[1, 2, 50, 55, 0.9], [3, 4, 9, 12, 0.1]])

    pose = PoseInferencer(estimator(), detector=detect)
    (result,) = pose(make_image(0), min_score=0.3)
    np.testing.assert_array_equal(result.boxes, [[1, 2, 50, 55]])
    assert calls == [(60, 80, 3)]
    (other,) = pose(make_image(0), [[0, 0, 9, 9]])
    assert other.boxes.tolist() == [[0, 0, 9, 9]]
    assert len(calls) == 1


def test_image_ids_from_box_file_and_index(tmp_path):
    for name in ('12', '7'):
        cv2.imwrite(str(tmp_path / f'{name}.png'), make_image(0))
    (tmp_path / 'boxes.json').write_text(
        json.dumps([dict(image_id=99, file_name='12.png', bbox=[1, 2, 30, 40])])
    )
    pose = PoseInferencer(estimator())
    pose_results = list(pose(tmp_path, str(tmp_path / 'boxes.json')))
    assert [(item.image_id, len(item)) for item in pose_results] == [(7, 0), (99, 1)]
    assert pose_results[1].to_coco()[0]['bbox'] == [1, 2, 30, 40]


def test_visibility_is_kept_if_the_model_predicts_it(monkeypatch):
    pose = PoseInferencer(estimator())
    predict = pose.predict

    def seeing(batch):
        pose_results = predict(batch)
        for item in pose_results:
            item.keypoints_visible = item.keypoint_scores * 0 + 0.75
        return pose_results

    monkeypatch.setattr(pose, 'predict', seeing)
    (result,) = pose(make_image(0))
    assert result.visible.tolist() == [[0.75] * 17]


def test_third_coordinate_raises(monkeypatch):
    """It is not dropped, also if the codec is not one of MMPose."""
    pose = PoseInferencer(estimator())
    predict = pose.predict

    def deep(batch):
        (instances,) = predict(batch)
        depth = np.zeros_like(instances.keypoints[..., :1])
        instances.keypoints = np.concatenate((instances.keypoints, depth), 2)
        return [instances]

    monkeypatch.setattr(pose, 'predict', deep)
    with pytest.raises(ConfigError, match='predicts 3 coordinates of each keypoint, .* 2D model'):
        next(pose(make_image(0)))


def test_bottom_up_boxes_enclose_keypoints(monkeypatch):
    pose = PoseInferencer(estimator(BOTTOM_UP))
    (expected,) = pose(make_image(0))
    predict = pose.predict

    def bare(batch):
        pose_results = predict(batch)
        for item in pose_results:
            del item.bboxes, item.bbox_scores
        return pose_results

    monkeypatch.setattr(pose, 'predict', bare)
    (result,) = pose(make_image(0))
    assert len(result) > 0
    np.testing.assert_array_equal(result.boxes[:, :2], expected.keypoints.min(1))
    np.testing.assert_array_equal(result.boxes[:, 2:], expected.keypoints.max(1))
    np.testing.assert_allclose(result.box_scores, expected.scores.mean(1))


def test_model_argument_types(tmp_path):
    config = write_config(tmp_path)
    weights = write_checkpoint(tmp_path)
    image, boxes = make_image(1), boxes_in(1, 2)
    expected, _ = predict_with_mmpose(estimator(), image, boxes)
    for model in (str(config), config, Config.fromstring(TOP_DOWN, '.py')):
        pose = PoseInferencer(model, weights, device='cpu')
        (pose_results,) = pose([image], [boxes])
        np.testing.assert_allclose(pose_results.keypoints, expected, atol=1e-3)
    given = estimator()
    pose = PoseInferencer(given)
    assert pose.device == torch.device('cpu')
    assert pose.model is not given
    assert type(pose.model.head) is type(given.head)
    assert isinstance(given.backbone, MogaNet)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(model='moganet-s_coco-256x192', weights='w'), CheckpointError, 'not found: w'),
        (dict(model='nowhere.py'), ConfigError, r'config not found: nowhere\.py'),
        (
            dict(model='moganet-z_coco-256x192'),
            ConfigError,
            "unknown model 'moganet-z_coco-256x192'",
        ),
        (
            dict(model='td-hm_moganet-xt_1xb8-demo_synthetic-128x96'),
            CheckpointError,
            'has no released weights',
        ),
        (
            dict(model=Config(dict(model=dict(backbone={})))),
            CheckpointError,
            'there are no weights .*: expected the path or URL',
        ),
        (dict(model=3), TypeError, 'model is a int: expected a name'),
        (dict(model=torch.nn.ReLU()), TypeError, 'the model has no cfg'),
        (dict(device='tpu9'), ValueError, "device is 'tpu9': expected cpu"),
        (dict(device='cuda:99'), ValueError, "device is 'cuda:99': expected"),
        (dict(batch_size=0), ValueError, 'batch_size is 0'),
        (dict(batch_size=2.5), TypeError, 'batch_size is 2.5'),
        (dict(half=1), TypeError, 'half is 1'),
        (dict(flip_test='no'), TypeError, "flip_test is 'no'"),
        (dict(detector='rtmdet-m'), TypeError, "detector is 'rtmdet-m'"),
    ],
)
def test_invalid_inferencer_arguments_raise(arguments, error, message):
    arguments = (
        dict(dict(model=estimator()), **arguments) if ('model' not in arguments) else arguments
    )
    with pytest.raises(error, match=message):
        PoseInferencer(**arguments)


def test_weights_with_a_built_model_raise(tmp_path):
    with pytest.raises(TypeError, match='but the model is already built'):
        PoseInferencer(estimator(), write_checkpoint(tmp_path))
    with pytest.raises(ConfigError, match='is a directory: expected a config'):
        PoseInferencer(str(tmp_path))
    with pytest.raises(ConfigError, match="unknown model ''"):  # not the working directory
        PoseInferencer('')
    with pytest.raises(CheckpointError, match='not a checkpoint of this'):
        PoseInferencer(write_config(tmp_path, BOTTOM_UP), write_checkpoint(tmp_path))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(smooth=True), 'smooth is True, but track is False'),
        (dict(strict=1), 'strict is 1: expected True or False'),
        (dict(keep_images=None), 'keep_images is None'),
        (dict(boxes=2), 'boxes is a int'),
    ],
)
def test_invalid_call_arguments_raise(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PoseInferencer(estimator())(make_image(0), **options)


@pytest.mark.parametrize(
    'options', [dict(boxes=[[1, 2, 3, 4]]), dict(min_score=0.5), dict(box_format='xywh')]
)
def test_bottom_up_with_boxes_raises(options):
    pose = PoseInferencer(estimator(BOTTOM_UP))
    with pytest.raises(
        ConfigError, match='HRCoMerEstimator is a bottom-up model: expected boxes=None'
    ):
        pose(make_image(0), **options)
    with pytest.raises(ConfigError, match='expected detector=None'):
        PoseInferencer(estimator(BOTTOM_UP), detector=lambda image: [])
