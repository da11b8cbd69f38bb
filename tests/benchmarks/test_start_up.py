"""Tests of benchmarks/start_up.py."""

import json
import subprocess

import pytest

from benchmarks import start_up
from pose_backbones.errors import ConfigError


def test_table(capsys):
    start_up.main(['finder', '--rounds', '2'])
    lines = [line.split(' | ') for line in capsys.readouterr().out.splitlines()]
    assert lines[2][0] == '| without'
    assert lines[2][2] == '1.00 |'
    assert lines[3][0] == '| with'


def test_only_one_environment_has_the_finder(tmp_path):
    code = 'import sys; print([type(finder).__name__ for finder in sys.meta_path])'
    found = []
    for name in start_up.VARIANTS:
        python = start_up.make_environment(tmp_path / name, name)
        output = subprocess.run([python, '-I', '-c', code], check=True, capture_output=True)
        found.append(b'ReplacementFinder' in output.stdout)
    assert found == [False, True]


def test_parts(tmp_path, capsys, monkeypatch):
    """Each task runs with both versions; the first round does not count."""
    seconds = iter([9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 5.0, 2.0, 1.0, 4.0, 7.0])
    monkeypatch.setattr(start_up, 'run_code', lambda code, root: (next(seconds), 0.5))
    monkeypatch.setattr(
        start_up, 'IMPORTS', {'others': start_up.Task(''), 'ours': start_up.Task('', 'others')}
    )
    file = tmp_path / 'times.json'
    start_up.main(['import', '--rounds', '2', '--other', '.', '--json', str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        '| others | 1.00 | 0.50 |  | 1.00 | 0.50 |  |',
        '| ours | 3.00 | 0.50 | 2.00 | 5.00 | 0.50 | 4.00 |',
    ]
    times = json.loads(file.read_text())['import']
    assert times['other version']['ours'] == [[9.0, 0.5], [5.0, 0.5], [7.0, 0.5]]


def test_processor_time_of_a_process(tmp_path):
    user, wall = start_up.run_code('import time; time.sleep(0.5)', tmp_path)
    assert user < 0.4 < wall
    with pytest.raises(RuntimeError, match='(?s)status 1: .*ZeroDivisionError'):
        start_up.run_code('1 / 0', tmp_path)


def test_other_version_that_does_not_exist(tmp_path):
    with pytest.raises(ConfigError, match='expected a directory with pose_backbones'):
        start_up.main(['import', '--other', str(tmp_path)])
