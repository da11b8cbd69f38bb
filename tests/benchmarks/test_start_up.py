"""Tests of benchmarks/start_up.py."""

import subprocess

from benchmarks import start_up


def test_table(capsys):
    start_up.main(['--rounds', '2'])
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
