"""Tests of the option that keeps freed memory in the process."""

import subprocess
import sys

import pytest

from pose_backbones.cli import infer
from tests.helpers.tools import ROOT, tool_env

#: prints how many of 64 freed MiB stay: by default, with a PoseInferencer, and with the option
KEPT = """
import torch
from benchmarks.inference_worker import current_memory
from pose_backbones import PoseInferencer
from pose_backbones.cli.allocator import keep_freed_memory
from tests.helpers.pose_cases import estimator
def kept():
    before = current_memory()
    x = torch.ones(64 << 18)
    assert current_memory() > before + (60 << 20)
    del x
    return (current_memory() - before) / 2**20
kept()  # PyTorch keeps what it loads at its first use
first = kept()
PoseInferencer(estimator(), device='cpu')
print(first, kept())
print(keep_freed_memory())
print(kept())
"""


@pytest.mark.skipif(
    not sys.platform.startswith('linux'), reason='only glibc returns memory like this'
)
@pytest.mark.parametrize('setting', [{}, {'MALLOC_TRIM_THRESHOLD_': '131072'}])
def test_keep_freed_memory(setting):
    """Only the function changes the setting, unless the user has configured the allocator."""
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', KEPT],
        cwd=ROOT,
        env={**tool_env(), **setting},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, done, after = run.stdout.split()
    assert float(first) < 10
    assert float(second) < 10
    assert done == str(not setting)
    assert (float(after) > 50) is not bool(setting)


@pytest.mark.parametrize(('options', 'called'), [([], 0), (['--keep-freed-memory'], 1)])
def test_infer_option_sets_the_allocator(tmp_path, monkeypatch, options, called):
    calls = []
    monkeypatch.setattr(infer, 'keep_freed_memory', lambda: calls.append(1))
    monkeypatch.setattr(infer, '_infer', lambda *args: 0)
    (tmp_path / 'a.png').touch()
    out = str(tmp_path / 'out')
    inputs = [str(tmp_path / 'a.png'), '--model', 'none', '--out', out]
    assert infer.main([*inputs, *options]) == 0
    assert len(calls) == called
