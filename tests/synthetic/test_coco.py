"""Tests of synthetic people: geometry, drawing, files and the tool."""

import io
import json
import os
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from tqdm import tqdm
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from pose_backbones.cli import make_synthetic_coco as command
from pose_backbones.synthetic import (
    ACTIONS,
    BONES,
    JOINT_LIMITS,
    KEYPOINT_NAMES,
    POSES,
    SyntheticDataError,
    draw_person,
    encode_polygons,
    encode_rle,
    forward_kinematics,
    limit,
    make_synthetic_coco,
    make_synthetic_crowdpose,
    make_synthetic_mpii,
    project,
    render_scene,
    sample_action,
    sample_body,
    sample_look,
    sample_pose,
)
from tests.helpers.report_cases import SIGMAS
from tests.helpers.tools import run_tool

TOOL = Path(__file__).parents[2] / 'tools' / 'make_synthetic_coco.py'
INDEX = {name: i for i, name in enumerate(KEYPOINT_NAMES)}
TRAIN, VAL = 50, 50


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp('synthetic') / 'coco'
    calls = []
    summary = make_synthetic_coco(
        out, TRAIN, VAL, seed=3, progress=lambda done, total: calls.append((done, total))
    )
    assert summary.images == TRAIN + VAL
    assert calls == [(i + 1, TRAIN + VAL) for i in range(TRAIN + VAL)]
    return out


@pytest.fixture(scope='module')
def cocos(data):
    return {s: COCO(str(data / f'annotations/person_keypoints_{s}.json')) for s in ('train', 'val')}


@pytest.fixture(scope='module')
def scenes():
    return [render_scene(np.random.default_rng([17, i])) for i in range(80)]


@pytest.fixture(scope='module')
def sports():
    return [render_scene(np.random.default_rng([18, i]), poses='sports') for i in range(40)]


@pytest.fixture
def tool(capsys, monkeypatch):
    """Return a function that runs the tool in this process; it returns status, stdout, stderr."""

    def start(*argv):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, argv)])
        status = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, '_exit', sys.exit)
            # This module installs signal handlers, which only a separate process needs.
            patch.setitem(sys.modules, '_start', ModuleType('_start'))
            try:
                runpy.run_path(str(TOOL), run_name='__main__')
            except SystemExit as end:
                status = end.code or 0
        return status, *capsys.readouterr()

    return start


def _files(root):
    return {
        str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()
    }


def _read(path):
    return json.loads(path.read_text(encoding='utf-8'))


def _angle(a, b):
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


# Skeleton


@pytest.mark.parametrize('poses', POSES)
@pytest.mark.parametrize('action', sorted(ACTIONS))
def test_poses_are_within_joint_limits(action, poses):
    rng = np.random.default_rng(1)
    for _ in range(40):
        body = sample_body(rng)
        pose = sample_pose(rng, action, poses)
        for name, value in pose.items():
            if name not in ('yaw', 'pitch', 'roll', 'lift'):
                lo, hi = limit(name)
                assert lo <= value <= hi, name
        points = forward_kinematics(body, pose).points
        for side in ('left', 'right'):
            s, e, w = (points[f'{side}_{n}'] for n in ('shoulder', 'elbow', 'wrist'))
            h, k, a, heel = (points[f'{side}_{n}'] for n in ('hip', 'knee', 'ankle', 'heel'))
            assert np.linalg.norm(e - s) == pytest.approx(body.upper_arm)
            assert np.linalg.norm(w - e) == pytest.approx(body.forearm)
            assert np.linalg.norm(k - h) == pytest.approx(body.thigh)
            assert np.linalg.norm(a - k) == pytest.approx(body.shank)
            assert _angle(e - s, w - e) == pytest.approx(pose[f'{side}_elbow'], abs=1e-4)
            assert _angle(k - h, a - k) == pytest.approx(pose[f'{side}_knee'], abs=1e-4)
            assert np.linalg.norm(heel - a) == pytest.approx(np.hypot(0.03, 0.022))


def test_poses_of_sports_have_all_directions():
    rng = np.random.default_rng(4)
    facing, upright = {}, {}
    for poses in POSES:
        people = []
        for _ in range(400):
            pose = sample_pose(rng, sample_action(rng, poses), poses)
            people.append(forward_kinematics(sample_body(rng), pose))
        facing[poses] = np.mean([person.chest[2, 2] > 0 for person in people])
        upright[poses] = np.mean([person.chest[1, 1] > 0.7 for person in people])
    assert facing['everyday'] > 0.9
    assert 0.4 < facing['sports'] < 0.6
    assert upright['everyday'] > 0.9
    assert 0.5 < upright['sports'] < 0.75


