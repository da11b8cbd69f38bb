"""Each tool refuses files with faults: one line with the entry, its value and what is expected."""

import json

import pytest

from pose_backbones.cli import check as check_api
from pose_backbones.cli import infer as infer_api
from pose_backbones.cli import make_dataset_info as info_api
from pose_backbones.cli import report as report_api
from pose_backbones.cli import test as test_api
from pose_backbones.cli import train as train_api

VAL = 'annotations/person_keypoints_val.json'
TRAIN = 'annotations/person_keypoints_train.json'


def labelled(content: dict) -> dict:
    """Return the first annotation with labelled keypoints."""
    return next(entry for entry in content['annotations'] if entry['num_keypoints'])


def without_area(content: dict) -> None:
    for entry in content['annotations']:
        entry['area'] = 0


def relative_area(content: dict) -> None:
    for entry in content['annotations']:
        entry['area'] /= 1e6


def exchanged_size(content: dict) -> None:
    image = content['images'][0]
    image['width'], image['height'] = image['height'] + 1, image['width']


def entry_of(name: str, value):
    """Return a change of the first annotation with labelled keypoints."""
    return lambda content: labelled(content).update({name: value})


#: change → what each tool prints
FAULTS = [
    (without_area, 'has the area 0 ('),
    (relative_area, 'expected the area of the object in square pixels'),
    (entry_of('num_keypoints', 0), 'has the num_keypoints 0, but'),
    (entry_of('category_id', 7), "has the category_id 7: expected the id of an entry of 'cat"),
    (entry_of('category_id', '1'), "has the category_id '1': expected"),
    (entry_of('image_id', 999), "has the image_id 999: expected the id of an entry of 'images'"),
    (entry_of('bbox', None), 'has no bbox: expected [x, y, width, height]'),
    (entry_of('keypoints', [[1, 2, 2]] * 17), 'has values in keypoints that are not finite'),
    (entry_of('area', float('nan')), 'it contains NaN, which is not valid JSON'),
    (lambda content: content['images'][0].update(id='cam1'), "has the id 'cam1': expected whole"),
    (lambda content: content['images'][0].pop('width'), 'has no width: expected the width'),
    (lambda content: content.pop('categories'), 'has no categories: expected a list of objects'),
]
#: found only with the images, which the report does not read
WITH_IMAGES = [(exchanged_size, 'expected the width and height of the file in pixels')]


@pytest.fixture
def damage(data):
    """Return a function that applies a change to the annotations of both splits."""
    good = {name: (data / name).read_text() for name in (TRAIN, VAL)}

    def apply(change) -> None:
        for name, text in good.items():
            content = json.loads(text)
            change(content)
            (data / name).write_text(json.dumps(content))

    return apply


def check_lines(fail, damage, faults, main, *arguments) -> None:
    for number, (change, expected) in enumerate(faults):
        damage(change)
        line = fail(main, *(str(part).replace('RUN', str(number)) for part in arguments))
        assert expected in line


def test_training(fail, damage, data, tiny_config, tmp_path):
    # Training itself does not use the areas, but the validation does.
    faults = FAULTS + WITH_IMAGES
    options = ('--data-root', data, '--work-dir', tmp_path / 'RUN')
    check_lines(fail, damage, faults, train_api.main, tiny_config, *options)


def test_testing(fail, damage, data, tiny_config, tmp_path):
    faults = FAULTS + WITH_IMAGES
    options = ('none.pth', '--data-root', data, '--work-dir', tmp_path / 'RUN')
    check_lines(fail, damage, faults, test_api.main, tiny_config, *options)


def test_dataset_description(fail, damage, data, tmp_path):
    arguments = (data / VAL, tmp_path / 'RUN.py', '--images', data / 'val')
    check_lines(fail, damage, FAULTS + WITH_IMAGES, info_api.main, *arguments)


def test_report(fail, damage, data, tmp_path):
    results = tmp_path / 'results.json'
    results.write_text('[]')
    arguments = (results, '--ann', data / VAL, '--out', tmp_path / 'RUN.html')
    check_lines(fail, damage, FAULTS, report_api.main, *arguments)


def test_command(damage, data, capsys):
    for change, expected in FAULTS + WITH_IMAGES:
        damage(change)
        assert check_api.main([str(data / VAL), '--images', str(data / 'val')]) in (1, 2)
        printed = capsys.readouterr().out
        for part in expected.rstrip(' (').split(': '):
            assert part in printed


def test_inference(fail, damage, data, tiny_config, tmp_path):
    """Inference uses only the boxes of annotations."""
    faults = [
        (entry_of('bbox', None), 'has no bbox: expected [x, y, width, height]'),
        (entry_of('bbox', [1, 2, 'a', 4]), "has the bbox [1, 2, 'a', 4]: expected"),
        (entry_of('area', float('inf')), 'it contains Infinity, which is not valid JSON'),
        (lambda content: content['images'][0].pop('file_name'), 'has no file_name: expected'),
    ]
    arguments = (data / 'val', '--model', tiny_config, '--weights', 'none.pth')
    options = ('--boxes', data / VAL, '--out', tmp_path / 'RUN')
    check_lines(fail, damage, faults, infer_api.main, *arguments, *options)
