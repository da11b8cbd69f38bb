"""Tests of benchmarks/exported.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.exported import Row, main
from pose_backbones.errors import PoseBackbonesError
from tests.helpers.tools import ROOT

MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


@pytest.mark.slow
def test_table_and_json(tmp_path: Path) -> None:
    path = tmp_path / 'exported.json'
    options = ['--precision', 'fp32', '--batch', '2', '--threads', '1', '--repeat', '2']
    done = subprocess.run(
        [sys.executable, '-m', 'benchmarks.exported', MODEL, *options, '--json', str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cells = done.stdout.splitlines()[-1].strip('| ').split(' | ')
    assert cells[:5] == [MODEL, 'openvino', 'fp32', '2', '1']
    content = json.loads(path.read_text())
    assert content['machine']['cores'] >= 1
    (row,) = content['rows']
    assert row['pixels'] < 0.05
    assert len(row['reference']) == len(row['exported']) == 2
    assert 2 * 2e8 < row['flops'] < 2 * 2e9  # 128x96: about a quarter of 3.6 GFLOPs
    assert row['peak'] > 1e9


def test_ratio_and_share() -> None:
    row = Row('x', 'onnx', 'fp32', 1, 1, 100, 50.0, 0.0, [4.0, 6.0, 16.0], [2.0, 4.0, 4.0])
    assert row.ratio == 2
    assert row.share(row.exported) == 1


@pytest.mark.parametrize(
    'options',
    [
        ['no-such-model'],
        ['--repeat', '0'],
        ['--batch', '1', '0'],
        ['--backend', 'onnx', '--precision', 'bf16'],
    ],
)
def test_invalid_arguments(options: list[str]) -> None:
    with pytest.raises(PoseBackbonesError):
        main(options)
