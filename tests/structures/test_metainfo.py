"""Own key points: the checks of the annotations, sides, sigmas, the tool."""

import copy
import json

import numpy as np
import pytest
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from pose_backbones.errors import ConfigError, DatasetError, WorkDirError
from pose_backbones.structures import metainfo
from pose_backbones.structures import symmetry as sides
from pose_backbones.structures.coco_annotations import read_keypoint_file
from tests.helpers.tools import run_tool

GOOD = {
    'categories': [
        {
            'id': 2,
            'name': 'lamp',
            'keypoints': ['foot', 'joint', 'bulb'],
            'skeleton': [[1, 2], [2, 3]],
        }
    ],
    'images': [
        {'id': 1, 'file_name': 'a/1.jpg', 'width': 64, 'height': 48},
        {'id': 2, 'file_name': 'a/2.jpg', 'width': 64, 'height': 48},
    ],
    'annotations': [
        {
            'id': n,
            'image_id': 1 + n % 2,
            'category_id': 2,
            'iscrowd': 0,
            'bbox': [4, 4, 30, 40],
            'area': 400.0,
            'keypoints': [5, 40, 2, 8, 20, 1, 30, 6, 2],
        }
        for n in range(1, 4)
    ],
}


@pytest.fixture
def write(tmp_path):
    """Writes annotations, changed by a function; gives the path."""

    def write(change=None, name='train.json') -> str:
        content = copy.deepcopy(GOOD)
        content = (change(content) or content) if change else content
        (tmp_path / name).write_text(json.dumps(content))
        return str(tmp_path / name)

    return write


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


def lack(place, key):
    """A change that takes a key out of the first entry of a list."""
    return lambda content: content[place][0].pop(key) and None


def put(place, key, value):
    return lambda content: content[place][0].update({key: value})


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
def test_left_and_right(left, right, rest):
    names = ['tail', right, left, 'upright']
    assert sides.find_pairs(names) == {left: right, right: left}
    assert sides.find_sides(names) == ('middle', 'right', 'left', 'middle')
    assert sides.without_side(left, True) == rest
    assert sides.without_side(right, True) == rest


def test_names_that_only_look_like_sides():
    names = ['ring', 'rail', 'leftover', 'l1', 'left_horn', 'bright']
    assert sides.find_pairs(names) == {}
    assert sides.find_sides(names) == ('middle', 'middle', 'middle', 'left', 'left', 'middle')
    assert sides.without_side('ring', False) == 'ring'


def test_limbs_between_sides_are_in_the_middle():
    assert sides.limb_side('left', 'middle') == 'left'
    assert sides.limb_side('left', 'right') == 'middle'
    assert sides.limb_side('middle', 'middle') == 'middle'


def test_default_sigmas_are_those_of_coco():
    """The host's COCO, name by name; others get the default."""
    coco = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/coco.py'))
    names = list(coco['keypoint_name2id'])
    found = metainfo.default_sigmas([*names, 'tail'])
    assert [found[name].value for name in names] == pytest.approx(coco['sigmas'].tolist())
    assert found['tail'] == metainfo.Sigma(0.05, 'a default, not measured')
    assert found['left_hip'].origin == "COCO's hip"


def labelled(points, area):
    """GOOD with these objects: points (N, K, 3), areas (N)."""
    content = copy.deepcopy(GOOD)
    content['annotations'] = [
        {
            **content['annotations'][0],
            'id': n + 1,
            'area': float(area[n]),
            'keypoints': [float(v) for v in p.ravel()],
        }
        for n, p in enumerate(points)
    ]
    return content


def test_sigmas_are_measured_from_two_labellings(write):
    """Two draws of a known scatter give it back, in units of the size."""
    rng = np.random.default_rng(0)
    count, true = 4000, np.array([0.03, 0.1, 0.06])
    area = rng.uniform(400, 9000, count)
    base = np.concatenate([rng.uniform(100, 900, (count, 3, 2)), np.full((count, 3, 1), 2)], 2)
    files = []
    for name in ('first.json', 'second.json'):
        # σ is of the distance in the plane: each axis has a half of σ².
        scale = true[:, None] * np.sqrt(area / 2)[:, None, None]
        points = base.copy()
        points[..., :2] += rng.normal(0, 1, (count, 3, 2)) * scale
        points[9:, 2, 2] = 0  # the bulb was labelled nine times
        files.append(read_keypoint_file(write(lambda content, p=points: labelled(p, area), name)))
    found = metainfo.measure_sigmas(*files)
    assert set(found) == {'foot', 'joint'}  # nine are too few for a bulb
    assert [found['foot'].value, found['joint'].value] == pytest.approx(true[:2], rel=0.03)
    assert found['foot'].origin == 'measured on 4000 objects'


