"""Result files for COCO's evaluation server: name, rules and content."""

import copy
import json
import zipfile

import pytest

from pose_backbones.errors import ConfigError, DatasetError
from pose_backbones.evaluation.submission import (
    best_people,
    check_name,
    check_submission,
    submission_name,
    write_submission,
)


def result(image=1, score=0.5, **changes) -> dict:
    return {
        'image_id': image,
        'category_id': 1,
        'score': score,
        'keypoints': [float(v) for v in range(51)],
        **changes,
    }


@pytest.mark.parametrize(
    ('image_list', 'split'),
    [
        ('a/image_info_test-dev2017.json', 'test-dev2017'),
        ('person_keypoints_val2017.json', 'val2017'),
        ('image_info_test2017.json', 'test2017'),
        # name of MMPose's copy of the list
        ('person_keypoints_test-dev-2017.json', 'test-dev2017'),
    ],
)
def test_name_contains_the_split(image_list, split):
    assert submission_name(image_list, 'us-1') == (f'person_keypoints_{split}_us-1_results')


def test_image_list_without_split_raises():
    with pytest.raises(ConfigError, match='file name a/images.json .* contains no split'):
        submission_name('a/images.json', 'us')


@pytest.mark.parametrize('name', ['', 'a b', 'a/b', '-a', '..', 'ä'])
def test_invalid_names_raise(name):
    with pytest.raises(ConfigError, match='expected letters, digits'):
        check_name(name)


def test_best_twenty_people_per_image_are_kept():
    scores = [(7 * k % 23) / 23 for k in range(23)]
    results = [result(1, score) for score in scores] + [result(2, 0.0)] * 20
    kept = best_people(results)
    assert kept == [r for r in results if r['image_id'] == 2 or r['score'] > 2.5 / 23]
    assert len(kept) == 40
    check_submission('r.json', kept, {1, 2})
    with pytest.raises(DatasetError, match='image 1 has 23 people: expected at most 20'):
        check_submission('r.json', results, {1, 2})


def test_first_of_equal_scores_are_kept():
    results = [result(1, 0.5, note=k) for k in range(25)]
    assert [r['note'] for r in best_people(results)] == list(range(20))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(image_id=4), 'of image 4, has the image_id 4: expected .* of the image list'),
        (dict(category_id=2), 'has the category_id 2: expected 1'),
        (dict(keypoints=[0.0] * 42), '42 numbers in keypoints: expected 51'),
        (dict(keypoints=[0.0] * 50 + [float('nan')]), 'keypoints that are not finite numbers'),
        (dict(keypoints=[0.0] * 50 + ['x']), 'values in keypoints that are not finite numbers'),
        (dict(score=float('inf')), 'has the score inf: expected a finite'),
        (dict(bbox=[0, 0, 1, 1]), 'has the fields bbox, category_id'),
    ],
)
def test_results_that_break_a_rule_raise(changes, message):
    valid = [result(1), result(2)]
    check_submission('r.json', valid, {1, 2, 3})
    with pytest.raises(DatasetError, match=f'reject r.json: result at index 2, .*{message}'):
        check_submission('r.json', [*valid, {**result(3), **changes}], {1, 2, 3})


@pytest.fixture
def files(tmp_path):
    """Write an image list, and results in the format of the metric."""
    images = tmp_path / 'image_info_test-dev2017.json'
    images.write_text(json.dumps(dict(images=[dict(id=1), dict(id=2)])))
    results = tmp_path / 'x.keypoints.json'
    content = [result(1 + k % 2, k / 50, bbox=[0.0, 0.0, 5.0, 5.0]) for k in range(50)]
    results.write_text(json.dumps(content))
    return results, images, content


def test_archive_contains_the_best_results(files, tmp_path):
    results, images, content = files
    path, kept, dropped = write_submission(str(results), str(images), str(tmp_path), 'us')
    assert path.name == 'person_keypoints_test-dev2017_us_results.zip'
    assert (kept, dropped) == (40, 10)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ['person_keypoints_test-dev2017_us_results.json']
        written = json.loads(archive.read(archive.namelist()[0]))
    expected = copy.deepcopy(content[10:])
    for entry in expected:
        del entry['bbox']
    assert written == expected


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_invalid_scores_raise_and_write_nothing(files, tmp_path, value):
    results, images, content = files
    content[3]['score'] = value
    results.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match='it contains (NaN|Infinity), which is not valid JSON'):
        write_submission(str(results), str(images), str(tmp_path), 'us')
    assert not list(tmp_path.glob('*.zip*'))
