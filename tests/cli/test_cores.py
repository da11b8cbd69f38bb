"""Number of threads on a machine whose cores other processes use."""

import subprocess
import sys
import time

import pytest
import torch

from pose_backbones.cli import cores
from pose_backbones.cli.cores import Usage, free_cores, limit_threads, read_usage


def test_free_cores_are_idle_or_used_by_this_process():
    start = Usage(10.0, 100.0, 1.0)
    # two of four cores are idle, and this process uses half of one, in two seconds
    assert free_cores(start, Usage(12.0, 104.0, 2.0)) == 2.5
    assert free_cores(start, Usage(10.1, 100.4, 1.0)) is None
    assert free_cores(None, start) is free_cores(start, None) is None


@pytest.mark.skipif(sys.platform != 'linux', reason='the usage of cores is read under Linux only')
def test_usage_of_this_machine():
    """This process is busy; its time is part of the cores that it may use."""
    start = read_usage()
    while time.process_time() - start.own < 0.4:
        pass
    end = read_usage()
    assert end.own - start.own == pytest.approx(0.4, abs=0.1)
    assert 0 <= end.idle - start.idle


@pytest.mark.parametrize(
    ('free', 'count', 'variable', 'expected'),
    [
        (3.8, 4, None, 4),
        (2.6, 4, None, 3),
        (0.1, 4, None, 1),
        (8.0, 4, None, 4),
        (None, 4, None, 4),
        (1.0, 4, 'OMP_NUM_THREADS', 4),
        (1.0, 4, 'MKL_NUM_THREADS', 4),
    ],
)
def test_threads(free, count, variable, expected, monkeypatch, mmengine_log):
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, '4')
    monkeypatch.setattr(cores, 'free_cores', lambda start, end: free)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        limit_threads()
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
    messages = [text for text in mmengine_log.messages if 'threads' in text]
    assert len(messages) == (expected < count)
    for message in messages:
        assert message.startswith(f'using {expected} instead of {count} threads')


def test_start_is_measured_before_pytorch_is_imported():
    code = 'import pose_backbones.cli.cores as c, sys; print("torch" in sys.modules, c._START)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith('False Usage(')
