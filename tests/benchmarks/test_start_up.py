"""Tests of benchmarks/start_up.py."""

from benchmarks import start_up


def test_table(capsys):
    start_up.main(['--rounds', '2'])
    lines = [line.split(' | ') for line in capsys.readouterr().out.splitlines()]
    assert lines[2][0] == '| without'
    assert lines[2][2] == '1.00 |'
    assert lines[3][0] == '| with'
    assert float(lines[3][1]) > 1
