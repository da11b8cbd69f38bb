"""Dataset metainfo files, and the sigmas of custom keypoints."""

from functools import partial

import numpy as np
import pytest

from pose_backbones.errors import DatasetError
from pose_backbones.structures import metainfo
from pose_backbones.structures.coco_keypoints import read_keypoint_file
from pose_backbones.utils.literals import read_assignments
from tests.helpers.custom_annotations import with_keypoints, with_value, write_annotations

DESCRIPTION = """
dataset_info = dict(
    dataset_name='fish',
    keypoint_info={
        0: dict(name='left_fin', id=0, swap='right_fin'),
        1: dict(name='right_fin', id=1, swap='left_fin')},
    skeleton_info={0: dict(link=('left_fin', 'right_fin'), id=0)},
    joint_weights=[1.0, 1.0],
    sigmas=[0.25, 0.5])
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes annotations after an optional change, and returns the path."""
    return partial(write_annotations, tmp_path)


def test_metainfo_is_read_from_a_file_or_a_dict(tmp_path):
    path = tmp_path / 'fish.py'
    path.write_text(DESCRIPTION)
    for source in (path, str(path), read_assignments(path)['dataset_info']):
        parsed = metainfo.read_metainfo(source)
        assert parsed['keypoint_id2name'] == {0: 'left_fin', 1: 'right_fin'}
        assert parsed['flip_indices'] == [1, 0]
        assert parsed['skeleton_links'] == [(0, 1)]
        assert parsed['sigmas'].tolist() == [0.25, 0.5]


def test_metainfo_shipped_by_mmpose_is_read():
    assert metainfo.read_metainfo('configs/_base_/datasets/crowdpose.py')['num_keypoints'] == 14


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('model = dict()', 'dataset_info'),
        ('dataset_info = dict(', 'never closed'),
        ("dataset_info = dict(dataset_name='a')", 'AssertionError'),
        ('dataset_info = 1 / 0', 'division by zero'),
    ],
)
def test_invalid_metainfo_files_raise(tmp_path, text, reason):
    path = tmp_path / 'fish.py'
    path.write_text(text)
    with pytest.raises(
        DatasetError,
        match=f'^--metainfo {path} is not a description of a dataset, such as .*: .*{reason}',
    ):
        metainfo.read_metainfo(str(path), '--metainfo')


def test_unreadable_metainfo_raises(tmp_path):
    with pytest.raises(DatasetError, match=r'^none\.py is not a description .* does not exist'):
        metainfo.read_metainfo('none.py')
    with pytest.raises(DatasetError, match='cannot read the description .*a directory'):
        metainfo.read_metainfo(tmp_path)
    with pytest.raises(DatasetError, match='^metainfo is not a description of a dataset'):
        metainfo.read_metainfo(dict(dataset_name='fish'))


@pytest.mark.parametrize(
    ('value', 'shown'),
    [('0', '0'), ('-0.5', '-0.5'), ("float('nan')", 'nan'), ("float('inf')", 'inf')],
)
def test_sigmas_that_are_not_positive_raise(tmp_path, value, shown):
    path = tmp_path / 'fish.py'
    path.write_text(DESCRIPTION.replace('0.5]', f'{value}]'))
    for source, name in ((path, str(path)), (dict(from_file=str(path)), f'metainfo {path}')):
        with pytest.raises(
            DatasetError,
            match=f"^{name}: the sigma of the keypoint 'right_fin' is {shown} "
            r'\(1 of 2 sigmas are wrong\): expected a positive number',
        ):
            metainfo.read_metainfo(source)
    path.write_text(DESCRIPTION.replace('[0.25, 0.5]', '[]'))
    assert len(metainfo.read_metainfo(path)['sigmas']) == 0


def test_default_sigmas_are_those_of_coco():
    """Keypoints with COCO's names have the sigmas of MMPose's COCO metainfo; others the default."""
    coco = metainfo.read_metainfo('configs/_base_/datasets/coco.py')
    names = list(coco['keypoint_name2id'])
    sigmas = metainfo.default_sigmas([*names, 'tail'])
    assert [sigmas[name].value for name in names] == pytest.approx(coco['sigmas'].tolist())
    assert sigmas['tail'] == metainfo.Sigma(0.05, 'a default, not measured')
    assert sigmas['left_hip'].origin == "COCO's hip"


def test_sigmas_are_measured_from_two_sets_of_labels(write):
    """The measured sigmas are those of the Gaussian noise between the two sets of labels."""
    rng = np.random.default_rng(0)
    num_objects, true_sigmas = 4000, np.array([0.03, 0.1, 0.06])
    area = rng.uniform(400, 9000, num_objects)
    base = np.concatenate(
        [rng.uniform(100, 900, (num_objects, 3, 2)), np.full((num_objects, 3, 1), 2)], 2
    )
    files = []
    for name in ('first.json', 'second.json'):
        # σ describes the distance in the plane: the variance along each axis is σ² / 2.
        scale = true_sigmas[:, None] * np.sqrt(area / 2)[:, None, None]
        points = base.copy()
        points[..., :2] += rng.normal(0, 1, (num_objects, 3, 2)) * scale
        points[9:, 2, 2] = 0  # the bulb has only nine labels
        files.append(
            read_keypoint_file(write(lambda content, p=points: with_keypoints(p, area), name))
        )
    sigmas = metainfo.measure_sigmas(*files)
    assert set(sigmas) == {'foot', 'joint'}  # nine labels are too few for the bulb
    assert [sigmas['foot'].value, sigmas['joint'].value] == pytest.approx(true_sigmas[:2], rel=0.03)
    assert sigmas['foot'].origin == 'measured on 4000 objects'


def test_identical_labels_raise(write):
    points = np.random.default_rng(0).uniform(100, 200, (12, 3, 3))
    points[..., 2] = 2
    files = []
    for name in ('first.json', 'second.json'):
        content = points.copy()
        path = write(lambda _, p=content: with_keypoints(p, np.full(12, 900.0)), name)
        files.append(read_keypoint_file(path))
        points[:, 1:, 0] += 3
    with pytest.raises(
        DatasetError,
        match='^the labels of the keypoint .foot. are identical in .*first.json and .*second.json, '
        r'so its sigma would be 0 \(1 of 3 keypoints are like this\): expected labels of a second',
    ):
        metainfo.measure_sigmas(*files)
    with pytest.raises(DatasetError, match='3 of 3 keypoints'):
        metainfo.measure_sigmas(files[0], files[0])


def test_mismatched_labels_raise(write):
    first = read_keypoint_file(write())
    with pytest.raises(DatasetError, match='has 3 objects of .*expected at least 10'):
        metainfo.measure_sigmas(first, first)
    other = read_keypoint_file(
        write(with_value('categories', 'keypoints', ['a', 'b', 'c']), 'other.json')
    )
    with pytest.raises(
        DatasetError, match='has the keypoints a, b, c: expected those of .*: foot, joint, bulb'
    ):
        metainfo.measure_sigmas(first, other)
