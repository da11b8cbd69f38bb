"""Models made ready: the same function, and the user's stays as it is."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from pose_backbones.inference.optimize import prepare
from tests.helpers.pose_cases import BOTTOM_UP, TOP_DOWN, estimator
from tests.helpers.tools import ROOT, tool_env

CPU = torch.device('cpu')

#: MiB that stay when 64 are freed, without and with the allocator set
KEPT = """
import torch
from benchmarks._measure import current_memory
from pose_backbones.inference.optimize import prepare
def kept():
    before = current_memory()
    x = torch.ones(64 << 18)
    assert current_memory() > before + (60 << 20)
    del x
    return (current_memory() - before) / 2**20
kept()  # what torch loads at its first use stays
print(kept())
prepare(torch.nn.Identity(), torch.device('cpu'))
print(kept())
"""


@pytest.mark.parametrize('text', [TOP_DOWN, BOTTOM_UP])
def test_predicts_the_same(text):
    model = estimator(text)
    backbone, weights = model.backbone, dict(model.state_dict())
    ready = prepare(model, CPU)
    x = torch.randn(3, 3, 64, 96)
    with torch.inference_mode():
        maps, expected = ready.extract_feat(x), model.extract_feat(x)
        for one, other in zip(maps, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())
    assert model.backbone is backbone
    assert ready.backbone is not backbone
    assert model.state_dict().keys() == weights.keys()
    assert all(one is not ready for one in model.modules())
    assert not ready.training


def test_other_backbones_stay():
    model = nn.Module()
    model.backbone = nn.Conv2d(3, 4, 1)
    assert prepare(model, CPU).backbone is model.backbone


@pytest.mark.skipif(
    not sys.platform.startswith('linux'), reason='elsewhere, memory is not given back like this'
)
@pytest.mark.parametrize('setting', [{}, {'MALLOC_TRIM_THRESHOLD_': '131072'}])
def test_freed_memory_is_kept(setting):
    """Unless the user has said something else."""
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', KEPT],
        cwd=ROOT,
        env={**tool_env(), **setting},
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(float, run.stdout.split())
    assert before < 10
    assert (after > 50) is not bool(setting)
