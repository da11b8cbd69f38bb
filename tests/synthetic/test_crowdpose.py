"""Tests of synthetic people in CrowdPose's format, and of the crowd index."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from mmpose.datasets import CrowdPoseDataset
from mmpose.evaluation.metrics import CocoMetric
from mmpose.utils import register_all_modules
from xtcocotools.coco import COCO

from pose_backbones.cli.make_synthetic_coco import main
from pose_backbones.errors import DatasetError
from pose_backbones.synthetic import (
    KEYPOINT_NAMES,
    Crowding,
    SyntheticDataError,
    crowd_index,
    encode_crowdpose_person,
    make_synthetic_coco,
    make_synthetic_crowdpose,
    render_scene,
)

TRAIN, VAL = 12, 40
TEST = 'annotations/mmpose_crowdpose_test.json'


@pytest.fixture(autouse=True, scope='module')
def _mmpose_metainfo():
    register_all_modules()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'crowdpose'
    summary = make_synthetic_crowdpose(out, TRAIN, VAL, seed=1)
    assert summary.images == TRAIN + VAL
    return out


@pytest.fixture(scope='module')
def truth(data):
    return COCO(str(data / TEST))


def levels(images):
    """Return the numbers of images that xtcocotools counts as easy, medium and hard."""
    values = np.array([image['crowdIndex'] for image in images])
    return [
        int(part.sum()) for part in (values < 0.2, (values >= 0.2) & (values < 0.8), values >= 0.8)
    ]


def test_layout_matches_the_config(data, root):
    base = root / 'configs/_base_/datasets'
    for name in ('bu_crowdpose.py', 'td_crowdpose.py'):
        config = Config.fromfile(str(base / name))
        for split in ('train', 'val'):
            dataset = config[f'{split}_dataloader'].dataset
            assert (data / dataset.ann_file).is_file()
            assert (data / dataset.data_prefix.img).is_dir()
        boxes = config.val_dataloader.dataset.get('bbox_file')
        if boxes is not None:
            assert (data / boxes.removeprefix(config.data_root)).is_file()


def test_keypoints_match_mmpose(data, truth):
    dataset = CrowdPoseDataset(
        data_root=str(data), data_mode='bottomup', ann_file=TEST, data_prefix=dict(img='images/')
    )
    names = list(dataset.metainfo['keypoint_id2name'].values())
    assert truth.cats[1]['keypoints'] == names
    assert len(dataset) == len({a['image_id'] for a in truth.anns.values()})
    for person_entry in truth.anns.values():
        joints = np.array(person_entry['keypoints']).reshape(14, 3)
        assert set(person_entry) == {
            'id',
            'image_id',
            'category_id',
            'iscrowd',
            'num_keypoints',
            'keypoints',
            'bbox',
        }
        assert person_entry['num_keypoints'] == (joints[:, 2] == 2).sum()
        assert person_entry['iscrowd'] == 0
        assert (joints[joints[:, 2] == 0] == 0).all()


def test_skeleton_and_head_position():
    names = KEYPOINT_NAMES
    upright = 0
    for seed in range(8):
        scene = render_scene(np.random.default_rng(seed), (192, 160), Crowding((2, 3), 0.0))
        for person in scene.people:
            if person.iscrowd:
                continue
            encoded = encode_crowdpose_person(person, 5, 6)
            joints = np.array(encoded['keypoints']).reshape(14, 3)
            np.testing.assert_allclose(joints[:12], person.joints[names.index('left_shoulder') :])
            top, neck = joints[12:]
            if person.midline is None:
                assert not joints.any()
            elif top[2] and neck[2] and person.action == 'stand':
                upright += 1
                assert top[1] < neck[1] < joints[6:8, 1].max()
                np.testing.assert_allclose(
                    (top[:2], neck[:2]), person.midline.points[[3, 2]], atol=0.01
                )
    assert upright > 3


def annotation(box, *points):
    keypoints = np.zeros((14, 3))
    keypoints[: len(points)] = np.reshape(points, (-1, 3))
    return {'bbox': box, 'keypoints': keypoints.ravel().tolist()}


def test_crowd_index():
    first = annotation(
        [0, 0, 10, 10], (1, 1, 2), (9, 9, 1), (5, 5, 2), (50, 50, 2)
    )  # three of its own keypoints inside
    second = annotation([4, 4, 10, 10], (5, 4, 2), (12, 12, 2))
    # One keypoint of the second is in the box of the first, and two are vice versa.
    assert crowd_index([first, second]) == pytest.approx((1 / 3 + 2 / 2) / 2)
    assert crowd_index([first]) == 0
    assert crowd_index([]) == 0
    unlabelled = annotation([0, 0, 99, 99])
    assert crowd_index([unlabelled]) == 0
    close = annotation([0, 0, 99, 99], (20, 20, 2))
    assert crowd_index([close, first]) == 1  # (4 / 1 + 0) / 2, clipped


def test_all_crowding_levels_occur(data):
    for name, least in (('trainval', 1), ('test', 5)):
        content = json.loads((data / f'annotations/mmpose_crowdpose_{name}.json').read_text())
        assert min(levels(content['images'])) >= least
        for image in content['images']:
            people = [a for a in content['annotations'] if a['image_id'] == image['id']]
            assert image['crowdIndex'] == pytest.approx(crowd_index(people), abs=1e-4)


def evaluate(truth, path, move=lambda image, person_entry, points: points):
    """Return the AP of the labelled keypoints after applying `move`."""
    metric = CocoMetric(
        str(path),
        iou_type='keypoints_crowd',
        use_area=False,
        nms_mode='none',
        score_mode='keypoint',
        prefix='crowdpose',
    )
    metric.dataset_meta = CrowdPoseDataset(ann_file='', lazy_init=True).metainfo
    for number, image in truth.imgs.items():
        people = truth.loadAnns(truth.getAnnIds(imgIds=number))
        points = [
            move(image, person_entry, np.array(person_entry['keypoints'], float).reshape(14, 3))
            for person_entry in people
            if person_entry['num_keypoints']
        ]
        points = np.array(points).reshape(-1, 14, 3)
        metric.process(
            {},
            [
                dict(
                    id=[person_entry['id'] for person_entry in people],
                    img_id=number,
                    pred_instances=dict(
                        keypoints=points[..., :2], keypoint_scores=np.full(points.shape[:2], 0.9)
                    ),
                    gt_instances={},
                )
            ],
        )
    result = metric.evaluate(len(truth.imgs))
    return [result[f'crowdpose/AP{level}'] for level in ('', '(E)', '(M)', '(H)')]


def test_perfect_predictions_have_ap_one_at_each_level(data, truth):
    assert evaluate(truth, data / TEST) == pytest.approx([1] * 4)


@pytest.mark.parametrize(('level', 'low', 'high'), [(1, 0, 0.2), (2, 0.2, 0.8), (3, 0.8, 2)])
def test_errors_lower_only_the_ap_of_their_level(data, truth, level, low, high):
    def move(image, person_entry, points):
        if low <= image['crowdIndex'] < high:
            points = points + (0.3 * person_entry['bbox'][2], 0, 0)
        return points

    ap_by_level = evaluate(truth, data / TEST, move)
    wrong_level_ap = ap_by_level.pop(level)
    assert wrong_level_ap < 0.7
    assert ap_by_level.pop(0) < 0.97
    assert ap_by_level == pytest.approx([1] * 2)


def test_number_of_people_per_image(tmp_path):
    coco = tmp_path / 'coco'
    make_synthetic_coco(coco, 8, 0, people=(5, 5), image_size=(256, 192))
    content = json.loads((coco / 'annotations/person_keypoints_train.json').read_text())
    counts = [
        sum(a['image_id'] == image['id'] and not a['iscrowd'] for a in content['annotations'])
        for image in content['images']
    ]
    # A person may be occluded or far away.
    assert np.mean(counts) > 4
    assert max(counts) <= 6
    with pytest.raises(SyntheticDataError, match='other parameters'):
        make_synthetic_coco(coco, 8, 0, image_size=(256, 192))
    for people in ((3, 2), (-1, 2), (1, 13), (1, 2, 3)):
        with pytest.raises(SyntheticDataError, match='expected people as the min'):
            make_synthetic_coco(tmp_path / 'x', 1, 0, people=people)


def test_crowding_close_fraction():
    def crowding(close):
        values = []
        for seed in range(12):
            scene = render_scene(np.random.default_rng(seed), (192, 160), Crowding((3, 3), close))
            values.append(
                crowd_index(
                    [encode_crowdpose_person(p, 1, 1) for p in scene.people if not p.iscrowd]
                )
            )
        return np.mean(values)

    assert crowding(0.0) + 0.2 < crowding(1.0)


def test_tool_writes_crowdpose(tmp_path, capsys):
    argv = [
        str(tmp_path / 'o'),
        '--format',
        'crowdpose',
        '--train',
        '1',
        '--val',
        '1',
        '--image-size',
        '96',
        '80',
        '--people',
        '2',
        '3',
    ]
    main(argv)
    assert capsys.readouterr().out.startswith('2 images, ')
    manifest = json.loads((tmp_path / 'o/synthetic.json').read_text())
    assert manifest['people_per_image'] == [2, 3]
    main(argv)
    assert capsys.readouterr().out.startswith('already exists: 2 images')
    with pytest.raises(DatasetError, match='contains no synthetic dataset'):
        main([str(tmp_path / 'o'), '--train', '1'])
