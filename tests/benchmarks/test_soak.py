"""Tests of benchmarks/soak.py, and its run of two minutes."""

import csv
import subprocess
import sys

import pytest
from matplotlib.axes import Axes

from benchmarks import soak
from benchmarks.soak import Growth, Sample, main, measure, measure_growth
from pose_backbones.errors import PoseBackbonesError, WorkDirError

#: a process with three open files, a tensor of a data worker, two more threads, and a child with
#: two open files
PROCESS = """
import os, subprocess, sys, tempfile, threading, time
files = [open('/dev/null') for _ in range(3)]
tensor, name = tempfile.mkstemp(prefix='torch_', dir='/dev/shm')
os.unlink(name)
for _ in range(2):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
code = "import time; files = [open('/dev/null') for _ in range(2)]; print('ready', flush=True); "
child = subprocess.Popen([sys.executable, '-c', code + 'time.sleep(60)'])
child.wait()
"""
#: grow with each second by the memory in MB, handles and threads in the arguments
LEAK = """
import sys, threading, time
memory, handles, threads = map(int, sys.argv[1:])
kept = []
while True:
    kept.append(bytes(b'1') * (memory << 17))
    kept += [open('/dev/null') for _ in range(handles)]
    for _ in range(threads):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(0.125)
"""


def start(code: str, *arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-I', '-c', code, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        close_fds=True,
    )


def test_sample_counts_the_process_and_its_children():
    with start(PROCESS) as process:
        try:
            assert process.stdout.readline() == b'ready\n'
            sample = measure(process.pid, 1.5)
        finally:
            process.kill()
    # each has the three standard streams
    assert (sample.seconds, sample.processes, sample.threads) == (1.5, 2, 4)
    assert sample.handles == (3 + 3) + (3 + 2)
    assert 3 < sample.memory < 100


@pytest.mark.parametrize(
    ('leak', 'names'),
    [((0, 0, 0), []), ((32, 0, 0), ['memory']), ((0, 1, 0), ['handles']), ((0, 0, 1), ['threads'])],
    ids=['none', 'memory', 'handles', 'threads'],
)
def test_leak_is_reported(leak, names):
    """A real process that leaks for five seconds."""
    process = start(LEAK, *leak)
    samples = soak.sample_processes(dict(leak=process), 5, 0.2)['leak']
    soak.stop([process])
    assert [problem.split()[0].rstrip(':') for problem in measure_growth(samples).problems()] == (
        names
    )
    assert process.poll() == -15


def test_threads_for_a_moment_are_no_growth():
    samples = [Sample(second, 500, 5, 5 + second * (second % 3), 1) for second in range(40)]
    assert measure_growth(samples).problems() == []


def test_accepted_growth():
    start = Sample(0, 1000, 100, 10, 2)
    assert Growth(start, Sample(0, 1050, 105, 13, 2)).problems() == []
    assert Growth(start, Sample(0, 1051, 106, 14, 3)).problems() == [
        'memory in MB: 1000 → 1051',
        'handles: 100 → 106',
        'threads: 10 → 14',
        'processes: 2 → 3',
    ]


def test_samples_without_the_process_are_left_out():
    """In the warm-up, at the start and at the end; otherwise their zeros would be the minima."""
    values = [Sample(second, 500 + second, 5, 4, 1) for second in range(40)]
    expected = measure_growth(values)
    unread = Sample(0, 0.0, 0, 0, 0)
    assert measure(2**22 + 1) == unread  # larger than the largest ID of a process
    assert measure_growth([unread, *values[:10], unread, *values[10:], unread]) == expected
    assert (expected.start.handles, expected.start.processes) == (5, 1)
    with pytest.raises(PoseBackbonesError, match='could not be read in any sample'):
        measure_growth([unread] * 3)


def test_samples_without_the_process_are_counted_and_not_plotted(tmp_path, monkeypatch, capsys):
    samples = [Sample(second, 500, 5, 4, 1) for second in range(8)]
    samples[5] = Sample(5, 0.0, 0, 0, 0)
    monkeypatch.setattr(soak, 'make_inputs', lambda *arguments: None)
    monkeypatch.setattr(soak, 'start_task', lambda *arguments: None)
    monkeypatch.setattr(soak, 'wait_for_work', lambda *arguments: None)
    monkeypatch.setattr(soak, 'stop', lambda processes: None)
    monkeypatch.setattr(soak, 'sample_processes', lambda *arguments: dict(service=samples))
    plotted = []
    monkeypatch.setattr(Axes, 'plot', lambda self, x, y, **options: plotted.append((x, y)))
    assert main(['service', '--out', str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3].endswith('| 500 → 500 | 5 → 5 | 4 → 4 | 1 → 1 |')
    assert printed[-2:] == [
        'service: left out 1 of 8 samples, in which the process could not be read',
        'no growth',
    ]
    assert len((tmp_path / 'service.csv').read_text().splitlines()) == 1 + 8
    minutes = [second / 60 for second in (0, 1, 2, 3, 4, 6, 7)]
    assert plotted == [(minutes, [value] * 7) for value in (500, 5, 4)]


def test_task_that_ends_is_an_error():
    with pytest.raises(PoseBackbonesError, match=r'demo ended with exit status 3, see demo\.log'):
        soak.sample_processes(dict(demo=start('raise SystemExit(3)')), 60, 0.5)


def test_task_that_does_nothing_is_an_error(tmp_path):
    process = start('import time; time.sleep(60)')
    with pytest.raises(PoseBackbonesError, match=r'service did nothing for 1 s, see service\.log'):
        soak.wait_for_work(dict(service=process), tmp_path, timeout=1)
    soak.stop([process])
    assert process.returncode == -15


def test_results_are_not_overwritten(tmp_path):
    (tmp_path / 'service').mkdir()
    with pytest.raises(WorkDirError, match='has results of an earlier run'):
        main(['training', 'service', '--out', str(tmp_path)])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_growth_in_two_minutes(tmp_path, capsys):
    """Training, inference and a service together."""
    out = tmp_path / 'soak'
    options = '--minutes 2 --interval 1 --frames 300 --links 20000'.split()
    status = main([*soak.TASKS, *options, '--out', str(out)])
    printed = capsys.readouterr().out
    assert (status, printed.splitlines()[-1]) == (0, 'no growth'), printed
    for task in soak.TASKS:
        with (out / f'{task}.csv').open() as file:
            rows = list(csv.DictReader(file))
        assert float(rows[-1]['seconds']) > 100
        assert float(rows[-1]['memory']) > 200  # PyTorch is loaded
    assert (out / 'soak.png').stat().st_size > 10_000
    # what the tasks did: iterations, frames and images, rounds
    assert 'Iter(train)' in (out / 'training.log').read_text()
    assert 'stopped; continue with --resume' in (out / 'inference.log').read_text()
    rounds = (out / 'service.log').read_text().splitlines()
    assert len(rounds) >= 3
    assert all(line.endswith('40 frames, exit status 0') for line in rounds)