def test_bone_lengths_do_not_depend_on_the_pose():
    rng = np.random.default_rng(2)
    body = sample_body(rng)
    lengths = []
    for action in ACTIONS:
        for _ in range(5):
            p = forward_kinematics(body, sample_pose(rng, action)).points
            lengths.append([np.linalg.norm(p[a] - p[b]) for a, b in BONES])
    np.testing.assert_allclose(lengths, [lengths[0]] * len(lengths), rtol=1e-9)


def test_knees_bend_backward_and_elbows_forward():
    body = sample_body(np.random.default_rng(0))
    pose = dict.fromkeys(sample_pose(np.random.default_rng(0), 'stand'), 0.0)
    pose['left_knee'] = pose['left_elbow'] = 90.0
    points = forward_kinematics(body, pose).points
    assert points['left_ankle'][2] == pytest.approx(points['left_knee'][2] - body.shank)
    assert points['left_wrist'][2] == pytest.approx(points['left_elbow'][2] + body.forearm)
    assert points['left_hip'][0] == pytest.approx(body.hip_half)
    assert points['right_hip'][0] == pytest.approx(-body.hip_half)


def test_proportions_and_ground():
    rng = np.random.default_rng(4)
    for _ in range(50):
        body = sample_body(rng)
        points = forward_kinematics(body, sample_pose(rng, 'stand')).points
        top = points['head'][1] + 0.068 * body.head
        assert 0.88 < top < 1.08
        assert min(p[1] for p in points.values()) == pytest.approx(0.005, abs=1e-6)
    with pytest.raises(ValueError, match='unknown action'):
        sample_pose(rng, 'fly')
    with pytest.raises(ValueError, match='unknown joint angle'):
        limit('left_wing')
    assert limit('left_knee') == JOINT_LIMITS['knee']


# Person


def _drawn_person(yaw, seed=5, **changes):
    rng = np.random.default_rng(seed)
    body = sample_body(rng)
    pose = sample_pose(rng, 'stand')
    for name in pose:
        pose[name] = 0.0
    pose.update(yaw=yaw, left_shoulder_abd=8.0, right_shoulder_abd=8.0, **changes)
    look = sample_look(rng, body)
    proj = project(forward_kinematics(body, pose), (100, 280), 260)
    light = np.array((0.0, -0.6, 0.8))
    return draw_person(proj, body, look, light, (200, 300))


def test_all_joints_are_visible_from_the_front():
    joints = _drawn_person(0).joints
    ears = [INDEX['left_ear'], INDEX['right_ear']]
    assert (np.delete(joints[:, 2], ears) == 2).all()
    for name in ('eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle'):
        left, right = (joints[INDEX[f'{s}_{name}']] for s in ('left', 'right'))
        assert left[0] > right[0] + 3


def test_face_is_not_visible_from_the_back():
    joints = _drawn_person(180).joints
    assert joints[:3, 2].tolist() == [0, 0, 0]
    assert (joints[3:5, 2] > 0).all()
    assert (joints[5:7, 2] == 2).all()
    assert joints[INDEX['left_shoulder'], 0] < joints[INDEX['right_shoulder'], 0]


@pytest.mark.parametrize(('yaw', 'far', 'near'), [(90, 'left', 'right'), (-90, 'right', 'left')])
def test_far_side_is_occluded_in_side_view(yaw, far, near):
    joints = _drawn_person(yaw).joints
    assert joints[INDEX[f'{far}_shoulder'], 2] == 1
    assert joints[INDEX[f'{far}_wrist'], 2] == 1
    assert joints[INDEX[f'{near}_shoulder'], 2] == 2
    assert joints[INDEX[f'{near}_elbow'], 2] == 2
    assert joints[INDEX[f'{near}_wrist'], 2] == 2
    assert joints[INDEX[f'{far}_ear'], 2] == 0
    assert joints[INDEX[f'{near}_eye'], 2] == 2


