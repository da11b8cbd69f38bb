"""Tests of predictions that are NaN or infinite."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from pose_backbones.structures.finite import non_finite_field, replace_non_finite


def instances(kind) -> InstanceData:
    """Three instances of two keypoints, as arrays or tensors."""
    values = dict(
        keypoints=np.arange(12, dtype=np.float32).reshape(3, 2, 2),
        keypoint_scores=np.full((3, 2), 0.5, dtype=np.float32),
        bboxes=np.ones((3, 4), dtype=np.float32),
        bbox_scores=np.ones(3, dtype=np.float32),
    )
    return InstanceData(**{name: kind(value) for name, value in values.items()})


@pytest.mark.parametrize('kind', [np.array, torch.from_numpy])
@pytest.mark.parametrize(
    ('name', 'index', 'wrong'),
    [
        ('keypoints', (1, 0, 1), [(1, 0)]),
        ('keypoint_scores', (2, 1), [(2, 1)]),
        ('bboxes', (0, 3), [(0, 0), (0, 1)]),
        ('bbox_scores', (1,), [(1, 0), (1, 1)]),
    ],
)
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_keypoints_are_moved_far_away(kind, name, index, wrong, value):
    predicted, expected = instances(kind), instances(np.array)
    getattr(predicted, name)[index] = value
    assert replace_non_finite(predicted) == name
    assert non_finite_field(predicted) is None
    for place in wrong:
        expected.keypoints[place] = -1e5
        expected.keypoint_scores[place] = 0
    if name.startswith('bbox'):
        getattr(expected, name)[index] = 0
    for field, values in expected.items():
        assert isinstance(getattr(predicted, field), type(kind(values)))
        np.testing.assert_array_equal(np.asarray(getattr(predicted, field)), values)


def test_finite_predictions_are_not_changed():
    predicted = instances(np.array)
    values = dict(predicted.items())
    assert replace_non_finite(predicted) is None
    assert replace_non_finite(None) is None
    assert all(predicted.get(name) is value for name, value in values.items())


def test_array_of_the_decoder_is_not_changed():
    predicted = instances(np.array)
    predicted.keypoints[0, 0, 0] = np.nan
    keypoints = predicted.keypoints
    replace_non_finite(predicted)
    assert np.isnan(keypoints[0, 0, 0])


def test_instances_without_keypoints():
    boxes = InstanceData(bboxes=np.array([[0.0, np.nan, 2.0, 3.0]]))
    assert replace_non_finite(boxes) == 'bboxes'
    assert boxes.bboxes.tolist() == [[0, 0, 2, 3]]
