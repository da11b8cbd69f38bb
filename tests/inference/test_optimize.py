"""Tests of `optimize_for_inference`: equal outputs, and an unchanged original model."""

import pytest
import torch
from torch import nn

from pose_backbones.inference.optimize import optimize_for_inference
from tests.helpers.pose_cases import BOTTOM_UP, TOP_DOWN, estimator

CPU = torch.device('cpu')


@pytest.mark.parametrize('text', [TOP_DOWN, BOTTOM_UP])
def test_optimized_model_predicts_the_same(text):
    model = estimator(text)
    backbone, weights = model.backbone, dict(model.state_dict())
    ready = optimize_for_inference(model, CPU)
    x = torch.randn(3, 3, 64, 96)
    with torch.inference_mode():
        maps, expected = ready.extract_feat(x), model.extract_feat(x)
        for output, target in zip(maps, expected, strict=True):
            torch.testing.assert_close(
                output, target, rtol=1e-4, atol=1e-5 * target.abs().max().item()
            )
    assert model.backbone is backbone
    assert ready.backbone is not backbone
    assert model.state_dict().keys() == weights.keys()
    assert all(output is not ready for output in model.modules())
    assert not ready.training


def test_other_backbones_are_unchanged():
    model = nn.Module()
    model.backbone = nn.Conv2d(3, 4, 1)
    assert optimize_for_inference(model, CPU).backbone is model.backbone
