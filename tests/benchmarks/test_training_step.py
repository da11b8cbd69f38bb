"""Tests of benchmarks/training_step.py."""

import json

import pytest

from benchmarks.training_step import VARIANTS, main, summarize

MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


def test_both_variants_train_equally(tmp_path, capfd):
    """Speeds are not compared."""
    path = tmp_path / 'steps.json'
    options = '--batch 2 --steps 2 --pairs 1 --threads 1 --json'
    main([MODEL, *options.split(), str(path)])
    (row,) = json.loads(path.read_text())['rows']
    assert row['model'] == MODEL
    assert row['loss'] < 1e-4
    assert {key: len(times) for key, times in row['seconds'].items()} == dict.fromkeys(VARIANTS, 2)
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1].startswith(f'| {MODEL} | 2 | ')


def test_ratio_is_that_of_the_medians_of_each_round():
    pairs = [
        {
            'default': dict(seconds=[4, 6, 60], loss=2.0, peak=7),
            'train.py': dict(seconds=[2, 3, 30], loss=2.5, peak=9),
        },
        {
            'default': dict(seconds=[4, 8, 60], loss=2.0, peak=8),
            'train.py': dict(seconds=[1, 4, 30], loss=2.0, peak=6),
        },
    ]
    row = summarize('x', 2, pairs)
    assert row['ratio'] == 2
    assert row['loss'] == pytest.approx(0.25)
    assert row['peak'] == {'default': 8, 'train.py': 9}
    assert row['seconds']['train.py'] == [2, 3, 30, 1, 4, 30]
