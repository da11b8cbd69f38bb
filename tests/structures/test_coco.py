"""COCO-style JSON files: reading and validation."""

from functools import partial

import cv2
import numpy as np
import pytest

from pose_backbones.errors import DatasetError
from pose_backbones.structures.coco import (
    CocoFile,
    are_numbers,
    box_numbers,
    check_entries,
    has_fields,
    keypoint_count,
    one_of,
    read_json,
)
from pose_backbones.structures.coco_keypoints import read_keypoint_file
from tests.helpers.custom_annotations import with_value, without, write_annotations


@pytest.fixture
def write(tmp_path):
    """Return a function that writes annotations after an optional change, and returns the path."""
    return partial(write_annotations, tmp_path)


def test_read_keypoint_file(write):
    file = read_keypoint_file(write())
    assert file.names == ('foot', 'joint', 'bulb')
    assert file.skeleton == ((0, 1), (1, 2))
    assert [entry['id'] for entry in file.objects] == [1, 2, 3]
    assert file.images[2]['file_name'] == 'a/2.jpg'


def test_objects_without_keypoints_are_ignored(write):
    def change(content):
        del content['annotations'][0]['keypoints']
        content['categories'].append({'id': 5, 'name': 'table'})

    assert len(read_keypoint_file(write(change)).objects) == 2


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda content: [1],
            'is not a COCO annotations file: the top level has the type list: expected an object',
        ),
        (
            lambda content: content.pop('categories') and None,
            r"has no categories: expected .* 'keypoints': \[names\]",
        ),
        (lambda content: content.update(images=[]), 'has no images'),
        (lambda content: content.update(annotations={}), 'has no annotations'),
        (without('categories', 'keypoints'), r'none of the categories \(lamp\) has keypoints'),
        (
            lambda content: content['categories'].append(
                {'id': 3, 'name': 'chair', 'keypoints': ['seat']}
            ),
            r'different numbers or names of keypoints \(1 and 3\).*split',
        ),
        (
            with_value('categories', 'keypoints', ['foot', 'joint', 'foot']),
            "category 2 has 2 keypoints called 'foot': expected different names",
        ),
        (
            with_value('categories', 'keypoints', ['foot', '', 'bulb']),
            "category 2 has a keypoint called '': expected a name",
        ),
        (
            with_value('categories', 'keypoints', ['foot', 7, 'bulb']),
            'category 2 has a keypoint called 7',
        ),
        (
            with_value('categories', 'keypoints', 7),
            'category 2 has the keypoints 7: expected a list',
        ),
        (
            with_value('categories', 'skeleton', 7),
            'category 2 has the limb 7 in its skeleton: expected',
        ),
        (with_value('categories', 'skeleton', [[1, None]]), r'category 2 has the limb \[1, None\]'),
        (
            with_value('categories', 'skeleton', [[1, 2, 3]]),
            r'the limb \[1, 2, 3\] in its skeleton',
        ),
        (
            with_value('images', 'id', 2),
            r"image 2 \('a/2.jpg'\) has the same id as another entry: expected unique ids",
        ),
        (without('images', 'width'), r"image 1 \('a/1.jpg'\) has no width: expected"),
        (
            with_value('annotations', 'keypoints', [1, 2, 2]),
            'annotation 1 has 3 numbers in keypoints: expected 9',
        ),
        (
            with_value('annotations', 'keypoints', [1, None, 2] * 3),
            'annotation 1 has values in keypoints that are not finite numbers',
        ),
        (
            with_value('annotations', 'keypoints', [5, 5, 0.7] * 3),
            'a keypoint of visibility 0.7: expected 0',
        ),
        (
            with_value('annotations', 'keypoints', [0.5, 0.5, 2] * 3),
            'coordinates from 0 to 1: expected pixels',
        ),
        (with_value('annotations', 'image_id', 9), 'annotation 1 has the image_id 9'),
        (without('annotations', 'bbox'), r'annotation 1 has no bbox: expected \[x'),
        (without('annotations', 'area'), 'no area: expected .*53'),
        (with_value('annotations', 'iscrowd', 2), 'the iscrowd 2: expected 0, or 1'),
        (without('annotations', 'category_id'), 'no category_id'),
        (
            with_value('annotations', 'id', 2),
            'annotation 2 has the same id as another entry: expected unique ids',
        ),
    ],
)
def test_invalid_annotations_raise(write, change, message):
    path = write(change)
    with pytest.raises(DatasetError, match=message) as error_info:
        read_keypoint_file(path)
    assert path in str(error_info.value)


def test_error_counts_similar_entries(write):
    def change(content):
        for entry in content['annotations'][1:]:
            del entry['area']

    with pytest.raises(
        DatasetError,
        match=r'annotation 2 has no area '
        r'\(2 of 3 are like this\)',
    ):
        read_keypoint_file(write(change))


def test_json_lines_raise(tmp_path):
    path = tmp_path / 'x.json'
    path.write_text('{"image_id": 1}\n{"image_id": 2}\n')
    with pytest.raises(DatasetError, match=r'Extra data: line 2 .* in the format JSON Lines: exp'):
        CocoFile(path)


