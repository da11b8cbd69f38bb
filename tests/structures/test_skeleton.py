"""Sigmas and limbs of a skeleton."""

from pathlib import Path

import numpy as np
import pytest

from pose_backbones.structures.skeleton import check_limbs, read_limbs, read_sigmas

GOLDEN = Path(__file__).parents[1] / 'golden' / 'hrcomer_losses.npz'
COCO = 'configs/_base_/datasets/coco.py'
CROWDPOSE = 'configs/_base_/datasets/crowdpose.py'
# Tables of the original implementation.
COCO_LIMBS = [
    (0, 1),
    (0, 2),
    (0, 3),
    (0, 4),
    (5, 7),
    (6, 8),
    (11, 13),
    (12, 14),
    (7, 9),
    (8, 10),
    (13, 15),
    (14, 16),
]
CROWDPOSE_LIMBS = [(13, 12), (0, 2), (1, 3), (2, 4), (3, 5), (6, 8), (7, 9), (8, 10), (9, 11)]
CUSTOM_METAINFO = """
dataset_info = dict(
    dataset_name='other',
    keypoint_info={
        0: dict(name='beak', id=0, color=[0, 0, 0], type='', swap=''),
        1: dict(name='tail', id=1, color=[0, 0, 0], type='', swap=''),
        2: dict(name='crest', id=2, color=[0, 0, 0], type='', swap='')},
    skeleton_info={
        0: dict(link=('tail', 'beak'), id=0, color=[0, 0, 0])},
    joint_weights=[1.0] * 3,
    sigmas=[0.1, 0.2, 0.3])
"""


@pytest.mark.parametrize(('name', 'limbs'), [(COCO, COCO_LIMBS), (CROWDPOSE, CROWDPOSE_LIMBS)])
def test_limbs_match_original(name, limbs):
    assert sorted(map(tuple, read_limbs(name).tolist())) == sorted(limbs)


def test_sigmas_of_datasets():
    golden = np.load(GOLDEN)['sigmas']
    np.testing.assert_allclose(read_sigmas(COCO), golden)
    # CrowdPose has joints of COCO, and two more: head and neck.
    np.testing.assert_allclose(read_sigmas(CROWDPOSE), [*golden[5:], 0.079, 0.079])


def test_unknown_names_use_the_links_of_the_skeleton(tmp_path):
    path = tmp_path / 'other.py'
    path.write_text(CUSTOM_METAINFO)
    assert read_limbs(path).tolist() == [[1, 0]]
    np.testing.assert_allclose(read_sigmas(str(path)), [0.1, 0.2, 0.3])


def test_numbers_are_accepted():
    assert read_limbs([(2, 1)]).tolist() == [[2, 1]]
    assert read_sigmas((0.1, 1)).tolist() == [0.1, 1]


@pytest.mark.parametrize('limbs', [[], [(0, 1, 2)], [(0.5, 1)], [(-1, 0)]])
def test_invalid_limbs_raise(limbs):
    with pytest.raises(ValueError, match=r'limbs is .*expected pairs of'):
        read_limbs(limbs)


@pytest.mark.parametrize('sigmas', [[], [0.1, 0], [float('nan')], [[1.0]]])
def test_invalid_sigmas_raise(sigmas):
    with pytest.raises(ValueError, match=r'sigmas is .*a positive number'):
        read_sigmas(sigmas)


@pytest.mark.parametrize('read', [read_sigmas, read_limbs])
def test_invalid_metainfo_files_raise(read, tmp_path):
    with pytest.raises(
        ValueError, match='no_such.py is not a description of a dataset.*does not exist'
    ):
        read(str(tmp_path / 'no_such.py'))
    path = tmp_path / 'config.py'
    path.write_text('model = dict()')
    with pytest.raises(ValueError, match='config.py is not a description.*dataset_info'):
        read(str(path))


def test_limbs_beyond_the_last_keypoint_raise():
    check_limbs(16, 17)
    with pytest.raises(ValueError, match='up to keypoint 16.*below 14'):
        check_limbs(16, 14)
