"""Tests of reading literal values from a Python file without running it."""

import textwrap

import pytest

from pose_backbones.errors import ConfigError
from pose_backbones.utils.literals import read_assignments


def read(tmp_path, text: str) -> dict:
    path = tmp_path / 'config.py'
    path.write_text(textwrap.dedent(text))
    return read_assignments(path)


def test_literals_are_evaluated(tmp_path):
    assert read(
        tmp_path,
        """
        a = b = dict(x=[1, -2.5, None], y=('t', True), z={0: 'zero', 'k': {}})
        weights: list = [1.] * 3
        path = 'data/' 'coco'
        """,
    ) == dict(
        a=dict(x=[1, -2.5, None], y=('t', True), z={0: 'zero', 'k': {}}),
        b=dict(x=[1, -2.5, None], y=('t', True), z={0: 'zero', 'k': {}}),
        weights=[1.0, 1.0, 1.0],
        path='data/coco',
    )


@pytest.mark.parametrize(
    'text',
    [
        "a = __import__('os').system('touch RAN')",
        "a = dict(b=open('RAN', 'w'))",
        "a = [x for x in open('RAN', 'w')]",
        "a = dict(**open('RAN', 'w'))",
        'a = {**{}}',
        'a = dict([(1, 2)])',
        'a = f\'{open("RAN", "w")}\'',
        'a = [0] * 10**9',
        "a = ['x'] * 2000000",
        'a = 9 ** 9 ** 9',
        'a = b',
        'a = -"x"',
        'a = {[]: 1}',
        'if True:\n    a = 1',
        'a = lambda: 1',
        "def f(x=open('RAN', 'w')):\n    pass",
        'class C:\n    a = open("RAN", "w")',
        'a = ' + '-' * 900 + '1',
    ],
)
def test_other_expressions_are_ignored_and_not_run(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    values = read(tmp_path, f'{text}\nc = 1\n')
    assert values.pop('c') == 1
    assert set(values) <= {'a'}
    if values:  # a number with many signs
        assert values == {'a': 1}
    assert not (tmp_path / 'RAN').exists()


def test_reassigned_variable_has_last_literal_value(tmp_path):
    assert read(tmp_path, 'a = 1\na = f()\nb = f()\nb = 2') == {'b': 2}


def test_limit_of_repetitions_applies_to_whole_file(tmp_path):
    text = ''.join(f'a{i} = [0] * 2 ** 0\nb{i} = [0, 0] * {1 << 18}\n' for i in range(99))
    text += 'c = dict(x=[1] * -9, y=[([0] * 100000, )])\nd = [2] * 0'
    values = read(tmp_path, text)
    assert {name: len(value) for name, value in values.items()} == dict(b0=1 << 19, b1=1 << 19, d=0)
    values = read(tmp_path, 'a = [0] * -9999999\nb = [0] * 1048577\nc = 1')
    assert values == dict(a=[], c=1)


@pytest.mark.parametrize(
    'text', ['a = (', 'a = \0', 'x' * 10 + ' y', 'a = ' + '[' * 5000 + ']' * 5000]
)
def test_invalid_python_raises(tmp_path, text):
    with pytest.raises(ConfigError, match=r'config unreadable: .*config\.py'):
        read(tmp_path, text)


@pytest.mark.parametrize(
    'change',
    [
        'x += [2]',
        'x[0] = 2',
        'x.append(2)',
        'x[0].update(a=1)',
        'x.a = 1',
        'del x',
        'for x in y: pass',
        'import x',
        'from y import z as x',
        'def x(): pass',
        'if 1:\n    x = 2',
        'with y as x: pass',
    ],
)
def test_modified_variable_is_ignored(tmp_path, change):
    path = tmp_path / 'config.py'
    path.write_text(f'x = [1]\nkept = 3\n{change}\nother = len(kept)\n')
    assert read_assignments(path) == {'kept': 3}
