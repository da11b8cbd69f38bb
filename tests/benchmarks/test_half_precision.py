"""Tests of benchmarks/half_precision.py."""

import math

import pytest
import torch
from torch import nn

from benchmarks import half_precision
from benchmarks.half_precision import Result, gradient_scale, main, relative_difference
from pose_backbones.errors import ConfigError

MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


def test_table(capsys):
    assert main([MODEL, '--dtype', 'bfloat16']) == 0
    name, difference, scale = capsys.readouterr().out.splitlines()[-1].strip('| ').split(' | ')
    assert (name, scale) == (MODEL, '1')
    assert 1e-4 < float(difference) < 0.1  # bfloat16 has 8 bits


def test_values_that_are_not_finite_set_the_exit_status(monkeypatch, capsys):
    results = dict(bfloat16=Result(math.nan, 1.0))
    monkeypatch.setattr(half_precision, 'measure', lambda *_: results)
    assert main([MODEL, '--dtype', 'bfloat16']) == 1
    assert f'| {MODEL} | nan | 1 |' in capsys.readouterr().out
    assert not Result(0.1, 0.0).is_finite
    assert Result(0.1, 1.0).is_finite


def test_unknown_model():
    with pytest.raises(ConfigError, match='no model is called x'):
        main(['x'])


def test_relative_difference():
    expected = [torch.tensor([1.0, -4.0, -math.inf]), torch.zeros(2)]
    outputs = [torch.tensor([1.5, -4.0, -math.inf]), torch.zeros(2)]
    assert relative_difference(outputs, expected) == 0.125
    for value in (math.nan, math.inf):
        outputs[0][0] = value
        assert math.isnan(relative_difference(outputs, expected))
    outputs[0][:] = torch.tensor([1.0, -4.0, 3.0])  # a mask is lost
    assert math.isnan(relative_difference(outputs, expected))


class Overflow(nn.Module):
    """A model whose gradient is infinite if the scale of the loss is above 100."""

    def __init__(self, output: float = 1.0) -> None:
        super().__init__()
        self.output = output
        self.weight = nn.Parameter(torch.ones(1))
        self.weight.register_hook(lambda grad: torch.where(grad > 400 / 3, torch.inf, grad))

    def forward(self, images, samples, mode: str):
        return torch.cat([self.weight * torch.ones(2), torch.tensor([self.output])])


def test_gradient_scale():
    images = torch.zeros(1, 3, 4, 4)
    assert gradient_scale(Overflow(), images, torch.float16) == 64
    assert gradient_scale(Overflow(), images, torch.bfloat16) == 1


@pytest.mark.parametrize(('output', 'scale'), [(-math.inf, 1), (math.nan, 0), (math.inf, 0)])
def test_gradient_scale_of_infinite_outputs(output, scale):
    """Only -inf masks a query."""
    assert gradient_scale(Overflow(output), torch.zeros(1, 3, 4, 4), torch.bfloat16) == scale
