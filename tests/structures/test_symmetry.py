"""Left/right symmetry derived from the names of keypoints."""

import pytest

from pose_backbones.structures.symmetry import (
    find_pairs,
    find_sides,
    flip_indices,
    limb_side,
    without_side,
)


@pytest.mark.parametrize(
    ('left', 'right', 'rest'),
    [
        ('left_eye', 'right_eye', 'eye'),
        ('L_Eye', 'R_Eye', 'eye'),
        ('eyeLeft', 'eyeRight', 'eye'),
        ('LEFT EYE', 'RIGHT EYE', 'eye'),
        ('lefteye', 'righteye', 'eye'),
        ('LEye', 'REye', 'eye'),
        ('lsho', 'rsho', 'sho'),
        ('hand.l', 'hand.r', 'hand'),
        ('Left_front_paw', 'Right_front_paw', 'front_paw'),
    ],
)
def test_pairs_and_sides_of_names(left, right, rest):
    names = ['tail', right, left, 'upright']
    assert find_pairs(names) == {left: right, right: left}
    assert flip_indices(names) == [0, 2, 1, 3]
    assert find_sides(names) == ('middle', 'right', 'left', 'middle')
    assert without_side(left, True) == rest
    assert without_side(right, True) == rest


def test_chinese_names():
    names = ('左肩', '右肩', '头')
    assert find_pairs(names) == {'左肩': '右肩', '右肩': '左肩'}
    assert find_sides(names) == ('left', 'right', 'middle')


def test_names_that_resemble_sides_have_no_partner():
    names = ['ring', 'rail', 'leftover', 'l1', 'left_horn', 'bright']
    assert find_pairs(names) == {}
    assert find_sides(names) == ('middle', 'middle', 'middle', 'left', 'left', 'middle')
    assert without_side('ring', False) == 'ring'


def test_limbs_between_sides_are_in_the_middle():
    assert limb_side('left', 'middle') == 'left'
    assert limb_side('left', 'right') == 'middle'
    assert limb_side('middle', 'middle') == 'middle'
