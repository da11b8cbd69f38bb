"""Tests of how values and names are shown in error messages."""

import pytest
import torch

from pose_backbones.errors import list_names, shorten, shown, shown_name


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', ''),
        ('x' * 80, 'x' * 80),
        ('x' * 81, 'x' * 79 + '…'),
        ('two\n   lines', 'two lines'),
        ('a\r\nb\u2028c', 'a b c'),
        ('two  spaces', 'two  spaces'),
    ],
)
def test_shorten(text, expected):
    assert shorten(text) == expected


def test_shown():
    assert shown('a\nb') == r"'a\nb'"
    assert shown(10**99) == '1' + '0' * 78 + '…'
    assert shown(10**99, 5) == '1000…'
    assert shown(torch.eye(2)) == 'tensor([[1., 0.], [0., 1.]])'


def test_names():
    assert shown_name('left eye') == 'left eye'
    assert shown_name('left\neye') == r"'left\neye'"
    assert shown_name(7) == '7'
    assert shown_name('x' * 101) == 'x' * 99 + '…'
    assert list_names(['a', 'b\n', 3]) == r"a, 'b\n', 3"
    assert list_names('abcdef', 10) == 'a, b, c, …'
    assert list_names([]) == ''