def test_labellings_that_do_not_fit(write):
    first = read_keypoint_file(write())
    with pytest.raises(DatasetError, match='has 3 objects of .*expected 10'):
        metainfo.measure_sigmas(first, first)
    other = read_keypoint_file(write(put('categories', 'keypoints', ['a', 'b', 'c']), 'other.json'))
    with pytest.raises(
        DatasetError, match='has the key points a, b, c: expected those of .*, foot, joint, bulb'
    ):
        metainfo.measure_sigmas(first, other)


def test_the_description_is_the_hosts(write, tmp_path, capsys):
    names = ['L tip', 'R tip', "smith's"]
    path = write(put('categories', 'keypoints', names))
    out = tmp_path / 'new/lamps.py'
    metainfo.main([path, str(out), '--name', 'lamps'])
    info = parse_pose_metainfo(dict(from_file=str(out)))
    assert info['dataset_name'] == 'lamps'
    assert list(info['keypoint_name2id']) == names
    assert info['flip_indices'] == [1, 0, 2]
    assert info['skeleton_links'] == [(0, 1), (1, 2)]
    assert info['dataset_keypoint_weights'].tolist() == [1, 1, 1]
    assert info['sigmas'] == pytest.approx([0.05] * 3)
    assert info['upper_body_ids'] == info['lower_body_ids'] == []
    printed = capsys.readouterr().out
    assert 'train.json: 2 images, 3 objects' in printed
    assert 'mirrored: L tip / R tip' in printed
    assert 'out_channels' in printed


def test_what_has_no_partner_is_said(write, tmp_path, capsys):
    path = write(put('categories', 'keypoints', ['left_a', 'b', 'c']))
    metainfo.main([path, str(tmp_path / 'out.py')])
    printed = capsys.readouterr().out
    assert 'mirrored: none' in printed
    assert 'left_a is of the left, but there is no right_a' in printed


def test_options_that_do_not_fit(write, tmp_path):
    train = write()
    out = tmp_path / 'out.py'
    with pytest.raises(ConfigError, match=r'out.txt: expected .* \.py'):
        metainfo.main([train, str(tmp_path / 'out.txt')])
    with pytest.raises(ConfigError, match='--images: 2 folders for 1'):
        metainfo.main([train, str(out), '--images', 'a', 'b'])
    turned = write(
        lambda content: content['categories'][0].update(keypoints=['bulb', 'joint', 'foot']),
        'val.json',
    )
    with pytest.raises(
        DatasetError, match='val.json has the key points bulb, joint, foot: expected .*order: foot'
    ):
        metainfo.main([train, turned, str(out)])
    assert not out.exists()
    out.write_text('mine')
    with pytest.raises(WorkDirError, match='out.py is there already'):
        metainfo.main([train, str(out)])
    assert out.read_text() == 'mine'
    metainfo.main([train, str(out), '--overwrite'])
    assert 'dataset_info' in out.read_text()


def test_the_tool_says_it_in_one_line(write, tmp_path):
    done = run_tool('make_dataset_info.py', write(lack('images', 'height')), tmp_path / 'out.py')
    assert done.returncode == 2
    assert done.stdout.startswith('error: ')
    assert 'no height' in done.stdout
    assert 'Traceback' not in done.stdout


def test_second_labels_of_the_tool(write, tmp_path):
    points = np.tile([[40.0, 40, 2], [80, 80, 2], [20, 90, 2]], (12, 1, 1))
    first = write(lambda content: labelled(points, [100.0] * 12))
    points[..., 0] += 1
    second = write(lambda content: labelled(points, [100.0] * 12), 'two.json')
    out = tmp_path / 'out.py'
    metainfo.main([first, str(out), '--second-labels', second])
    info = parse_pose_metainfo(dict(from_file=str(out)))
    # One pixel apart on objects of 10 x 10: 1 / sqrt(2) / 10.
    assert info['sigmas'] == pytest.approx([0.0707] * 3)
    assert 'measured on 12 objects' in out.read_text()
