"""Tests of benchmarks/mspn.py."""

import os
import runpy
import sys

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from benchmarks import mspn as benchmark_mspn
from benchmarks.mspn import TASKS, Row, measure, table
from benchmarks.mspn_reference import configs
from pose_backbones.errors import ConfigError
from tests.helpers.tools import ROOT

BLOCKS = (1, 1, 1, 1)


def test_both_models_are_the_same_network():
    """MMPose's weights load strictly and give the same heatmaps."""
    register_all_modules()
    init_default_scope('mmpose')
    own, mmpose = (MODELS.build(config).eval() for config in configs(2, (64, 64), BLOCKS))
    own.load_state_dict(mmpose.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            own(image, None, mode='tensor'),
            mmpose(image, None, mode='tensor')[-1],
            rtol=1e-3,
            atol=1e-4,
        )


def test_measure_counts_flops_and_times():
    row = measure(2, (64, 64), batch=1, repeat=2, num_blocks=BLOCKS)
    assert row.stages == 2
    # MMPose computes all maps, and upsamples before the convolution.
    assert row.flops < row.flops_all < row.flops_mmpose
    # 7 of 8 units, 1x1 and 3x3, with bias and norm: 2 stages of 64x64 pixels.
    cells = [4, 16, 64, 256, 4, 16, 64]
    layers = 256 * 256 + 9 * 256 * 17
    assert row.flops_all - row.flops == pytest.approx(sum(cells) * layers, rel=0.02)
    assert set(row.seconds) == set(TASKS)
    assert all(len(times) == 2 and min(times) > 0 for times in row.seconds.values())


def test_ratio_compares_times_of_the_same_round():
    """A machine that becomes slower does not change the ratio."""
    seconds = {task: [1.0, 2.0, 9.0] for task in TASKS}
    seconds['predict'] = [0.5, 1.0, 6.0]
    seconds['network, all units'] = [2.0, 4.0, 18.0]
    row = Row(1, 2_500_000, 4e9, 5e9, 6e9, seconds)
    assert row.ratio('predict', 'predict, MMPose') == 0.5
    cells = [cell.strip() for cell in list(table([row]))[-1].strip('|').split('|')]
    assert cells == [
        '1',
        '2.5',
        '4.00',
        '5.00',
        '6.00',
        '2000',
        '2000',
        '1.00',
        '1000',
        '2000',
        '0.50',
        '2000',
        '4000',
        '0.50',
        '2000',
        '1.00',
    ]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--stages', '0'], '--stages 0: expected numbers'),
        (['--repeat', '0'], '--repeat 0: expected'),
        (['--shape', '100', '64'], '--shape 100 64: expected multiples of 32'),
    ],
)
def test_invalid_option_raises(options, message):
    with pytest.raises(ConfigError, match=message):
        benchmark_mspn.main(options)


def test_tool_runs_the_module(monkeypatch, capsys):
    """The tool replaces its process by that of the module, whose help is printed here."""
    started = []
    monkeypatch.setattr(os, 'execve', lambda path, command, env: started.append(command))
    monkeypatch.setattr(sys, 'argv', ['benchmark_mspn.py', '--help'])
    monkeypatch.syspath_prepend(ROOT / 'tools')
    with pytest.warns(FutureWarning, match='use python -m benchmarks.mspn'):
        runpy.run_path(str(ROOT / 'tools/benchmark_mspn.py'), run_name='__main__')
    assert started == [[sys.executable, '-m', 'benchmarks.mspn', '--help']]
    with pytest.raises(SystemExit) as end:
        benchmark_mspn.main(started[0][3:])
    assert end.value.code == 0
    assert '--stages' in capsys.readouterr().out
