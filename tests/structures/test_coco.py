"""COCO-style JSON files: reading and validation."""

from functools import partial

import pytest

from pose_backbones.errors import DatasetError
from pose_backbones.structures.coco_annotations import read_keypoint_file
from tests.helpers.lamps import lack, put, write_lamps


@pytest.fixture
def write(tmp_path):
    """Write annotations, changed by a function; returns the path."""
    return partial(write_lamps, tmp_path)


def test_reading(write):
    found = read_keypoint_file(write())
    assert found.names == ('foot', 'joint', 'bulb')
    assert found.skeleton == ((0, 1), (1, 2))
    assert [entry['id'] for entry in found.objects] == [1, 2, 3]
    assert found.images[2]['file_name'] == 'a/2.jpg'


def test_objects_without_key_points_are_not_counted(write):
    def change(content):
        del content['annotations'][0]['keypoints']
        content['categories'].append({'id': 5, 'name': 'table'})

    assert len(read_keypoint_file(write(change)).objects) == 2


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda content: [1], 'holds a list: expected an object of COCO'),
        (
            lambda content: content.pop('categories') and None,
            r"has no categories: expected .* 'keypoints': \[names\]",
        ),
        (lambda content: content.update(images=[]), 'has no images'),
        (lambda content: content.update(annotations={}), 'has no annotations'),
        (lack('categories', 'keypoints'), r'none of the categories \(lamp\) has key points'),
        (
            lambda content: content['categories'].append(
                {'id': 3, 'name': 'chair', 'keypoints': ['seat']}
            ),
            r"'lamp' and 'chair' have different key points \(3 and 1\).*split",
        ),
        (
            put('categories', 'keypoints', ['foot', 'joint', 'foot']),
            "2 key points are called 'foot'",
        ),
        (put('categories', 'keypoints', ['foot', '', 'bulb']), "called '': expected a name"),
        (
            put('categories', 'skeleton', [[0, 1]]),
            r'limb \[0, 1\]: expected two numbers from 1 to 3; COCO counts',
        ),
        (
            put('categories', 'skeleton', [[3, 4]]),
            r'limb \[3, 4\]: expected two numbers from 1 to 3\. Correct',
        ),
        (put('images', 'id', 2), r'two images have the id 2 \(a/1.jpg and a/2'),
        (lack('images', 'width'), 'an entry of images has no width: .*a/1.jpg'),
        (
            put('annotations', 'keypoints', [1, 2, 2]),
            'annotation 1 has 3 numbers in keypoints: expected 9',
        ),
        (
            put('annotations', 'keypoints', [1, None, 2] * 3),
            'annotation 1 has something else than numbers',
        ),
        (
            put('annotations', 'keypoints', [5, 5, 0.7] * 3),
            'a key point of visibility 0.7: expected 0',
        ),
        (
            put('annotations', 'keypoints', [0.5, 0.5, 2] * 3),
            'coordinates from 0 to 1: expected pixels',
        ),
        (put('annotations', 'image_id', 9), 'annotation 1 has the image_id 9'),
        (lack('annotations', 'bbox'), r'annotation 1 has no bbox: expected \[x'),
        (
            put('annotations', 'bbox', [1, 2, 0, 5]),
            r'annotation 1 has the bbox \[1, 2, 0, 5\]: expected',
        ),
        (lack('annotations', 'area'), 'no area: expected .*53'),
        (lack('annotations', 'iscrowd'), 'no iscrowd: expected 0'),
        (lack('annotations', 'category_id'), 'no category_id'),
        (put('annotations', 'id', 2), 'annotation 2 has the id of another: give each'),
    ],
)
def test_what_is_wrong_is_said(write, change, message):
    path = write(change)
    with pytest.raises(DatasetError, match=message) as caught:
        read_keypoint_file(path)
    assert path in str(caught.value)


def test_how_many_are_like_the_first(write):
    def change(content):
        for entry in content['annotations'][1:]:
            del entry['area']

    with pytest.raises(
        DatasetError,
        match=r'annotation 2 has no area '
        r'\(2 of 3 are like this\)',
    ):
        read_keypoint_file(write(change))


def test_nothing_labelled(write):
    def change(content):
        for entry in content['annotations']:
            entry['keypoints'] = [0] * 9

    with pytest.raises(DatasetError, match='no annotation has a labelled'):
        read_keypoint_file(write(change))


def test_missing_files_and_images(write, tmp_path):
    with pytest.raises(DatasetError, match='cannot read .*none.json'):
        read_keypoint_file(str(tmp_path / 'none.json'))
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/1.jpg').touch()
    with pytest.raises(DatasetError, match='1 of 2 images are not in the folder .*such as a/2.jpg'):
        read_keypoint_file(write(), str(tmp_path))
    (tmp_path / 'a/2.jpg').touch()
    assert len(read_keypoint_file(write(), str(tmp_path)).images) == 2
