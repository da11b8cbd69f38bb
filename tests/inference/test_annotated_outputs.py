"""Drawn files: where they are, that they are whole."""

import cv2
import numpy as np
import pytest

from pose_backbones import PoseInferencer
from pose_backbones.inference.annotated_outputs import Drawings, picture_names
from tests.helpers.pose_cases import estimator, picture


@pytest.mark.parametrize(
    ('parts', 'names'),
    [
        (['a.jpg'], ['a.jpg']),
        (['/x/y/a.JPG', '/x/b.png'], ['y/a.JPG', 'b.png']),
        (['/x/a.webp', '/x/a.webp.jpg'], ['a.webp.jpg', 'a.webp-2.jpg']),
        (['/x/c.mp4', '/x/c.avi', '/x/c.jpg'], ['c.mp4', 'c.avi.mp4', 'c.jpg']),
        (['/x/a.png'] * 3, ['a.png', 'a-2.png', 'a-3.png']),
        (
            [0, 'https://example.org/p/a.png?size=2', '/x/a.png'],
            ['camera0.mp4', 'a.png', 'a-2.png'],
        ),
        (['../a.png', 'b/../c.png'], ['a.png', 'HERE/c.png']),
    ],
)
def test_names_are_like_the_inputs_and_different(parts, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [name.replace('HERE', tmp_path.name) for name in names]
    assert picture_names(parts) == names


def test_what_is_drawn(tmp_path):
    paths = []
    for name in ('a/1.png', 'b/2.png'):
        paths.append(str(tmp_path / 'in' / name))
        (tmp_path / 'in' / name).parent.mkdir(parents=True)
        cv2.imwrite(paths[-1], picture(len(paths)))
    found = list(PoseInferencer(estimator())(paths))
    style = dict(threshold=-1.0, boxes=True)
    for what, count in (('none', 0), ('videos', 0), ('all', 2)):
        out = tmp_path / what
        with Drawings(out, paths, what, style) as drawings:
            for number, one in enumerate(found):
                drawings.add(one, number)
        assert len(list(out.rglob('*.png'))) == count
    for name, one in zip(('a/1.png', 'b/2.png'), found):
        drawn = cv2.imread(str(tmp_path / 'all' / name))
        np.testing.assert_array_equal(drawn, one.draw(**style))
        assert (drawn != one.image).any()
