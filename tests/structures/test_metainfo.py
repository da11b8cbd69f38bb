"""Dataset descriptions: reading them, and the sigmas of own keypoints."""

from functools import partial

import numpy as np
import pytest

from pose_backbones.errors import DatasetError
from pose_backbones.structures import metainfo
from pose_backbones.structures.coco_keypoints import read_keypoint_file
from pose_backbones.utils.literals import read_assignments
from tests.helpers.lamps import labelled, put, write_lamps

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
    """Write annotations, changed by a function; returns the path."""
    return partial(write_lamps, tmp_path)


def test_a_description_by_its_file_and_by_its_content(tmp_path):
    path = tmp_path / 'fish.py'
    path.write_text(DESCRIPTION)
    for source in (path, str(path), read_assignments(path)['dataset_info']):
        found = metainfo.read_metainfo(source)
        assert found['keypoint_id2name'] == {0: 'left_fin', 1: 'right_fin'}
        assert found['flip_indices'] == [1, 0]
        assert found['skeleton_links'] == [(0, 1)]
        assert found['sigmas'].tolist() == [0.25, 0.5]


def test_a_description_that_mmpose_ships():
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
def test_files_that_are_no_description(tmp_path, text, reason):
    path = tmp_path / 'fish.py'
    path.write_text(text)
    with pytest.raises(
        DatasetError,
        match=f'^--metainfo {path} is not a description of a data set, such as .*: .*{reason}',
    ):
        metainfo.read_metainfo(str(path), '--metainfo')


def test_descriptions_that_cannot_be_read(tmp_path):
    with pytest.raises(DatasetError, match=r'^none\.py is not a description .* does not exist'):
        metainfo.read_metainfo('none.py')
    with pytest.raises(DatasetError, match='cannot read the description .*a directory'):
        metainfo.read_metainfo(tmp_path)
    with pytest.raises(DatasetError, match='^metainfo is not a description of a data set'):
        metainfo.read_metainfo(dict(dataset_name='fish'))


def test_default_sigmas_are_those_of_coco():
    """The host's COCO, name by name; others get the default."""
    coco = metainfo.read_metainfo('configs/_base_/datasets/coco.py')
    names = list(coco['keypoint_name2id'])
    found = metainfo.default_sigmas([*names, 'tail'])
    assert [found[name].value for name in names] == pytest.approx(coco['sigmas'].tolist())
    assert found['tail'] == metainfo.Sigma(0.05, 'a default, not measured')
    assert found['left_hip'].origin == "COCO's hip"


def test_sigmas_are_measured_from_two_labellings(write):
    """Two draws of a known scatter give it back, in units of the size."""
    rng = np.random.default_rng(0)
    count, true = 4000, np.array([0.03, 0.1, 0.06])
    area = rng.uniform(400, 9000, count)
    base = np.concatenate([rng.uniform(100, 900, (count, 3, 2)), np.full((count, 3, 1), 2)], 2)
    files = []
    for name in ('first.json', 'second.json'):
        # σ is of the distance in the plane: each axis has a half of σ².
        scale = true[:, None] * np.sqrt(area / 2)[:, None, None]
        points = base.copy()
        points[..., :2] += rng.normal(0, 1, (count, 3, 2)) * scale
        points[9:, 2, 2] = 0  # the bulb was labelled nine times
        files.append(read_keypoint_file(write(lambda content, p=points: labelled(p, area), name)))
    found = metainfo.measure_sigmas(*files)
    assert set(found) == {'foot', 'joint'}  # nine are too few for a bulb
    assert [found['foot'].value, found['joint'].value] == pytest.approx(true[:2], rel=0.03)
    assert found['foot'].origin == 'measured on 4000 objects'


def test_labellings_that_do_not_fit(write):
    first = read_keypoint_file(write())
    with pytest.raises(DatasetError, match='has 3 objects of .*expected at least 10'):
        metainfo.measure_sigmas(first, first)
    other = read_keypoint_file(write(put('categories', 'keypoints', ['a', 'b', 'c']), 'other.json'))
    with pytest.raises(
        DatasetError, match='has the keypoints a, b, c: expected those of .*: foot, joint, bulb'
    ):
        metainfo.measure_sigmas(first, other)