def test_forearm_behind_the_back_is_occluded():
    shown = _drawn_person(
        0, left_shoulder_rot=80.0, left_elbow=100.0, left_shoulder_flex=10.0
    ).joints
    hidden = _drawn_person(
        180, left_shoulder_rot=80.0, left_elbow=100.0, left_shoulder_flex=10.0
    ).joints
    assert shown[INDEX['left_wrist'], 2] == 2
    assert hidden[INDEX['left_wrist'], 2] == 1


# Scene


def test_scene_is_deterministic_and_checks_size():
    first, second = (render_scene(np.random.default_rng(8), (200, 160)) for _ in range(2))
    assert first.image.shape == (160, 200, 3)
    assert first.image.dtype == np.uint8
    np.testing.assert_array_equal(first.image, second.image)
    for a, b in zip(first.people, second.people, strict=True):
        np.testing.assert_array_equal(a.joints, b.joints)
    with pytest.raises(ValueError, match='64 to 4096'):
        render_scene(np.random.default_rng(0), (10, 100))


def test_people_labels_are_consistent(scenes, sports):
    on_body = []
    for scene in scenes + sports:
        total = np.zeros(scene.image.shape[:2], int)
        for person in scene.people:
            total += person.mask
            assert person.area == person.mask.sum()
            ys, xs = np.nonzero(person.mask)
            assert person.bbox == (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
            near = cv2.dilate(person.mask.astype(np.uint8), np.ones((5, 5), np.uint8))
            for x, y, v in person.joints:
                if v == 2:
                    on_body.append(near[round(y), round(x)])
        assert total.max() <= 1
    assert len(on_body) > 1000
    assert np.mean(on_body) > 0.98


def test_poses_of_sports_are_drawn(scenes, sports):
    upside_down, from_behind = [], []
    for people in (scenes, sports):
        joints = [p.joints for s in people for p in s.people if p.joints[5:, 2].all()]
        points = np.array(joints)[..., :2]
        hips, shoulders = points[:, 11:13].mean(1), points[:, 5:7].mean(1)
        upside_down.append((shoulders[:, 1] > hips[:, 1]).mean())
        from_behind.append((points[:, 5, 0] < points[:, 6, 0]).mean())
    assert upside_down[0] < 0.05
    assert 0.1 < upside_down[1] < 0.35
    assert from_behind[0] < 0.2
    assert 0.3 < from_behind[1] < 0.7


def test_left_and_right_are_consistent(scenes):
    counts = {'front': [], 'back': []}
    for scene in scenes:
        for p in scene.people:
            a, b = (p.joints[INDEX[f'{s}_shoulder']] for s in ('left', 'right'))
            if p.action in ('lie', 'handstand') or not a[2] or not b[2]:
                continue
            if abs(p.yaw) < 40:
                counts['front'].append(a[0] > b[0])
            elif abs(p.yaw) > 140:
                counts['back'].append(a[0] < b[0])
    assert len(counts['front']) > 40
    assert len(counts['back']) > 10
    assert all(counts['front'])
    assert all(counts['back'])


def test_statistics(scenes):
    people = [p for s in scenes for p in s.people]
    posed = [p for p in people if (p.joints[:, 2] > 0).any()]
    v = np.stack([p.joints[:, 2] for p in posed])
    assert 1.8 < len(people) / len(scenes) < 3.6
    assert 0.05 < (v == 1).mean() < 0.20
    assert 0.01 < (v == 0).mean() < 0.10
    assert 0.75 < (v == 2).mean() < 0.93
    assert ((v[:, 5:] == 2).mean(1) < 0.5).mean() < 0.2
    crowds = sum(any(p.iscrowd for p in s.people) for s in scenes)
    assert 0.02 < crowds / len(scenes) < 0.18
    bare = [p for p in people if not p.iscrowd and not (p.joints[:, 2] > 0).any()]
    assert 0.005 < len(bare) / len(people) < 0.12
    heights = np.array([p.stature for p in posed])
    assert heights.min() >= 45
    assert heights.max() < 1.6 * 288
    assert np.percentile(heights, 10) < 80
    assert np.percentile(heights, 90) > 160
    upright = [p.action not in ('sit', 'crouch', 'lie', 'handstand') for p in posed]
    assert 0.75 < np.mean(upright) < 0.97


# Files


def test_same_seed_gives_identical_files(tmp_path):
    make_synthetic_coco(tmp_path / 'a', 4, 3, seed=1, image_size=(160, 128))
    make_synthetic_coco(tmp_path / 'b', 4, 3, seed=1, image_size=(160, 128))
    make_synthetic_coco(tmp_path / 'c', 4, 3, seed=2, image_size=(160, 128))
    make_synthetic_coco(tmp_path / 'd', 6, 5, seed=1, image_size=(160, 128))
    a, b, c, d = (_files(tmp_path / n) for n in 'abcd')
    assert a == b
    assert len(a) == 4 + 3 + 2 + 1 + 1
    assert sorted(a) == sorted(c)
    images = [n for n in a if n.endswith('.jpg')]
    assert 'train/000000000001.jpg' in images
    assert all(a[n] != c[n] for n in images)
    assert all(a[n] == d[n] for n in images)
    assert len({a[n] for n in images}) == 7
    for split in ('train', 'val'):
        name = f'annotations/person_keypoints_{split}.json'
        few, many = json.loads(a[name]), json.loads(d[name])
        ids = {i['id'] for i in few['images']}
        assert many['images'][: len(ids)] == few['images']
        assert [x for x in many['annotations'] if x['image_id'] in ids] == few['annotations']
    name = 'person_detection_results/val_detections.json'
    few, many = json.loads(a[name]), json.loads(d[name])
    assert many[: len(few)] == few


def test_image_ids_and_files(data, cocos):
    images = {s: set(c.imgs) for s, c in cocos.items()}
    anns = {s: set(c.anns) for s, c in cocos.items()}
    assert not images['train'] & images['val']
    assert not anns['train'] & anns['val']
    assert min(images['train']) == 1
    assert min(anns['train'] | anns['val']) >= 1
    assert (len(images['train']), len(images['val'])) == (TRAIN, VAL)
    for split, coco in cocos.items():
        assert coco.cats[1]['keypoints'] == list(KEYPOINT_NAMES)
        assert len(coco.cats[1]['skeleton']) == 19
        for info in coco.imgs.values():
            image = cv2.imread(str(data / split / info['file_name']))
            assert image.shape == (info['height'], info['width'], 3)
    shapes = {(i['width'] > i['height']) for c in cocos.values() for i in c.imgs.values()}
    assert shapes == {True, False}


def test_annotations_match_the_masks(cocos):
    crowds = 0
    for coco in cocos.values():
        for ann in coco.anns.values():
            info = coco.imgs[ann['image_id']]
            mask = coco.annToMask(ann)
            assert abs(int(mask.sum()) - ann['area']) <= max(0.03 * ann['area'], 2)
            ys, xs = np.nonzero(mask)
            x, y, w, h = ann['bbox']
            box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            np.testing.assert_allclose((x, y, x + w, y + h), box, atol=1.5)
            joints = np.array(ann['keypoints']).reshape(17, 3)
            shown = joints[:, 2] > 0
            assert set(joints[:, 2]) <= {0, 1, 2}
            assert ann['num_keypoints'] == shown.sum()
            assert (joints[~shown] == 0).all()
            assert (joints[:, :2] >= 0).all()
            assert (joints[:, 0] <= info['width'] - 1).all()
            assert (joints[:, 1] <= info['height'] - 1).all()
            if ann['iscrowd']:
                crowds += 1
                assert ann['num_keypoints'] == 0
                assert mask.sum() == ann['area']
    assert crowds > 0


def test_perfect_predictions_have_ap_one(cocos):
    coco = cocos['val']
    results = [
        {'image_id': a['image_id'], 'category_id': 1, 'keypoints': a['keypoints'], 'score': 0.9}
        for a in coco.anns.values()
        if a['num_keypoints']
    ]
    run = COCOeval(coco, coco.loadRes(results), 'keypoints', SIGMAS)
    run.evaluate()
    run.accumulate()
    run.summarize()
    assert run.stats[0] == pytest.approx(1.0)
    assert run.stats[5] == pytest.approx(1.0)


def _iou(a, b):
    x = max(0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    y = max(0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    return x * y / (a[2] * a[3] + b[2] * b[3] - x * y)


def test_detections(data, cocos):
    coco = cocos['val']
    detections = _read(data / 'person_detection_results/val_detections.json')
    assert set(detections[0]) == {'image_id', 'category_id', 'bbox', 'score'}
    assert len(coco.loadRes(detections).anns) == len(detections)
    people = [a for a in coco.anns.values() if a['num_keypoints']]
    hits = [
        any(
            d['image_id'] == a['image_id'] and _iou(d['bbox'], a['bbox']) >= 0.5 for d in detections
        )
        for a in people
    ]
    assert 0.90 <= np.mean(hits) < 1.0
    best = np.array(
        [
            max(
                (
                    _iou(d['bbox'], a['bbox'])
                    for a in coco.anns.values()
                    if a['image_id'] == d['image_id']
                ),
                default=0,
            )
            for d in detections
        ]
    )
    scores = np.array([d['score'] for d in detections])
    false = scores[best < 0.1]
    assert len(false) > 5
    assert false.max() <= 0.5
    assert 0 < scores.min()
    assert scores.max() < 1
    assert np.corrcoef(best, scores)[0, 1] > 0.6


def test_polygons_keep_holes_and_crowds_round_trip():
    yy, xx = np.mgrid[0:60, 0:80]
    ring = (xx - 40) ** 2 + (yy - 30) ** 2
    mask = (ring < 24**2) & (ring > 12**2)
    mask[:4, :4] = True
    mask[58, 78] = True
    coco = COCO()
    coco.imgs = {1: {'height': 60, 'width': 80}}
    polygons = encode_polygons(mask)
    assert len(polygons) == 2
    back = coco.annToMask({'image_id': 1, 'segmentation': polygons})
    assert back.sum() == pytest.approx(mask.sum(), rel=0.02)
    assert back[30, 40] == 0
    rle = encode_rle(mask)
    assert sum(rle['counts']) == mask.size
    back = coco.annToMask({'image_id': 1, 'segmentation': rle})
    np.testing.assert_array_equal(back, mask)
    with pytest.raises(ValueError, match='empty'):
        encode_polygons(np.zeros((4, 4), bool))


def test_dataset_of_a_version_without_kinds_of_poses(tmp_path):
    make_synthetic_coco(tmp_path, 1, 0, image_size=(96, 80))
    manifest = _read(tmp_path / 'synthetic.json')
    assert manifest.pop('poses') == 'everyday'
    (tmp_path / 'synthetic.json').write_text(json.dumps(manifest))
    assert make_synthetic_coco(tmp_path, 1, 0, image_size=(96, 80)).existed
    with pytest.raises(SyntheticDataError, match='other parameters'):
        make_synthetic_coco(tmp_path, 1, 0, image_size=(96, 80), poses='sports')


@pytest.mark.parametrize(
    ('changes', 'error', 'match'),
    [
        ({'num_train': -1}, ValueError, 'num_train >= 0, got -1'),
        ({'num_train': 0, 'num_val': 0}, ValueError, 'at least one image'),
        ({'num_val': 1.5}, TypeError, 'num_val, got 1.5'),
        ({'seed': -3}, ValueError, 'seed >= 0, got -3'),
        ({'image_size': (20, 300)}, ValueError, 'got \\(20, 300\\)'),
        ({'poses': 'ballet'}, ValueError, "everyday or sports, got 'ballet'"),
    ],
)
def test_invalid_arguments_raise(tmp_path, changes, error, match):
    arguments = {'num_train': 1, 'num_val': 1, **changes}
    with pytest.raises(error, match=match):
        make_synthetic_coco(tmp_path / 'x', **arguments)
    assert not (tmp_path / 'x').exists()


def test_unknown_poses():
    rng = np.random.default_rng(0)
    for function in (
        lambda: sample_action(rng, 'ballet'),
        lambda: sample_pose(rng, 'run', 'ballet'),
        lambda: render_scene(rng, poses='ballet'),
    ):
        with pytest.raises(ValueError, match="unknown poses 'ballet'; expected one of"):
            function()


@pytest.mark.parametrize(
    'make', [make_synthetic_coco, make_synthetic_mpii, make_synthetic_crowdpose]
)
def test_poses_of_sports_in_all_formats(make, tmp_path):
    for name, poses in (('a', 'sports'), ('b', 'sports'), ('c', 'everyday')):
        make(tmp_path / name, 2, 1, poses=poses, people=(2, 2))
    images = [
        {name: data for name, data in _files(tmp_path / folder).items() if name.endswith('.jpg')}
        for folder in 'abc'
    ]
    assert len(images[0]) == 3
    assert images[0] == images[1]
    assert images[0].keys() == images[2].keys()
    assert not images[0].items() & images[2].items()


# Tool


SMALL = ('--train', 2, '--val', 1, '--image-size', 96, 80)


def test_tool_does_not_repeat_finished_work(tool, tmp_path):
    out = tmp_path / 'o'
    status, text, _ = tool(out, *SMALL)
    assert status == 0
    assert text.startswith('3 images, ')
    assert 'images/s' in text
    before = _files(out)
    status, text, _ = tool(out, *SMALL)
    assert status == 0
    assert text.startswith('already exists: 3 images')
    assert _files(out) == before
    (out / 'train/000000000003.jpg').unlink()
    assert tool(out, *SMALL)[0] == 0
    assert _files(out) == before


def test_tool_overwrite(tool, tmp_path):
    out = tmp_path / 'o'
    tool(out, *SMALL)
    (out / 'notes.txt').write_text('mine')
    before = _files(out)
    other = (out, *SMALL, '--seed', 9)
    status, _, err = tool(*other)
    assert status == 2
    assert 'other parameters' in err
    assert '--overwrite' in err
    assert _files(out) == before
    assert tool(*other, '--overwrite')[0] == 0
    assert (out / 'notes.txt').read_text() == 'mine'
    assert _read(out / 'synthetic.json')['seed'] == 9
    fewer = (out, '--train', 1, '--val', 0, '--image-size', 96, 80)
    assert tool(*fewer, '--overwrite')[0] == 0
    assert [p.name for p in sorted((out / 'train').iterdir())] == ['000000000001.jpg']
    assert tool(*fewer)[0] == 0
    status, _, err = tool(*fewer, '--poses', 'sports')
    assert status == 2
    assert 'other parameters' in err
    foreign = tmp_path / 'f'
    (foreign / 'train').mkdir(parents=True)
    (foreign / 'train' / '000000000001.jpg').write_bytes(b'mine')
    for extra in ((), ('--overwrite',)):
        status, _, err = tool(foreign, *SMALL, *extra)
        assert status == 2
        assert 'choose another folder' in err
    assert _files(foreign) == {'train/000000000001.jpg': b'mine'}


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (('--train', -1), 'expected num_train >= 0, got -1'),
        (('--train', 0, '--val', 0), 'at least one image'),
        (('--image-size', 8, 8), '64 to 4096'),
        (('--seed', -1), 'expected seed >= 0, got -1'),
    ],
)
def test_tool_errors(tool, tmp_path, argv, message):
    status, out, err = tool(tmp_path / 'o', *argv)
    assert status == 2
    assert out == ''
    assert err.startswith('error: ')
    assert message in err
    assert err.count('\n') == 1
    assert not (tmp_path / 'o').exists()


def test_tool_reports_write_errors(tool, tmp_path):
    (tmp_path / 'file').write_text('x')
    status, out, err = tool(tmp_path / 'file' / 'o', *SMALL)
    assert status == 2
    assert out == ''
    assert err.startswith(f'error: cannot write {tmp_path / "file" / "o"}')
    assert 'Not a directory' in err
    assert err.count('\n') == 1
    out = tmp_path / 'o'
    tool(out, *SMALL)
    for path in (out / 'train').iterdir():
        path.unlink()
    (out / 'train').rmdir()
    (out / 'train').write_text('mine')
    status, _, err = tool(out, *SMALL)
    assert status == 2
    assert err.startswith(f'error: cannot write {out / "train"}')
    assert (out / 'train').read_text() == 'mine'


def test_user_errors_have_their_class(tmp_path):
    (tmp_path / 'mine').write_text('x')
    with pytest.raises(SyntheticDataError, match='choose another folder'):
        make_synthetic_coco(tmp_path, 1, 1)
    with pytest.raises(SyntheticDataError, match='num_val >= 0, got -2'):
        make_synthetic_coco(tmp_path / 'o', 1, -2)


def test_tool_shows_progress(tool, tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(
        command, 'tqdm', lambda unit, disable: tqdm(unit=unit, file=stream, disable=False)
    )
    status, _, err = tool(tmp_path / 'o', '--train', 5, '--val', 3, '--image-size', 96, 80)
    assert status == 0
    assert err == ''
    assert re.search(r'100%\|.*\| 8/8 \[.* images/s', stream.getvalue())


def test_tool_in_a_subprocess(tmp_path):
    (tmp_path / 'file').write_text('x')
    done = run_tool('make_synthetic_coco.py', tmp_path / 'file', '--train', '1')
    assert done.returncode == 2
    assert done.stdout.startswith('error: ')
    assert 'is not a folder' in done.stdout
    assert 'Traceback' not in done.stdout
