"""Tests of benchmarks/exported_folders.py."""

import json

import pytest

from benchmarks.exported_folders import Row, main, measure
from pose_backbones.errors import PoseBackbonesError
from tests.helpers.pose_cases import write_checkpoint, write_config
from tests.helpers.tools import run_code

CODE = """
import sys
from pose_backbones.cli.export import main as export
from benchmarks.exported_folders import main
config, weights, out, table = sys.argv[1:]
export([config, '--weights', weights, '--out', out])
main([out, '--variable', '--batch', '2', '--threads', '1', '--repeat', '3', '--json', table])
"""


@pytest.mark.slow
def test_table_and_json(tmp_path):
    """In another process, since OpenVINO starts threads."""
    out, path = tmp_path / 'out', tmp_path / 'table.json'
    done = run_code(CODE, write_config(tmp_path), write_checkpoint(tmp_path), out, path)
    assert done.returncode == 0, done.stdout
    rows = [line.strip('| ').split(' | ') for line in done.stdout.splitlines()[-2:]]
    assert [row[:2] for row in rows] == [[f'{out}, variable batch size', '2'], [str(out), '2']]
    assert rows[0][-1] == '1.00'
    first, second = json.loads(path.read_text())
    assert len(first['seconds']) == len(second['seconds']) == 3
    assert second['ratio'] == pytest.approx(float(rows[1][-1]), abs=0.006)


def test_ratio(monkeypatch):
    """The median over the rounds of the ratios to the first variant."""
    times = iter([4.0, 2.0, 6.0, 2.0, 1.0, 4.0])
    monkeypatch.setattr(
        'benchmarks.exported_folders.timed', lambda task, crops: (None, next(times))
    )
    rows = measure(dict(a=lambda crops: None, b=lambda crops: None), [0, 0], 3)
    assert rows == [Row('a', 2, [4.0, 6.0, 1.0], 1.0), Row('b', 2, [2.0, 2.0, 4.0], 2.0)]


@pytest.mark.parametrize('options', [['--repeat', '0'], ['--batch', '0'], []])
def test_invalid_arguments(tmp_path, options):
    with pytest.raises(PoseBackbonesError):
        main([str(tmp_path), *options])
