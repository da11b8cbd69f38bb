"""Tests of `pose-backbones check`."""

import json

import pytest

from pose_backbones.cli.check import main
from pose_backbones.errors import ConfigError, DatasetError
from tests.helpers import damaged_coco


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a file to the current directory and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, content) -> str:
        text = content if isinstance(content, str) else damaged_coco.dumps(content)
        (tmp_path / name).write_text(text)
        return name

    return write


def without_area() -> dict:
    content = damaged_coco.annotations()
    content['annotations'][0]['area'] = 0
    return content


def test_valid_files(write, capsys):
    truth = write('truth.json', damaged_coco.annotations())
    results = write('results.json', damaged_coco.results())
    assert main([truth, results, '--annotations', truth]) == 0
    assert capsys.readouterr().out == (
        'truth.json: 0 errors, 0 warnings\nresults.json: 0 errors, 0 warnings\n'
    )


def test_unreadable_files_do_not_hide_the_findings_of_others(write, tmp_path, capsys):
    files = [write('bad.json', '{'), write('area.json', without_area()), 'missing.json']
    assert main([*files, '--json', 'out.json']) == 2
    printed = capsys.readouterr().out
    assert 'bad.json: cannot be read\n  error: cannot read the file bad.json: ' in printed
    assert 'area.json: 1 error, 0 warnings\n  error: expected the area' in printed
    assert 'missing.json: cannot be read' in printed
    content = json.loads((tmp_path / 'out.json').read_text())
    assert list(content) == files
    (area,) = content['area.json']
    assert area['examples'] == ['annotation 101 has the area 0']
    (unreadable,) = content['bad.json']
    assert unreadable['kind'] == 'file'
    assert unreadable['is_error']
    assert unreadable['examples'][0].startswith('cannot read the file bad.json')


def test_status_without_unreadable_files(write):
    assert main([write('area.json', without_area())]) == 1


@pytest.mark.parametrize(
    ('skeleton', 'status'), [('text', 2), ([[1]], 2), ([[1, 9]], 1), ([[1, 2]], 0)]
)
def test_status_of_limbs(write, skeleton, status):
    content = damaged_coco.annotations()
    content['categories'][0]['skeleton'] = skeleton
    assert main([write('limbs.json', content)]) == status


def test_empty_list(write, capsys):
    assert main([write('empty.json', [])]) == 2
    assert 'empty.json is an empty list: expected at least one detection' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('files', 'option', 'message'),
    [
        (['truth'], ['--annotations', 'truth.json'], '--annotations belongs to a list .*truth'),
        (['list'], ['--images', '.'], '--images belongs to annotations .*list.json'),
        (['list'], ['--all-images'], '--all-images requires --images'),
    ],
)
def test_unused_options(write, files, option, message):
    write('truth.json', damaged_coco.annotations())
    write('list.json', damaged_coco.detections())
    with pytest.raises(ConfigError, match=message):
        main([*(f'{name}.json' for name in files), *option])


def test_unreadable_annotations_of_results(write):
    results = write('results.json', damaged_coco.results())
    with pytest.raises(DatasetError, match=r'missing\.json'):
        main([results, '--annotations', 'missing.json'])


def test_category_of_results_is_one_of_the_annotations(write, capsys):
    """The evaluation would ignore the results; detections are of many categories."""
    truth = write('truth.json', damaged_coco.annotations())
    for name, entries, status in (
        ('results.json', damaged_coco.results(), 1),
        ('detections.json', damaged_coco.detections(), 0),
    ):
        for entry in entries[:2]:
            entry['category_id'] = 99
        assert main([write(name, entries), '--annotations', truth]) == status
    assert 'result at index 0, of image 1, has the category_id 99' in capsys.readouterr().out


def test_messages_of_missing_ids(write, capsys):
    content = damaged_coco.annotations()
    del content['images'][1]['id']
    content['categories'].append(dict(id=2, name='a', keypoints=7))
    results = damaged_coco.results()
    del results[2]['image_id']
    write('keypoints.json', content)
    del content['categories'][1]
    main([write('ids.json', content), 'keypoints.json', write('results.json', results)])
    printed = capsys.readouterr().out
    assert "image at index 1 ('2.jpg') has no id" in printed
    assert (
        'category 2 has the keypoints 7: expected a list of the names of the keypoints' in printed
    )
    assert 'expected the id of an image of the annotations\n' in printed
    assert 'result at index 2 has no image_id' in printed
