"""Tests of docs/scripts/make_benchmarks.py and docs/benchmarks.md."""

import make_benchmarks as page
import pytest


def test_page_has_the_tables_of_the_records():
    text = page.PAGE.read_text(encoding='utf-8')
    assert page.with_tables(text) == text


def test_tables_come_from_the_records(monkeypatch):
    times = dict(reference=[0.3, 0.1, 0.2], exported=[0.1, 0.05, 0.1], flops=2e9, peak=1e11)
    times.update(bytes=1e8, bandwidth=1e10)
    machine = dict.fromkeys(('processor', 'cores', 'load', 'python', 'torch', 'openvino', 'mmpose'))
    row = dict(model='m', precision='bf16', batch=1, threads=2, ratio=2.5, **times)
    content = dict(machine=dict(machine, instructions=[]), rows=[row])
    monkeypatch.setattr(page, '_read', lambda name: content)
    monkeypatch.setattr(page, '_exported_rows', lambda: content['rows'])
    assert list(page.exported())[-1] == '| m | 1 | 2 | 200 |  |  |  |  | 100 | 2.50 | 40 | 20 |'


def test_missing_place_raises():
    with pytest.raises(ValueError, match='0 places for the table accuracy'):
        page.with_tables('')
