"""Number of threads on a machine whose cores other processes use."""

import os
import subprocess
import sys

import pytest
import torch

from pose_backbones.cli import cores
from pose_backbones.cli.cores import Usage, free_cores, limit_threads, read_usage

#: three cores; user, nice, system, idle, waiting for a disk, ..., guest, in hundredths of a second
STAT = """cpu  600 0 300 9000 600 0 0 0 0 0
cpu0 100 10 50 1000 200 5 5 30 50 0
cpu1 200 0 100 3000 100 0 0 0 0 0
cpu2 300 0 150 5000 300 0 0 0 0 0
intr 1 2 3
"""


def usage(time: float, idle: float, own: float, total: float | None = None, cores='01') -> Usage:
    return Usage(frozenset(cores), time, 2 * time if total is None else total, idle, own)


def test_free_cores_are_idle_or_used_by_this_process():
    start = usage(10.0, 100.0, 1.0)
    # within two seconds, one core is idle for a half, and this process uses a half of one
    assert free_cores(start, usage(12.0, 101.0, 2.0)) == 1.0
    assert free_cores(start, usage(12.0, 104.0, 1.0)) == 2.0
    assert free_cores(None, start) is free_cores(start, None) is free_cores(start, start) is None


@pytest.mark.parametrize(
    'end',
    [usage(12.0, 100.0, 1.0, total=20.0), usage(12.0, 104.0, 1.0, cores='12')],
    ids=['counters that stand still', 'other cores'],
)
def test_unknown_usage(end):
    assert free_cores(usage(10.0, 100.0, 1.0), end) is None


@pytest.mark.parametrize('text', ['', STAT, STAT.replace('cpu1', 'cpu7'), 'cpu0 1 2\ncpu1 x'])
def test_usage_is_that_of_the_cores_of_the_process(text, tmp_path, monkeypatch):
    path = tmp_path / 'stat'
    path.write_text(text)
    monkeypatch.setattr(cores, '_STAT', path)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(os, 'sysconf', lambda name: 100)
    found = read_usage()
    if text != STAT:
        assert found is None
        return
    assert found.cores == {'cpu0', 'cpu1'}
    assert found.idle == (1000 + 200 + 3000 + 100) / 100
    assert found.total == (100 + 10 + 50 + 1000 + 200 + 5 + 5 + 30 + 200 + 100 + 3000 + 100) / 100


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
    monkeypatch.setattr(cores, '_start', usage(0.0, 0.0, 0.0))
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


def test_functions_do_not_change_the_number_of_threads(monkeypatch):
    """Only a command starts the measurement, not `import`."""
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(cores, 'free_cores', lambda start, end: pytest.fail('was called'))
    monkeypatch.setattr(cores, '_start', None)
    limit_threads()
    code = 'import pose_backbones.cli.entry_point, pose_backbones.cli.cores as c; print(c._start)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == 'None\n'
