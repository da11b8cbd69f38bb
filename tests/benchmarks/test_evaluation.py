"""Tests of benchmarks/evaluation.py."""

import sys

import pytest

from benchmarks import evaluation


def _names() -> list[str]:
    return [name for name in sys.modules if name.partition('.')[0] == 'xtcocotools']


@pytest.fixture
def _modules(monkeypatch):
    """Restore the modules that the benchmark replaces."""
    real = {name: sys.modules.pop(name) for name in _names()}
    yield
    for name in _names():
        del sys.modules[name]
    sys.modules.update(real)


@pytest.mark.usefixtures('_modules')
def test_variants_have_the_same_metrics():
    names = evaluation.installed_variants()
    assert {'hotcoco', 'pycocotools'} <= set(names)
    first, *others = (evaluation.measure(name, 20, 8) for name in names)
    assert 0.05 < first['stats'][0] < 0.95
    for other in others:
        assert other['stats'] == first['stats']
        assert len(other['seconds']) == 2


def test_table_shows_medians_and_ratios(monkeypatch, capsys):
    runs = iter(
        [
            dict(seconds=[1.0, 3.0], stats=[0.5, 0.25]),
            dict(seconds=[1.0, 1.0], stats=[0.5, 0.25]),
            dict(seconds=[2.0, 6.0], stats=[0.5, 0.25]),
            dict(seconds=[1.0, 5.0], stats=[0.5, 0.5]),
        ]
    )
    order = []
    monkeypatch.setattr(
        evaluation, '_run', lambda args, variant: order.append(variant) or next(runs)
    )
    evaluation.main(['--rounds', '2', '--variants', 'xtcocotools', 'hotcoco'])
    assert order == ['xtcocotools', 'hotcoco'] * 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '5000 images, 100000 detections; median seconds'
    assert lines[3] == '| xtcocotools | 1.5 | 4.5 | 6.0 | 1.00 | 0.500000000000 |'
    assert lines[4] == '| hotcoco | 1.0 | 3.0 | 4.0 | 0.62 | 0.500000000000 |'
    assert lines[5] == 'largest difference of a metric: 2.5e-01'
