"""Tests that `FusedTestHook` runs the test with a fused model and restores the original one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from pose_backbones.inference.fused_test import BatchedEstimator, FusedTestHook
from pose_backbones.inference.inputs import Frame
from pose_backbones.inference.loading import build_pipeline
from pose_backbones.inference.predictors import PipelinePredictor
from pose_backbones.models.layers import fuse
from pose_backbones.models.layers.conv_norm import ConvNorm
from tests.helpers.pose_cases import BOTTOM_UP, boxes_in, estimator, make_image
from tests.helpers.random_weights import randomize


@MODELS.register_module(force=True)
class FusedTestModel(BaseModel):
    """A convolution with a batch norm, which records whether it ran fused."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = randomize(ConvNorm(2, 3, dict(type='BN'))).eval()

    def forward(self, inputs, data_samples=None, mode='predict'):
        """Compute the outputs or, as a loss, their sum."""
        self.ran_fused.append(isinstance(self.conv[1], nn.Identity))
        outputs = self.conv(torch.stack(inputs))
        return dict(loss=outputs.sum()) if mode == 'loss' else list(outputs)


@METRICS.register_module(force=True)
class FusedTestMetric(BaseMetric):
    """Sum of the outputs."""

    def process(self, data_batch, data_samples) -> None:
        """Store the sum of each output."""
        self.results.extend(float(output.sum()) for output in data_samples)

    def compute_metrics(self, results: list) -> dict:
        """Return the total sum."""
        return dict(sum=sum(results))


def run_test(tmp_path, hooks: list) -> tuple[float, Runner]:
    data = [dict(inputs=torch.randn(2, 4, 4), data_samples=0) for _ in range(3)]
    model = FusedTestModel()
    model.ran_fused = []
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        test_dataloader=DataLoader(data, batch_size=1, collate_fn=_collate),
        test_evaluator=FusedTestMetric(),
        test_cfg={},
        custom_hooks=hooks,
        default_scope='mmengine',
        experiment_name=f'fused{len(hooks)}{id(hooks)}',
        cfg=Config(),
    )
    return runner.test()['sum'], runner


def _collate(samples: list[dict]) -> dict:
    return {name: [sample[name] for sample in samples] for name in samples[0]}


def test_fused_model_gives_same_result(tmp_path):
    torch.manual_seed(0)
    expected, unfused = run_test(tmp_path, [])
    torch.manual_seed(0)
    result, runner = run_test(tmp_path, [FusedTestHook()])
    assert abs(result - expected) < 1e-4 * abs(expected)
    assert unfused.model.ran_fused == [False] * 3
    assert runner.model.ran_fused == [True] * 3
    assert isinstance(runner.model.conv[1], nn.BatchNorm2d)
    assert list(runner.model.state_dict()) == list(unfused.model.state_dict())


def test_averaged_weights_are_swapped_before_fusing(tmp_path):
    """`EMAHook` swaps the weights for the test before they are fused."""
    ema = EMAHook()
    hooks = [FusedTestHook(), ema]
    torch.manual_seed(0)
    expected, _ = run_test(tmp_path, [])

    class DoubleAveragedWeights(FusedTestHook):
        priority = 'HIGH'  # runs before the two other hooks

        def before_test_epoch(self, runner):
            for value in ema.ema_model.module.conv.parameters():
                value.data.mul_(2)

        def after_test_epoch(self, runner, metrics=None):
            pass

    torch.manual_seed(0)
    result, runner = run_test(tmp_path, [*hooks, DoubleAveragedWeights()])
    assert runner.model.ran_fused == [True] * 3
    assert abs(result - expected) > 0.1 * abs(expected)


def replaced(model) -> torch.nn.Module:
    """Return what the hook uses instead of an estimator, and check that it is restored."""
    dataset = SimpleNamespace(metainfo=model.dataset_meta)
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    runner = SimpleNamespace(model=model, cfg=model.cfg, test_loop=loop)
    hook = FusedTestHook()
    hook.before_test_epoch(runner)
    used = runner.model
    hook.after_test_epoch(runner)
    assert runner.model is model
    return used


def batch(model, count: int) -> dict:
    predictor = PipelinePredictor(model, build_pipeline(model.cfg), torch.device('cpu'), False)
    frame = Frame(0, 'image', 0, make_image(1), 1)
    return pseudo_collate([predictor.prepare(frame, box) for box in boxes_in(1, count)])


@pytest.mark.parametrize('flip_test', [False, True])
def test_batched_keypoints_equal_test_step(flip_test, monkeypatch):
    model = estimator()
    monkeypatch.setitem(model.test_cfg, 'flip_test', flip_test)
    used = replaced(model)
    assert isinstance(used, BatchedEstimator)
    with torch.inference_mode():
        results, expected = (x.test_step(batch(model, 5)) for x in (used, model))
    assert len(results) == 5
    for result, reference in zip(results, expected, strict=True):
        assert result.img_path == reference.img_path
        ours, theirs = result.pred_instances, reference.pred_instances
        assert set(ours.keys()) == set(theirs.keys())
        np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=1e-3)
        for name in ('keypoint_scores', 'keypoints_visible', 'bboxes', 'bbox_scores'):
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)


def test_keypoints_are_decoded_in_single_precision(monkeypatch):
    """Within autocast, as `tools/test.py --amp` runs the test."""
    used = replaced(estimator())
    runtime = used._runtime
    outputs = []
    compute = runtime.model.outputs
    monkeypatch.setattr(
        runtime.model, 'outputs', lambda x: outputs.append(compute(x)) or outputs[-1]
    )
    crops = np.stack([crop.permute(1, 2, 0).numpy() for crop in batch(estimator(), 3)['inputs']])
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
        keypoints, scores = runtime(crops)
    with torch.inference_mode():
        expected, expected_scores = runtime.model.decode(outputs[0])
    np.testing.assert_array_equal(keypoints, expected)
    np.testing.assert_array_equal(scores, expected_scores)


def test_batches_that_are_not_uint8_crops(monkeypatch):
    used = replaced(estimator())
    data = batch(estimator(), 2)
    data['inputs'] = [crop.float() for crop in data['inputs']]
    calls = []
    monkeypatch.setattr(used, '_runtime', lambda crops: calls.append(crops))
    with torch.inference_mode():
        results, expected = (x.test_step(data) for x in (used, fuse(estimator())))
    assert calls == []
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_array_equal(
            result.pred_instances.keypoints, reference.pred_instances.keypoints
        )


def test_models_with_other_results_are_only_fused(monkeypatch):
    assert type(replaced(estimator(BOTTOM_UP))) is type(estimator(BOTTOM_UP))
    model = estimator()
    monkeypatch.setitem(model.test_cfg, 'output_heatmaps', True)
    assert type(replaced(model)) is type(model)
