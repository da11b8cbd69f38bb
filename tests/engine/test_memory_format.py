"""Weights in the memory format channels_last: the same values, in training and checkpoints."""

import copy

import pytest
import torch
from mmcv.cnn import build_conv_layer
from mmengine.hooks import Hook
from torch import nn

from pose_backbones.engine.memory_format import use_channels_last
from pose_backbones.models.backbones import TimmBackbone
from tests.helpers.toy_runs import train_toy


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3), nn.Flatten()
    )


def test_steps_are_equal():
    first = model()
    images = torch.randn(2, 3, 9, 9)
    first(images)
    second = copy.deepcopy(first)
    parameters = list(second.parameters())
    use_channels_last(second)
    assert [id(value) for value in second.parameters()] == [id(value) for value in parameters]
    assert second[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not second[0].weight.is_contiguous()
    for network in (first, second):
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()
    for expected, value in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize('kind', ['ConvWS', 'ConvAWS', 'Conv2d'])
def test_layers_that_compute_with_their_weight(kind):
    """Weight standardization views the weights as a matrix."""
    layer = build_conv_layer(dict(type=kind), 3, 4, 3)
    expected = layer(torch.ones(1, 3, 5, 5))
    use_channels_last(layer)
    assert layer.weight.is_contiguous() == (kind != 'Conv2d')
    torch.testing.assert_close(layer(torch.ones(1, 3, 5, 5)), expected)


def test_layers_after_the_stem_of_timm():
    """Layers take the format of their input; the first one that has it is the stem."""
    backbone = TimmBackbone('tf_efficientnet_lite0', out_indices=(1, 3)).eval()
    images = torch.randn(1, 3, 64, 48)
    expected = backbone(images)
    assert all(value.is_contiguous() for value in expected)
    use_channels_last(backbone)
    values = backbone(images)
    for value, reference in zip(values, expected, strict=True):
        assert value.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-4)


class Averaged(Hook):
    """Exchange the weights with averaged ones, as `EMAHook` does."""

    def before_save_checkpoint(self, runner, checkpoint):
        """Add weights that are channels_last."""
        values = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
        checkpoint['state_dict']['weight'] = values
        checkpoint['ema_state_dict'] = dict(weight=values + 1)


def test_saved_weights_are_contiguous(tmp_path):
    runner = train_toy(tmp_path)
    runner.register_hook(Averaged())
    runner.save_checkpoint(str(tmp_path), 'last.pth')
    saved = torch.load(tmp_path / 'last.pth', weights_only=False)
    weights = [saved[key]['weight'] for key in ('state_dict', 'ema_state_dict')]
    assert all(value.is_contiguous() for value in weights)
    assert torch.equal(weights[0] + 1, weights[1])
