"""Models made ready: the same function, and the user's stays as it is."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT, tool_env
from pose_cases import BOTTOM_UP, TOP_DOWN, estimator
from torch import nn

from pose_backbones.inference.preparation import prepare

CPU = torch.device('cpu')

#: page faults of forward passes of 16 MiB, without and with the allocator
FAULTS = """
import resource, torch
from pose_backbones.inference import preparation
x = torch.randn(64, 256, 256)
def run():
    for _ in range(20):
        (x + 1).add_(x * 2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def faults():
    before = run()
    return run() - before
torch.set_num_threads(1)
print(faults())
preparation._keep_freed_memory()
print(faults())
"""


@pytest.mark.parametrize('text', [TOP_DOWN, BOTTOM_UP])
def test_predicts_the_same(text):
    model = estimator(text)
    backbone, weights = model.backbone, dict(model.state_dict())
    ready = prepare(model, CPU)
    x = torch.randn(3, 3, 64, 96)
    with torch.inference_mode():
        maps, expected = ready.extract_feat(x), model.extract_feat(x)
        torch.testing.assert_close(maps, expected)
        assert all(one.is_contiguous() for one in maps)
    assert model.backbone is backbone
    assert model.state_dict().keys() == weights.keys()
    assert all(one is not ready for one in model.modules())
    assert ready.head is model.head
    assert not ready.training


def test_other_backbones_stay():
    model = nn.Module()
    model.backbone = nn.Conv2d(3, 4, 1)
    assert prepare(model, CPU).backbone is model.backbone


@pytest.mark.skipif(not sys.platform.startswith('linux'),
                    reason='elsewhere, memory is not given back like this')
@pytest.mark.parametrize('setting', [{}, {'MALLOC_MMAP_MAX_': '9'}])
def test_freed_memory_is_kept(setting):
    """Unless the user has said something else."""
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', FAULTS],
                         cwd=ROOT, env={**tool_env(), **setting},
                         capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert before > 1000
    assert (after < before / 10) is not bool(setting)
