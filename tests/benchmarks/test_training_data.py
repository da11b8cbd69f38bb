"""Tests of benchmarks/training_data.py."""

import json

import cv2
import numpy as np
import pytest

from benchmarks import training_data
from pose_backbones.errors import ConfigError


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Resume in a small dataset, and restore the threads of OpenCV."""
    monkeypatch.setattr(training_data, '_SAMPLES', 3000)
    monkeypatch.setattr(training_data, '_STEP', 500)
    threads = cv2.getNumThreads()
    yield
    cv2.setNumThreads(threads)


def test_tables_and_file(tmp_path, capsys):
    file = tmp_path / 'results.json'
    training_data.main(['--images', '20', '--batch', '4', '--rounds', '2', '--json', str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('20 images of 640x480 pixels and 1')
    assert lines[0].endswith('kB on average, 2.65 people per image; 0 data workers')
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[4:8]]
    assert [row[0] for row in rows] == list(training_data.VARIANTS)
    assert rows[0][2] == '1.00'
    # Each image is decoded for each of its 53 people, or once.
    assert [row[3] for row in rows] == ['53', '53', '20', '20']
    assert [row[4] for row in rows[:2]] == ['0.0', '0.0']
    assert all(0 < float(row[4]) <= 20 * 640 * 480 * 3 / 2**20 for row in rows[2:])
    table = {line.split('|')[1].strip(): line.split('|')[2:-1] for line in lines[13:23]}
    times = np.array(list(table.values()), float)
    assert next(iter(table)) == 'LoadImage'
    assert list(table)[-1] == 'total'
    np.testing.assert_allclose(times[:-1].sum(0), times[-1], atol=0.06)
    content = json.loads(file.read_text())
    assert content['samples'] == 53
    assert set(content['resume']) == {'InfiniteSampler', 'DefaultSampler', 'ImageGroupedSampler'}
    for row, result in zip(rows, content['variants'].values(), strict=True):
        assert len(result['seconds']) == 2
        assert float(row[2]) == pytest.approx(result['relative'], abs=0.006)
        assert float(row[1]) == pytest.approx(1e3 * np.median(result['seconds']) / 53, abs=0.006)


def test_images_have_the_size_of_those_of_coco(tmp_path):
    assert 140e3 < training_data.make_data(tmp_path, 4) < 180e3


def test_invalid_counts_raise():
    with pytest.raises(ConfigError, match='--images 0'):
        training_data.main(['--images', '0'])
