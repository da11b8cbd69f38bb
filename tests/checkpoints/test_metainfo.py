"""The metainfo in a checkpoint is checked before names, limbs and flip pairs are used."""

import pytest
import torch

from pose_backbones.checkpoints.loading import get_metainfo
from pose_backbones.errors import CheckpointError, DatasetError
from pose_backbones.inference.detector import _classes
from pose_backbones.visualization.skeleton import Skeleton

VALID = dict(
    dataset_name='two',
    num_keypoints=2,
    keypoint_id2name={0: 'left_eye', 1: 'right_eye'},
    flip_indices=[1, 0],
    skeleton_links=[(0, 1)],
)


def _read(meta):
    return get_metainfo(dict(meta=meta), 'a.pth')


def test_valid_metainfo_is_returned():
    assert _read(dict(dataset_meta=VALID)) is VALID
    partial = dict(num_keypoints=2, flip_indices=[1, 0])
    assert _read(dict(dataset_meta=partial)) is partial


@pytest.mark.parametrize('meta', [None, {}, dict(dataset_meta=None), dict(dataset_meta={})])
def test_missing_metainfo(meta):
    assert _read(meta) is None
    assert get_metainfo({}, 'a.pth') is None


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('num_keypoints', '2'),
        ('num_keypoints', True),
        ('num_keypoints', 3),
        ('keypoint_id2name', ['a', 'b']),
        ('keypoint_id2name', {0: 'a', 2: 'b'}),
        ('keypoint_id2name', {0: 'a', 1: None}),
        ('flip_indices', [1]),
        ('flip_indices', [1, 2]),
        ('flip_indices', [0, -1]),
        ('flip_indices', 'ab'),
        ('skeleton_links', None),
        ('keypoint_id2name', torch.ones(2, 1)),
        ('flip_indices', torch.tensor([1, 0])),
        ('skeleton_links', [(0, 2)]),
        ('skeleton_links', [(0,)]),
        ('skeleton_links', [()]),
        ('skeleton_links', [[0, 1.0]]),
    ],
)
def test_invalid_entry(key, value):
    with pytest.raises(CheckpointError, match=r'a\.pth .* meta\.dataset_meta\.') as error:
        _read(dict(dataset_meta={**VALID, key: value}))
    assert key in str(error.value) or key == 'num_keypoints'
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'meta',
    [
        'text',
        [1],
        torch.ones(2),
        dict(dataset_meta=torch.ones(2)),
        dict(dataset_meta='text'),
        dict(dataset_meta=[1]),
    ],
)
def test_other_types(meta):
    with pytest.raises(CheckpointError, match='expected a dict'):
        _read(meta)


def test_skeleton_of_partial_metainfo():
    with pytest.raises(DatasetError, match="'two' has no keypoint_id2name and no skeleton_links"):
        Skeleton.from_metainfo(dict(dataset_name='two', num_keypoints=2))


@pytest.mark.parametrize('value', [3, torch.ones(2), {'person': 0}, ['person', None]])
def test_invalid_classes_of_detector(value):
    with pytest.raises(CheckpointError, match=r'd\.pth has the CLASSES'):
        _classes(dict(meta=dict(CLASSES=value)), 'd.pth')


@pytest.mark.parametrize(
    ('meta', 'expected'),
    [
        (None, None),
        ([1], None),
        (dict(dataset_meta='text', CLASSES=('cat', 'person')), ['cat', 'person']),
        (dict(dataset_meta=dict(classes='person')), ['person']),
    ],
)
def test_classes_of_detector(meta, expected):
    assert _classes(dict(meta=meta), 'd.pth') == expected
