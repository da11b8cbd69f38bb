"""Crops and predictions of `predictors` against the test pipeline and `test_step`."""

import copy
import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.models.pose_estimators import TopdownPoseEstimator

from pose_backbones import PoseInferencer
from pose_backbones.errors import ConfigError
from pose_backbones.inference.inputs import Frame
from pose_backbones.inference.loading import build_pipeline
from pose_backbones.inference.predictors import Cropper, CropPredictor, PipelinePredictor
from tests.helpers.pose_cases import BOTTOM_UP, TOP_DOWN, boxes_in, estimator, make_image

CPU = torch.device('cpu')


@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('padding', [1.0, 1.25])
def test_crops_equal_the_test_pipeline(use_udp: bool, padding: float) -> None:
    cfg = Config.fromstring(TOP_DOWN, '.py')
    steps = cfg.test_dataloader.dataset.pipeline
    steps[1].padding, steps[2].use_udp = padding, use_udp
    pipeline = build_pipeline(cfg)
    predictor = PipelinePredictor(estimator(), pipeline, CPU, half=False)
    cropper = Cropper(pipeline)
    image = make_image(0, 200, 100)
    boxes = [*boxes_in(0, 20, 200, 100), np.array([-30, -10, 5, 400], np.float32)]
    for box in boxes:
        crop, center, scale = cropper.crop(image, box)
        sample = predictor.prepare(Frame(0, 'image', 0, image, 1), box)
        np.testing.assert_array_equal(crop, sample['inputs'].permute(1, 2, 0))
        np.testing.assert_array_equal(center, sample['data_samples'].input_center)
        np.testing.assert_array_equal(scale, sample['data_samples'].input_scale)


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('flip_test', [False, True])
def test_keypoints_equal_test_step(half: bool, flip_test: bool) -> None:
    pose = PoseInferencer(estimator(), half=half, flip_test=flip_test)
    assert isinstance(pose._predictor, CropPredictor)
    image, boxes = make_image(1), boxes_in(1, 5)
    frame = Frame(0, 'image', 0, image, 1)
    other = PipelinePredictor(pose.model, pose.pipeline, CPU, half)
    with torch.inference_mode():
        results, expected = (
            x.predict([x.prepare(frame, box) for box in boxes]) for x in (pose, other)
        )
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.keypoints, reference.keypoints, atol=1e-3)
        # In bfloat16, PyTorch's convolutions depend on the batch size, which the flip test doubles.
        tolerance = 1e-2 * np.ptp(reference.keypoint_scores) if half and flip_test else 1e-5
        np.testing.assert_allclose(
            result.keypoint_scores, reference.keypoint_scores, atol=tolerance
        )


class OtherEstimator(TopdownPoseEstimator):
    """An estimator that computes something else from the same parts."""

    def predict(self, inputs, data_samples):
        return super().predict(-inputs, data_samples)


@pytest.mark.parametrize(
    'steps',
    [
        [dict(type='LoadImage', to_float32=True)],
        [dict(type='LoadImage'), dict(type='RandomFlip', prob=0.0)],
    ],
)
def test_other_pipelines_are_not_replaced(steps: list[dict]) -> None:
    cfg = Config.fromstring(TOP_DOWN, '.py')
    dataset = cfg.test_dataloader.dataset
    assert Cropper.is_plain(build_pipeline(cfg))
    dataset.pipeline = steps + dataset.pipeline[1:]
    assert not Cropper.is_plain(build_pipeline(cfg))
    assert not Cropper.is_plain(build_pipeline(Config.fromstring(BOTTOM_UP, '.py')))


def test_estimators_with_other_methods_use_test_step() -> None:
    model = estimator()
    image, boxes = make_image(1), boxes_in(1, 3)
    (expected,) = PoseInferencer(model)(image, boxes)
    kind = type(model)
    model.__class__ = OtherEstimator
    try:
        pose = PoseInferencer(model)
        (result,) = pose(image, boxes)
    finally:
        model.__class__ = kind
    assert isinstance(pose._predictor, PipelinePredictor)
    assert np.abs(result.scores - expected.scores).max() > 0.01


def use_compiler(monkeypatch: pytest.MonkeyPatch, compiler: str | Callable) -> None:
    """Let `torch.compile` use a compiler other than Inductor, which takes minutes."""
    compile_function = torch.compile
    monkeypatch.setattr(
        torch,
        'compile',
        lambda function, **options: compile_function(function, backend=compiler, **options),
    )


def test_compiled_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller batches are padded, so that the network is compiled once."""
    use_compiler(monkeypatch, 'eager')
    stats = torch._dynamo.utils.counters['stats']
    image, boxes = make_image(1), boxes_in(1, 7)
    before = stats['unique_graphs']
    pose = PoseInferencer(estimator(), backend='compile', batch_size=4)
    count = stats['unique_graphs']
    assert count > before
    (result,) = pose(image, boxes)
    assert stats['unique_graphs'] == count
    single, half = (
        next(PoseInferencer(estimator(), half=half, batch_size=4)(image, boxes))
        for half in (False, True)
    )
    np.testing.assert_allclose(result.scores, half.scores, atol=2e-2 * np.ptp(half.scores))
    assert np.abs(result.scores - single.scores).max() > 0  # bfloat16


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, mmengine_log) -> None:
    def fail(*_) -> None:
        raise FileNotFoundError('no working compiler')

    use_compiler(monkeypatch, fail)
    image, boxes = make_image(1), boxes_in(1, 3)
    pose = PoseInferencer(estimator(), backend='compile')
    (result,) = pose(image, boxes)
    (expected,) = PoseInferencer(estimator(), half=True)(image, boxes)
    message = 'the model is not compiled: FileNotFoundError: no working compiler'
    assert message in mmengine_log.messages
    np.testing.assert_array_equal(result.keypoints, expected.keypoints)


def test_models_that_cannot_be_compiled() -> None:
    with pytest.raises(ConfigError, match="backend is 'compile', which supports only top-down"):
        PoseInferencer(estimator(BOTTOM_UP), backend='compile')


def test_memory_is_freed_at_once() -> None:
    """A reference cycle would keep the weights until the next garbage collection."""
    pose = PoseInferencer(copy.deepcopy(estimator()))
    parts = [weakref.ref(part) for part in (pose, pose.model, pose._predictor.runtime.model)]
    gc.collect()
    gc.disable()
    try:
        del pose
        assert [part() for part in parts] == [None] * 3
    finally:
        gc.enable()
