"""Tests of exported results: COCO results, table and annotated files."""

import csv
import errno
import json
import sys

import cv2
import numpy as np
import pytest

from pose_backbones import PoseInferencer
from pose_backbones.errors import ConfigError
from pose_backbones.inference.export import (
    AnnotatedOutputs,
    output_names,
    write_predictions,
    write_table,
)
from pose_backbones.inference.journal import Journal
from tests.helpers.journal_cases import PERSON, SETTINGS, SKELETON, entry, failure, result
from tests.helpers.pose_cases import estimator, make_image


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
def test_output_names_are_unique_and_similar_to_inputs(parts, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [name.replace('HERE', tmp_path.name) for name in names]
    assert output_names(parts) == names


def test_missing_pyav_raises(tmp_path, monkeypatch):
    """The error is raised at once, and only if videos are to be drawn."""
    monkeypatch.setitem(sys.modules, 'av', None)
    for what in ('all', 'videos'):
        with pytest.raises(ConfigError, match=r"needs PyAV: pip install 'pose_backbones\[video\]'"):
            AnnotatedOutputs(tmp_path, ['a.png', 0], what, {})
        AnnotatedOutputs(tmp_path, ['a.png'], what, {})
    AnnotatedOutputs(tmp_path, [0], 'none', {})


def test_annotated_outputs(tmp_path):
    paths = []
    for name in ('a/1.png', 'b/2.png'):
        paths.append(str(tmp_path / 'in' / name))
        (tmp_path / 'in' / name).parent.mkdir(parents=True)
        cv2.imwrite(paths[-1], make_image(len(paths)))
    results = list(PoseInferencer(estimator())(paths))
    style = dict(threshold=-1.0, boxes=True)
    for what, count in (('none', 0), ('videos', 0), ('all', 2)):
        out = tmp_path / what
        with AnnotatedOutputs(out, paths, what, style) as drawings:
            for number, person_result in enumerate(results):
                drawings.add(person_result, number)
        assert len(list(out.rglob('*.png'))) == count
    for name, person_result in zip(('a/1.png', 'b/2.png'), results):
        drawn = cv2.imread(str(tmp_path / 'all' / name))
        np.testing.assert_array_equal(drawn, person_result.draw(**style))
        assert (drawn != person_result.image).any()


def test_predictions_and_table_contents(tmp_path):
    journal = Journal(tmp_path, SETTINGS, 2)
    journal.add(result(0, 2), 0)
    journal.add_failure(failure(1, 1))
    journal.add(result(2, 0), 2)
    journal.add(result(3, 1, frame=5), 3)
    journal.close()
    assert journal.failures == 1
    assert write_predictions(tmp_path / 'p.json', journal.entries()) == 3
    results = json.loads((tmp_path / 'p.json').read_text())
    expected = [dict(person_result, file_name='0.png') for person_result in result(0, 2).to_coco()]
    expected += [
        dict(person_result, file_name='1.mp4, frame 5', track_id=7)
        for person_result in result(3).to_coco()
    ]
    assert results == expected
    write_table(tmp_path / 't.csv', journal.entries(), SKELETON.names)
    with open(tmp_path / 't.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['file_name'] for row in rows] == ['0.png', '0.png', '1.mp4, frame 5']
    assert [row['person'] for row in rows] == ['0', '1', '0']
    second = {name: value for name, value in rows[1].items() if name not in ('file_name', 'person')}
    assert {name: float(value) for name, value in second.items() if value} == pytest.approx(
        dict(
            image_id=1,
            score=0.4,
            left=1,
            top=2,
            width=30,
            height=40,
            head_x=4.25,
            head_y=5.25,
            head_score=0.5,
            foot_x=6.25,
            foot_y=7.25,
            foot_score=0.5,
        )
    )
    assert (rows[1]['track_id'], rows[1]['frame']) == ('', '')
    assert (rows[2]['track_id'], rows[2]['frame'], rows[2]['time']) == ('7', '5', '0.5')


def test_no_people_give_empty_outputs(tmp_path):
    write_predictions(tmp_path / 'p.json', [])
    assert json.loads((tmp_path / 'p.json').read_text()) == []
    write_table(tmp_path / 't.csv', [], ('nose',))
    assert (tmp_path / 't.csv').read_text().strip().endswith('nose_x,nose_y,nose_score')


def test_lone_surrogates_are_escaped_in_the_table(tmp_path):
    write_table(
        tmp_path / 't.csv',
        [
            entry(0, name='a\ud800', people=[dict(PERSON, image_id='\udfff')]),
            entry(1, name='b\udcff'),
        ],
        ('nose',),
    )
    rows = (tmp_path / 't.csv').read_bytes().splitlines()[1:]
    assert [row.split(b',')[:2] for row in rows] == [[b'a\\ud800', b'\\udfff'], [b'b\xff', b'1']]


def test_files_are_replaced_atomically(tmp_path):
    path = tmp_path / 'p.json'
    path.write_text('old')

    def entries():
        yield dict(name='a', people=[dict(image_id=1)])
        raise OSError(errno.ENOSPC, 'No space left on device')

    for write in (
        lambda: write_predictions(path, entries()),
        lambda: write_table(path, entries(), ()),
    ):
        with pytest.raises((OSError, KeyError)):
            write()
        assert path.read_text() == 'old'
        assert list(tmp_path.iterdir()) == [path]
