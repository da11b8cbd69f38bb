"""Tests that `FusedTestHook` runs the test with a fused model and restores the original one."""

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from pose_backbones.engine.fused_evaluation import FusedTestHook
from pose_backbones.models.layers.conv_norm import ConvNorm
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
