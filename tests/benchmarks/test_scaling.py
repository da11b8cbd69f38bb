"""Tests of benchmarks/scaling.py."""

import json

import pytest

from benchmarks import scaling
from benchmarks.scaling import main

MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


@pytest.mark.timeout(300)
def test_each_quantity_is_measured(tmp_path, monkeypatch):
    """With PyTorch only, since an export takes seconds; rates are not compared."""
    monkeypatch.setattr(scaling, 'VARIANTS', {'torch': None})
    path = tmp_path / 'scaling.json'
    options = '--batch 1 3 --boxes 2 --processes 2 --threads 1 --seconds 0.1 --json'
    main([MODEL, *options.split(), str(path)])
    rows = json.loads(path.read_text())['rows']
    assert [(row['quantity'], row['value']) for row in rows] == [
        ('batch', 1),
        ('batch', 3),
        ('input size', 96 * 128),
        ('boxes', 2),
        ('processes', 2),
    ]
    assert all(row['rate'] > 0 and row['model'] == MODEL for row in rows)
