"""Tests of benchmarks/multi_level_head.py."""

import itertools
import json

import pytest
import torch
from mmpose.utils import register_all_modules

from benchmarks import multi_level_head
from benchmarks.multi_level_head import MAPS, heads, main


def test_variants_have_the_same_outputs():
    register_all_modules()
    for channels, _ in MAPS.values():
        maps = [
            torch.randn(2, count, 16 >> level, 8 >> level) for level, count in enumerate(channels)
        ]
        expected, output = (module(maps) for module in heads(channels))
        assert output.shape == (2, 17, 16, 8)
        torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-6)


def test_table_shows_medians_and_ratios(monkeypatch, capsys, tmp_path):
    """The variants take turns, and the first round is not counted."""
    durations = itertools.cycle((9.0, 9.0, 3.0, 1.0, 4.0, 2.0, 4.0, 1.0))
    monkeypatch.setattr(multi_level_head, 'timed', lambda *_: (None, next(durations)))
    main(['--batch', '1', '--repeat', '3', '--json', str(tmp_path / 'out.json')])
    lines = capsys.readouterr().out.splitlines()[4:]
    assert lines == [
        f'| {name} | {task} | 4000.0 | 1000.0 | 3.00 |'
        for name in MAPS
        for task in ('training', 'inference')
    ]
    rows = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert [row['ratio'] for row in rows] == pytest.approx([3.0] * 4)
    assert rows[0]['seconds'] == [[3, 4, 4], [1, 2, 1]]
