"""Tests of benchmarks/testing.py."""

import json

import pytest

from benchmarks.testing import main, write_data
from pose_backbones.errors import CheckpointError


def test_variants_are_timed_on_the_same_boxes(tmp_path, capfd):
    """With PyTorch only, since an export takes seconds."""
    options = ['--images', '2', '--boxes', '7', '--variants', 'mmpose', 'torch']
    main([*options, '--json', str(tmp_path / 'results.json')])
    content = json.loads((tmp_path / 'results.json').read_text())
    mmpose, own = content['variants'].values()
    assert content['boxes'] == 14
    assert mmpose['metrics'] == own['metrics']
    assert own['ratio'] == mmpose['seconds'] / own['seconds']
    lines = capfd.readouterr().out.splitlines()
    assert '2 images, 14 boxes, 0 data workers' in lines
    milliseconds = 1e3 * own['seconds'] / 14
    expected = f'| torch | {milliseconds:.2f} | {own["ratio"]:.2f} | '
    assert lines[-1].startswith(expected)


def test_detections_are_near_people(tmp_path):
    assert write_data(tmp_path, 3, 20) == 60
    detections = json.loads((tmp_path / 'detections.json').read_text())
    content = json.loads((tmp_path / 'data/annotations/person_keypoints_val.json').read_text())
    for detection in detections:
        boxes = [
            person['bbox']
            for person in content['annotations']
            if person['image_id'] == detection['image_id'] and not person['iscrowd']
        ]
        assert any(
            max(abs(a - b) for a, b in zip(box, detection['bbox'])) < 0.25 * max(box[2:])
            for box in boxes
        )
    assert [entry['image_id'] for entry in detections] == sorted(
        entry['image_id'] for entry in detections
    )


def test_weights_of_another_model_raise_early(tmp_path):
    with pytest.raises(CheckpointError, match='checkpoint not found'):
        main(['--weights', str(tmp_path / 'none.pth')])
