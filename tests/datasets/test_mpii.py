"""MPII: drawn in its layout, read with pixels from 0, checked."""

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

SEED = 3  # that of the fixture `synthetic`
#: MPII's joints that COCO has too → COCO's
SHARED = {0: 16, 1: 14, 2: 12, 3: 11, 4: 13, 5: 15, 10: 10, 11: 8, 12: 6, 13: 5, 14: 7, 15: 9}


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()
    init_default_scope('mmpose')


@pytest.fixture(scope='module')
def mpii(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'mpii'
    make_synthetic_mpii(folder, 6, 10, seed=SEED)
    return folder


@pytest.fixture
def spoilt(mpii, tmp_path):
    """A copy of the validation people, to be changed and read again."""
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
    """The same drawn people in COCO's file, image by image."""
    content = json.loads((synthetic / 'annotations/person_keypoints_val.json').read_text())
    return [a for a in content['annotations'] if a['num_keypoints']]


def test_the_drawn_people_are_those_of_coco(mpii, synthetic):
    people, others = read(mpii, 'val'), coco_people(synthetic)
    assert len(people) == len(others) > 10
    for ours, theirs in zip(people, others):
        assert int(ours['image'][:-4]) == theirs['image_id']
        points = np.reshape(theirs['keypoints'], (17, 3))
        for joint, other in SHARED.items():
            x, y, v = points[other]
            assert ours['joints_vis'][joint] == (v > 0)
            expected = [x + 1, y + 1] if v else [-1, -1]
            assert ours['joints'][joint] == pytest.approx(expected, abs=0.006)
    ours = (mpii / 'images/000000002.jpg').read_bytes()
    assert ours == (synthetic / 'val/000000000002.jpg').read_bytes()


def test_the_middle_of_the_drawn_people(mpii, synthetic):
    """Pelvis between the hips, the neck below the head, the nose in it."""
    people = read(mpii, 'val')
    shown = np.array([one['joints_vis'] for one in people]) > 0
    assert shown[:, [2, 3, 6]].all(1).sum() > 3
    assert shown[:, [7, 8, 9]].all(1).sum() > 3
    for ours, theirs in zip(people, coco_people(synthetic), strict=True):
        joints, seen = np.array(ours['joints']), np.array(ours['joints_vis'])
        x1, y1, x2, y2 = ours['headbox']
        height = max(joints[seen > 0, 1]) - y1
        if seen[[2, 3, 6]].all():
            middle = joints[[2, 3]].mean(0)
            assert np.linalg.norm(joints[6] - middle) < 0.03 * height
        if seen[[7, 8, 9]].all():
            assert abs(joints[[7, 8, 9]] - joints[8]).max() < 0.4 * height
            for point in joints[[8, 9]]:
                assert x1 <= point[0] <= x2
                assert y1 <= point[1] <= y2
        size = np.hypot(x2 - x1, y2 - y1)
        for x, y, v in np.reshape(theirs['keypoints'], (17, 3))[:3]:
            if v:  # the eyes, and the nose, which stands out a little
                assert x1 - 0.1 * size <= x + 1 <= x2 + 0.1 * size
                assert y1 <= y + 1 <= y2
        assert 0.12 * height < size < 0.6 * height


def test_the_matlab_file_holds_the_same(mpii):
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


def test_the_same_seed_gives_the_same_files(mpii, tmp_path):
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


def test_the_tool_writes_it(mpii, tmp_path):
    done = run_tool(
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
    assert done.returncode == 0, done.stdout
    some = read(tmp_path / 'a', 'val')
    assert some == read(mpii, 'val')[: len(some)]
    assert '3 images' in done.stdout


def test_pixels_count_from_0(mpii):
    """Boxes as the host has them, joints one less; order of the file."""
    settings = dict(test_mode=True, headbox_file=str(mpii / 'annotations/mpii_gt_val.mat'))
    ours = load(mpii, 'val', **settings)
    hosts = load(mpii, 'val', type='MpiiDataset', **settings)
    people = read(mpii, 'val')
    assert len(ours) == len(hosts) == len(people)
    for number, person in enumerate(people):
        mine, theirs = ours.get_data_info(number), hosts.get_data_info(number)
        assert mine['id'] == theirs['id'] == number
        for name in ('img_id', 'img_path'):
            assert mine[name] == theirs[name]
        for name in ('bbox', 'head_size', 'keypoints_visible'):
            np.testing.assert_allclose(mine[name], theirs[name], atol=1e-3)
        np.testing.assert_allclose(mine['keypoints'], theirs['keypoints'] - 1, atol=1e-4)
        # The box is around what is seen of the person.
        x1, y1, x2, y2 = mine['bbox'][0]
        seen = np.array(person['joints_vis'], bool)
        x, y = np.array(person['joints'])[seen].T - 1
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
        for dataset in (by_mat, by_json):
            assert dataset.get_data_info(number)['head_size'] == (pytest.approx(np.array([[size]])))


def test_the_test_split(mpii):
    """No joints: nothing to train on, nobody left out."""
    dataset = load(mpii, 'test', test_mode=True)
    val = load(mpii, 'val', test_mode=True)
    assert len(dataset) == len(val)
    for number in range(len(val)):
        person = dataset.get_data_info(number)
        np.testing.assert_array_equal(person['bbox'], val.get_data_info(number)['bbox'])
        assert not person['keypoints_visible'].any()
        assert 'head_size' not in person
    with pytest.raises(DatasetError, match='people have no joints'):
        load(mpii, 'test')


@pytest.mark.parametrize(
    'changes', [dict(joints_vis=[0] * 16), dict(scale=-1), dict(center=[-1, -1])]
)
def test_people_that_cannot_be_trained_on(mpii, spoilt, changes):
    path = spoilt(**changes)
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
        (dict(joints=[[1, float('nan')]] * 16), 'joints .*: expected 16 x 2'),
        (dict(joints_vis=None), 'joints_vis is None: expected 16 numbers'),
        (dict(headbox=[5, 5, 5, 9]), r'the head box \[5.*\] is empty'),
        (dict(headbox=[5, 5, 9]), 'headbox is .*: expected 4 numbers'),
    ],
)
def test_entries_that_are_wrong(spoilt, changes, message):
    with pytest.raises(DatasetError, match=f'person 2: {message}'):
        read_people(spoilt(**changes))


def test_files_that_are_no_mpii(mpii, synthetic, tmp_path):
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
