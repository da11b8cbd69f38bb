"""Tests of benchmarks/evaluation_data.py."""

import json

import cv2
import numpy as np
import pytest
import torch

from benchmarks import evaluation_data
from pose_backbones.errors import ConfigError


@pytest.fixture(autouse=True)
def _threads():
    """Restore the threads of OpenCV."""
    threads = cv2.getNumThreads()
    yield
    cv2.setNumThreads(threads)


def test_table_and_file(tmp_path, capsys):
    file = tmp_path / 'results.json'
    options = ['--images', '3', '--boxes', '1', '4', '--workers', '0', '1', '--batch', '4']
    evaluation_data.main([*options, '--rounds', '2', '--json', str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('3 images of 640x480 pixels and 1')
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[4:]]
    assert [row[:2] for row in rows] == [['1', '0'], ['1', '1'], ['4', '0'], ['4', '1']]
    # Each image is decoded for each of its boxes, or once.
    assert [row[5:] for row in rows] == [['3', '3'], ['', ''], ['12', '3'], ['', '']]
    content = json.loads(file.read_text())
    assert content['images'] == 3
    for row, case in zip(rows, content['cases'], strict=True):
        for cell, name in zip(row[2:4], ('mmpose', 'shared'), strict=True):
            assert len(case[name]['seconds']) == 2
            per_box = 1e3 * np.median(case[name]['seconds']) / (3 * case['boxes'])
            assert float(cell) == pytest.approx(per_box, abs=0.006)
        assert float(row[4]) == pytest.approx(case['ratio'], abs=0.006)


def test_different_crops_raise(monkeypatch):
    monkeypatch.setattr(torch, 'equal', lambda *_: False)
    with pytest.raises(RuntimeError, match='crops differ'):
        evaluation_data.main(['--images', '1', '--boxes', '1', '--workers', '0', '--rounds', '1'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--images', '0'], '--images 0'),
        (['--boxes', '5', '0'], r'--boxes \[5, 0\]'),
        (['--workers', '-1'], r'--workers \[-1\]'),
    ],
)
def test_invalid_counts_raise(options, message):
    with pytest.raises(ConfigError, match=message):
        evaluation_data.main(options)
