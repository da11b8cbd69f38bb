"""benchmarks/allocator.py: both ways are measured, in pairs."""

import pytest

from benchmarks.allocator import _measure, main
from pose_backbones.errors import ConfigError


def test_pairs(monkeypatch, capsys):
    """The summary is that of the pairs; speeds are not compared here."""
    rates = iter(
        [(10.0, 500.0), (15.0, 620.0), (20.0, 500.0), (22.0, 600.0), (8.0, 1.0), (8.0, 3.0)]
    )
    ways = []
    monkeypatch.setattr(
        'benchmarks.allocator._run', lambda args, way: ways.append(way) or next(rates)
    )
    main(['--pairs', '3'])
    assert ways == ['default', 'kept'] * 3
    last = capsys.readouterr().out.strip().split('\n')[-1]
    assert last == 'kept is 1.10 times as fast (pairs: 1.00 to 1.50), with +100 MiB'
    with pytest.raises(ConfigError, match='--pairs 0: expected at least 1'):
        main(['--pairs', '0'])


def test_a_measurement():
    rate, memory = _measure('td-hm_moganet-xt_1xb8-demo_synthetic-128x96', 1, keep=False)
    assert rate > 0
    assert memory > 50
