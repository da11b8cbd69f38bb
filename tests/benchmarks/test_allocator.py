"""Tests of benchmarks/allocator.py."""

import pytest

from benchmarks.allocator import _measure, main
from pose_backbones.errors import ConfigError


def test_summary_compares_pairs(monkeypatch, capsys):
    """The ratio and the difference are medians over pairs; real speeds are not compared."""
    rates = iter(
        [(10.0, 500.0), (15.0, 620.0), (20.0, 500.0), (22.0, 600.0), (8.0, 1.0), (8.0, 3.0)]
    )
    variants = []
    monkeypatch.setattr(
        'benchmarks.allocator._run', lambda args, variant: variants.append(variant) or next(rates)
    )
    main(['--pairs', '3'])
    assert variants == ['default', 'kept'] * 3
    last = capsys.readouterr().out.strip().split('\n')[-1]
    assert last == 'kept is 1.10 times as fast (pairs: 1.00 to 1.50), with +100 MiB'
    with pytest.raises(ConfigError, match='--pairs 0: expected at least 1'):
        main(['--pairs', '0'])


def test_measure_returns_rate_and_memory():
    rate, memory = _measure('td-hm_moganet-xt_1xb8-demo_synthetic-128x96', 1, keep=False)
    assert rate > 0
    assert memory > 50
