"""`layers.DropPath` against timm's."""

import pytest
import timm.layers
import torch

from pose_backbones.models.layers import DropPath


@pytest.mark.parametrize('shape', [(64, 3, 2, 2), (64, 5, 3)])
@pytest.mark.parametrize('rate', [0.0, 0.3, 1.0])
def test_equals_timm(rate, shape):
    """Values, gradients and the state of the random numbers."""
    results = []
    for kind in (DropPath, timm.layers.DropPath):
        torch.manual_seed(0)
        x = torch.randn(shape, requires_grad=True)
        y = kind(rate)(x)
        y.square().sum().backward()
        results.append((y, x.grad, torch.rand(3)))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_drops_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    y = DropPath(0.25)(torch.ones(10_000, 2, 2))
    assert (y == y[:, :1, :1]).all()
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert y.mean() == pytest.approx(1, abs=0.02)


def test_does_nothing_in_evaluation_mode():
    x = torch.randn(4, 2)
    assert DropPath(0.5).eval()(x) is x
