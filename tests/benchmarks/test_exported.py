"""Tests of benchmarks/exported.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.exported import Row, TrafficMode, main
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
    assert 1e6 < row['bytes'] < 1e9
    assert row['bandwidth'] > 1e8


def test_ratio_and_share() -> None:
    seconds = [4.0, 6.0, 16.0], [2.0, 4.0, 4.0]
    row = Row('x', 'onnx', 'fp32', 1, 1, 100, 50.0, 30, 20.0, 0.0, *seconds)
    assert row.ratio == 2
    assert row.share(row.exported) == 1
    assert row.memory_share == 0.75


def test_traffic_is_that_of_convolutions_and_products() -> None:
    image, weight, matrix = torch.zeros(1, 3, 8, 8), torch.zeros(4, 3, 3, 3), torch.zeros(4, 5)
    with TrafficMode() as traffic:
        maps = torch.nn.functional.conv2d(image, weight, torch.zeros(4)).relu()
        maps.mean((2, 3)) @ matrix
    assert traffic.numbers == (192 + 108 + 4 + 4 * 36) + (4 + 20 + 5)


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
