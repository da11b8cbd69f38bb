"""`MpiiDataset` and the synthetic dataset in MPII's format."""

import json
import shutil

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS
from mmpose.utils import register_all_modules
from scipy.io import loadmat

from pose_backbones.datasets.mpii import read_people
from pose_backbones.errors import DatasetError
from pose_backbones.synthetic import SyntheticDataError, make_synthetic_mpii
from tests.helpers.tools import run_tool

SEED = 3  # as in the fixture `synthetic`
#: index of a joint of MPII → index of the same keypoint of COCO
SHARED = {0: 16, 1: 14, 2: 12, 3: 11, 4: 13, 5: 15, 10: 10, 11: 8, 12: 6, 13: 5, 14: 7, 15: 9}


@pytest.fixture(autouse=True, scope='module')
def _mmpose_modules():
    register_all_modules()
    init_default_scope('mmpose')


@pytest.fixture(scope='module')
def mpii(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'mpii'
    make_synthetic_mpii(folder, 6, 10, seed=SEED)
    return folder


@pytest.fixture
def change_person(mpii, tmp_path):
    """Return a function that writes the validation annotations with changes to one person."""
    path = tmp_path / 'mpii_val.json'
    people = json.loads((mpii / 'annotations/mpii_val.json').read_text())

    def change(**changes):
        person = {**people[2], **changes}
        person = {k: v for k, v in person.items() if v is not None}
        path.write_text(json.dumps([*people[:2], person, *people[3:]]))
        return str(path)

    return change


def read(folder, split):
    return json.loads((folder / f'annotations/mpii_{split}.json').read_text())


def load(folder, split, **settings):
    return DATASETS.build(
        {
            **dict(
                type='pose_backbones.MpiiDataset',
                data_root=str(folder),
                ann_file=f'annotations/mpii_{split}.json',
                data_prefix=dict(img='images/'),
            ),
            **settings,
        }
    )


def coco_people(synthetic):
    """Return the people with keypoints in the synthetic dataset in COCO's format."""
    content = json.loads((synthetic / 'annotations/person_keypoints_val.json').read_text())
    return [a for a in content['annotations'] if a['num_keypoints']]


def test_people_are_those_of_synthetic_coco(mpii, synthetic):
    people, coco_entries = read(mpii, 'val'), coco_people(synthetic)
    assert len(people) == len(coco_entries) > 10
    for person, entry in zip(people, coco_entries):
        assert int(person['image'][:-4]) == entry['image_id']
        points = np.reshape(entry['keypoints'], (17, 3))
        for joint, keypoint in SHARED.items():
            x, y, v = points[keypoint]
            assert person['joints_vis'][joint] == (v > 0)
            expected = [x + 1, y + 1] if v else [-1, -1]
            assert person['joints'][joint] == pytest.approx(expected, abs=0.006)
    image = (mpii / 'images/000000002.jpg').read_bytes()
    assert image == (synthetic / 'val/000000000002.jpg').read_bytes()


def test_positions_of_midline_and_head_box(mpii, synthetic):
    """The pelvis is between the hips, and the head box contains neck, head top and face."""
    people = read(mpii, 'val')
    all_visible = np.array([person['joints_vis'] for person in people]) > 0
    assert all_visible[:, [2, 3, 6]].all(1).sum() > 3
    assert all_visible[:, [7, 8, 9]].all(1).sum() > 3
    for person, entry in zip(people, coco_people(synthetic), strict=True):
        joints, visible = np.array(person['joints']), np.array(person['joints_vis'])
        x1, y1, x2, y2 = person['headbox']
        height = max(joints[visible > 0, 1]) - y1
        if visible[[2, 3, 6]].all():
            middle = joints[[2, 3]].mean(0)
            assert np.linalg.norm(joints[6] - middle) < 0.03 * height
        if visible[[7, 8, 9]].all():
            assert abs(joints[[7, 8, 9]] - joints[8]).max() < 0.4 * height
            for point in joints[[8, 9]]:
                assert x1 <= point[0] <= x2
                assert y1 <= point[1] <= y2
        size = np.hypot(x2 - x1, y2 - y1)
        for x, y, v in np.reshape(entry['keypoints'], (17, 3))[:3]:
            if v:  # the eyes, and the nose, which may be slightly outside
                assert x1 - 0.1 * size <= x + 1 <= x2 + 0.1 * size
                assert y1 <= y + 1 <= y2
        assert 0.12 * height < size < 0.6 * height


def test_matlab_file_matches_json_file(mpii):
    people = read(mpii, 'val')
    content = loadmat(mpii / 'annotations/mpii_gt_val.mat')
    assert [str(name[0]) for name in content['dataset_joints'][0]] == (
        'rank rkne rhip lhip lkne lank pelv thor neck head rwri relb rsho lsho lelb lwri'.split()
    )
    for number, person in enumerate(people):
        np.testing.assert_array_equal(
            content['headboxes_src'][..., number].ravel(), person['headbox']
        )
        np.testing.assert_array_equal(content['pos_gt_src'][..., number], person['joints'])
        np.testing.assert_array_equal(
            content['jnt_missing'][:, number], 1 - np.array(person['joints_vis'])
        )


def test_same_seed_gives_identical_files(mpii, tmp_path):
    again = tmp_path / 'again'
    assert not make_synthetic_mpii(again, 6, 10, seed=SEED).existed
    names = {p.relative_to(mpii) for p in mpii.rglob('*.*')}
    assert len(names) == 16 + 4 + 1
    for name in names:
        assert (mpii / name).read_bytes() == (again / name).read_bytes()
    assert make_synthetic_mpii(again, 6, 10, seed=SEED).existed
    assert make_synthetic_mpii(again, 1, 1, seed=SEED, overwrite=True).images == 2
    assert len(list((again / 'images').iterdir())) == 2


def test_layouts_do_not_overwrite_each_other(synthetic):
    with pytest.raises(SyntheticDataError, match='no synthetic dataset of this format'):
        make_synthetic_mpii(synthetic, 2, 2, overwrite=True)


def test_tool_writes_mpii_format(mpii, tmp_path):
    process = run_tool(
        'make_synthetic_coco.py',
        tmp_path / 'a',
        '--format',
        'mpii',
        '--train',
        1,
        '--val',
        2,
        '--seed',
        SEED,
    )
    assert process.returncode == 0, process.stdout
    entries = read(tmp_path / 'a', 'val')
    assert entries == read(mpii, 'val')[: len(entries)]
    assert '3 images' in process.stdout


def test_pixels_count_from_0(mpii):
    """Bounding boxes equal those of MMPose's dataset; its joints are larger by one pixel."""
    settings = dict(test_mode=True, headbox_file=str(mpii / 'annotations/mpii_gt_val.mat'))
    data = load(mpii, 'val', **settings)
    mmpose_data = load(mpii, 'val', type='MpiiDataset', **settings)
    people = read(mpii, 'val')
    assert len(data) == len(mmpose_data) == len(people)
    for number, person in enumerate(people):
        sample, expected = data.get_data_info(number), mmpose_data.get_data_info(number)
        assert sample['id'] == expected['id'] == number
        for name in ('img_id', 'img_path'):
            assert sample[name] == expected[name]
        for name in ('bbox', 'head_size', 'keypoints_visible'):
            np.testing.assert_allclose(sample[name], expected[name], atol=1e-3)
        np.testing.assert_allclose(sample['keypoints'], expected['keypoints'] - 1, atol=1e-4)
        # The box contains most of the visible joints.
        x1, y1, x2, y2 = sample['bbox'][0]
        visible = np.array(person['joints_vis'], bool)
        x, y = np.array(person['joints'])[visible].T - 1
        assert x2 - x1 == pytest.approx(200 * person['scale'], abs=1e-2)
        assert ((x >= x1 - 9) & (x <= x2 + 9)).mean() > 0.8
        assert ((y >= y1 - 9) & (y <= y2 + 9)).mean() > 0.8


def test_head_boxes_from_either_file(mpii):
    by_mat = load(
        mpii, 'val', test_mode=True, headbox_file=str(mpii / 'annotations/mpii_gt_val.mat')
    )
    by_json = load(mpii, 'val', test_mode=True)
    for number, person in enumerate(read(mpii, 'val')):
        x1, y1, x2, y2 = person['headbox']
        size = 0.6 * np.hypot(x2 - x1, y2 - y1)
        for data in (by_mat, by_json):
            assert data.get_data_info(number)['head_size'] == (pytest.approx(np.array([[size]])))


def test_test_split_has_no_joints(mpii):
    """All people are loaded in test mode; loading the split for training raises."""
    data = load(mpii, 'test', test_mode=True)
    val = load(mpii, 'val', test_mode=True)
    assert len(data) == len(val)
    for number in range(len(val)):
        person = data.get_data_info(number)
        np.testing.assert_array_equal(person['bbox'], val.get_data_info(number)['bbox'])
        assert not person['keypoints_visible'].any()
        assert 'head_size' not in person
    with pytest.raises(DatasetError, match='people have no joints'):
        load(mpii, 'test')


@pytest.mark.parametrize(
    'changes', [dict(joints_vis=[0] * 16), dict(scale=-1), dict(center=[-1, -1])]
)
def test_invalid_people_are_skipped_in_training(mpii, change_person, changes):
    path = change_person(**changes)
    count = len(read(mpii, 'val'))
    assert len(load(mpii, 'val', ann_file=path)) == count - 1
    if 'joints_vis' in changes:
        assert len(load(mpii, 'val', ann_file=path, test_mode=True)) == count
    else:
        with pytest.raises(DatasetError, match='person 2 has no position'):
            load(mpii, 'val', ann_file=path, test_mode=True)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(image='figure.jpg'), "image is 'figure.jpg': expected a file name"),
        (dict(center=[4]), r'center is \[4\]: expected 2 numbers'),
        (dict(scale='big'), 'scale is big: expected a number'),
        (dict(joints=[[1, 2]] * 17), 'joints is .*: expected 16 x 2 numbers'),
        (dict(joints_vis=[1] * 15), 'joints_vis is .*: expected 16 numbers'),
        (dict(joints=[[1, None]] * 16), 'joints .*: expected 16 x 2'),
        (dict(joints_vis=None), 'joints_vis is None: expected 16 numbers'),
        (dict(headbox=[5, 5, 5, 9]), r'the head box \[5.*\] is empty'),
        (dict(headbox=[5, 5, 9]), 'headbox is .*: expected 4 numbers'),
    ],
)
def test_invalid_entries_raise(change_person, changes, message):
    with pytest.raises(DatasetError, match=f'person 2: {message}'):
        read_people(change_person(**changes))


def test_files_in_another_format_raise(mpii, synthetic, tmp_path):
    with pytest.raises(DatasetError, match='is not a list of people in HRNet'):
        read_people(str(synthetic / 'annotations/person_keypoints_val.json'))
    with pytest.raises(DatasetError, match='cannot read the annotations'):
        read_people(str(tmp_path / 'none.json'))
    boxes = str(mpii / 'annotations/mpii_gt_val.mat')
    train = str(mpii / 'annotations/mpii_train.json')
    with pytest.raises(DatasetError, match='head boxes belong to other people'):
        read_people(train, boxes)
    broken = tmp_path / 'broken.mat'
    shutil.copy(train, broken)
    with pytest.raises(DatasetError, match='cannot read head boxes: .*broken'):
        read_people(train, str(broken))
