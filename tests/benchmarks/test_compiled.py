"""Tests of benchmarks/compiled.py, with a compiler that takes no time."""

import functools
import json

import pytest
import torch

from benchmarks.compiled import Row, main, variants
from pose_backbones.errors import PoseBackbonesError

MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


@pytest.fixture(autouse=True)
def _fast_compiler(monkeypatch):
    monkeypatch.setattr(torch, 'compile', functools.partial(torch.compile, backend='eager'))


def test_table_and_json(capsys, tmp_path):
    path = tmp_path / 'compiled.json'
    options = ['--batch', '2', '--repeat', '2', '--no-assigner', '--json', str(path)]
    main([MODEL, '--task', 'training', *options])
    cells = capsys.readouterr().out.splitlines()[-1].strip('| ').split(' | ')
    assert cells[:3] == [MODEL, 'training', '2']
    (row,) = json.loads(path.read_text())['rows']
    assert {name: len(times) for name, times in row['seconds'].items()} == {
        'float32': 2,
        'amp': 2,
        'compiled': 2,
    }


def test_variants_compute_the_same():
    outputs = {name: function() for name, function in variants(MODEL, 'inference', 1).items()}
    scale = outputs['float32'].abs().max()
    for name in ('amp', 'compiled'):
        assert outputs[name].dtype == torch.bfloat16
        assert (outputs[name] - outputs['float32']).abs().max() < 0.05 * scale


def test_ratio():
    row = Row('x', 'inference', 1, dict(float32=[6.0, 8.0], amp=[3.0, 3.0], compiled=[2.0, 2.0]))
    assert row.ratio('float32') == 3.5
    assert row.ratio('amp') == 1.5


@pytest.mark.parametrize('options', [['no-such-model'], ['--repeat', '0'], ['--batch', '0']])
def test_invalid_arguments(options):
    with pytest.raises(PoseBackbonesError):
        main(options)
