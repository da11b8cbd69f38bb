"""Weights in the memory format channels_last: the same values, in training and checkpoints."""

import copy

import torch
from torch import nn

from pose_backbones.engine.memory_format import use_channels_last
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


def test_saved_weights_are_contiguous(tmp_path):
    runner = train_toy(tmp_path)
    runner.model.register_buffer('weight', torch.randn(2, 3, 4, 4))
    runner.model.weight.data = runner.model.weight.contiguous(memory_format=torch.channels_last)
    runner.save_checkpoint(str(tmp_path), 'last.pth')
    saved = torch.load(tmp_path / 'last.pth', weights_only=False)['state_dict']['weight']
    assert saved.is_contiguous()
    assert torch.equal(saved, runner.model.weight)