def test_no_labelled_keypoint_raises(write):
    def change(content):
        for entry in content['annotations']:
            entry['keypoints'] = [0] * 9

    with pytest.raises(DatasetError, match='no annotation has a labelled'):
        read_keypoint_file(write(change))


def test_missing_annotation_and_image_files_raise(write, tmp_path):
    with pytest.raises(DatasetError, match='cannot read .*none.json'):
        read_keypoint_file(str(tmp_path / 'none.json'))
    (tmp_path / 'a').mkdir()
    image = np.zeros((48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a/1.jpg'), image)
    with pytest.raises(DatasetError, match="image 2 .'a/2.jpg'. has no file: expected the image f"):
        read_keypoint_file(write(), str(tmp_path))
    cv2.imwrite(str(tmp_path / 'a/2.jpg'), image)
    assert len(read_keypoint_file(write(), str(tmp_path)).images) == 2


def test_entries_and_image_ids(write, tmp_path):
    file = CocoFile(write())
    assert [image['id'] for image in file.entries('images')] == [1, 2]
    assert file.image_ids() == {1, 2}
    assert not file.is_image_list
    assert CocoFile(write(lambda content: content.pop('annotations') and None)).is_image_list
    (tmp_path / 'results.json').write_text('[{"image_id": 1}]')
    results = CocoFile(tmp_path / 'results.json', 'results')
    assert results.entries() == [{'image_id': 1}]
    assert not results.is_image_list


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"a": ', 'cannot read the results .*r.json: Expecting value'),
        ('[' * 100_000, 'cannot read the results .*r.json: (maximum recursion|Stack overflow)'),
        ('{}', 'r.json is not a COCO results file: expected a list of objects with image_id'),
        ('[1]', 'r.json is not a COCO results file: expected'),
    ],
)
def test_invalid_results_files_raise(tmp_path, text, message):
    (tmp_path / 'r.json').write_text(text)
    with pytest.raises(DatasetError, match=message):
        CocoFile(tmp_path / 'r.json', 'results').entries()


def test_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / 'x.json').write_bytes(b'\xef\xbb\xbf[1]')
    assert read_json(tmp_path / 'x.json') == [1]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"images": 1}', 'x.json has no images: expected a list'),
        ('{"images": [1]}', 'x.json: images has the entry 1: expected an object'),
        ('{"images": [{}]}', 'x.json: image at index 0 has no id: expected'),
        ('{"images": [{"id": []}]}', r'x.json: image \[\] has the id \[\]: expected'),
    ],
)
def test_invalid_image_ids_raise(tmp_path, content, message):
    (tmp_path / 'x.json').write_text(content)
    with pytest.raises(DatasetError, match=message):
        CocoFile(tmp_path / 'x.json').image_ids()


RESULT = dict(image_id=7, category_id=1, score=0.5, bbox=[1, 2, 3, 4], keypoints=[1, 2.5, 0])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(image_id=None), 'result at index 1 has no image_id|of image None, has no image_id'),
        (dict(image_id=8), 'result at index 1, of image 8, has the image_id 8: expected image 7'),
        (dict(image_id=[7]), r'has the image_id \[7\]: expected the id of an'),
        (
            dict(score='high'),
            "result at index 1, of image 7, has the score 'high': expected a finite number",
        ),
        (dict(score=float('nan')), 'has the score nan: expected a finite number'),
        (dict(score=10**400), 'has the score 1000.*…: expected a finite number'),
        (dict(bbox=[1, 2, 3]), r'has the bbox \[1, 2, 3\]: expected \[x, y, width, height\]'),
        (dict(bbox=[1, 2, 3, '4']), r"has the bbox \[1, 2, 3, '4'\]: expected"),
        (dict(keypoints=[1, 2]), 'has 2 numbers in keypoints: expected 3, three for each of the 1'),
        (dict(keypoints=[1, 2, None]), 'values in keypoints that are not finite numbers .*None'),
        (dict(keypoints=[[1, 2, 3]]), 'values in keypoints that are not finite numbers'),
        (dict(keypoints='123'), "has the keypoints '123': expected a list"),
    ],
)
def test_checks_raise_for_invalid_results(change, message):
    checks = (
        has_fields('image_id', 'score', 'bbox', 'keypoints'),
        one_of('image_id', {7}, 'expected image 7'),
        box_numbers,
        keypoint_count(1),
    )
    check_entries('r.json', 'result', [RESULT] * 2, *checks)
    with pytest.raises(DatasetError, match=f'^r.json: .*{message}'):
        check_entries('r.json', 'result', [RESULT, {**RESULT, **change}], *checks)


def test_check_entries_counts_entries_with_the_same_problem():
    entries = [{}, dict(score=1), dict(score='a'), dict(score=[])]
    with pytest.raises(
        DatasetError,
        match=r'^x: result at index 0 has no score \(3 of 4 are like this\): expected a finite num',
    ):
        check_entries('x', 'result', entries, has_fields('score'))


def test_are_numbers():
    assert are_numbers([1, 2.5, True, -1e9])
    for other in ([float('inf')], [10**400], [1e10], ['1'], [None], [[1]], (1, 2), '12', 3):
        assert not are_numbers(other), other
