"""Metrics, losses, NMS, tracking and smoothing."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmpose.evaluation.functional import oks_nms
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones.evaluation.mpii import pckh_table
from pose_backbones.inference.one_euro import OneEuroFilter
from pose_backbones.inference.tracking import PoseTracker
from pose_backbones.report.average_precision import average_precision
from pose_backbones.report.calibration import calibrate
from pose_backbones.report.coco_table import coco_table, load_results
from pose_backbones.report.diagnosis import diagnose
from pose_backbones.report.matching import all_oks
from pose_backbones.report.poses import read_poses
from pose_backbones.structures.oks import distance_at, keypoint_similarity
from pose_backbones.structures.symmetry import flip_indices
from tests.helpers.report_cases import NAMES, SIGMAS, crowded_case
from tests.properties.strategies import boxes, masks, points, seeds, share

register_all_modules()
FLIP = np.array(flip_indices(NAMES))


def run_of(seed: int, images: int = 5) -> tuple[dict, list[dict]]:
    """Return random annotations and results, whose scores are all different."""
    case = crowded_case(seed, images)
    rng = np.random.default_rng(seed)
    scores = rng.permutation(len(case.results)) / max(len(case.results), 1)
    for result, score in zip(case.results, scores):
        result['score'] = float(score)
    return case.truth, case.results


def figures(truth: dict, results: list[dict], iou_type: str = 'keypoints') -> dict[str, float]:
    """Return the table of COCO's evaluation, and AP as the report computes it."""
    truth, results = copy.deepcopy((truth, results))
    coco, detected = load_results(truth, results, 'truth.json')
    table = dict(coco_table(coco, detected, SIGMAS, iou_type, True))
    poses = read_poses(truth, results, SIGMAS, True)
    oks = all_oks(poses)
    precision = average_precision(poses, oks)
    assert ((oks >= 0) & (oks <= 1)).all()
    assert {'nan' if np.isnan(value) else 0 <= value <= 1 for value in table.values()} <= {
        'nan',
        True,
    }
    return {**table, 'our AP': precision.ap, 'our AR': precision.ar}


@given(seed=seeds, data=st.data())
@share(0.25)
def test_metrics_do_not_depend_on_order_and_ids(seed, data):
    """The order of images, annotations and results, and their IDs, do not change the metrics.

    The order of people without labelled keypoints is kept: COCO compares their boxes with the
    poses, so that a pose can have an OKS of 1 with several of them, and is matched with the last.
    """
    truth, results = run_of(seed % 1000)
    expected = figures(truth, results)
    shuffled = copy.deepcopy(truth)
    rng = np.random.default_rng(seed)
    for name in ('images', 'annotations'):
        order = rng.permutation(len(truth[name]))
        fixed = [not truth[name][index].get('num_keypoints', 1) for index in order]
        order[fixed] = np.sort(order[fixed])
        shuffled[name] = [shuffled[name][index] for index in order]
    order = rng.permutation(len(results))
    others = [copy.deepcopy(results[index]) for index in order]
    ids = rng.choice(2**40, len(truth['images']), replace=False).tolist()
    new = {image['id']: number for image, number in zip(truth['images'], ids)}
    category = data.draw(st.integers(0, 2**31))
    numbers = rng.choice(2**40, len(truth['annotations']), replace=False) + 1
    for image in shuffled['images']:
        image['id'] = new[image['id']]
    for entry, number in zip(shuffled['annotations'], numbers.tolist()):
        entry.update(id=number, image_id=new[entry['image_id']], category_id=category)
    for entry in others:
        entry.update(image_id=new[entry['image_id']], category_id=category)
    shuffled['categories'][0]['id'] = category
    assert figures(shuffled, others) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert expected['our AP'] == pytest.approx(expected['AP'], abs=1e-9, nan_ok=True)


@given(seed=st.integers(0, 500))
@share(0.25)
def test_metrics_of_mirrored_images_are_the_same(seed):
    """Labels and results are flipped, and left and right are exchanged."""
    truth, results = run_of(seed, 4)
    expected = figures(truth, results)
    for entry in (*truth['annotations'], *results):
        flat = np.reshape(entry['keypoints'], (-1, 3)).astype(float)
        labelled = flat[:, 2] > 0
        flat[labelled, 0] = 899 - flat[labelled, 0]
        entry['keypoints'] = flat[FLIP].ravel().tolist()
        if 'bbox' in entry:
            entry['bbox'][0] = 899 - entry['bbox'][0] - entry['bbox'][2]
    # COCO's server adds the sigmas in another order then.
    assert figures(truth, results) == pytest.approx(expected, abs=1e-6, nan_ok=True)


@given(seed=st.integers(0, 500))
@share(0.25)
def test_perfect_results_have_the_highest_metrics(seed):
    truth, _ = run_of(seed, 4)
    people = [
        entry for entry in truth['annotations'] if entry['num_keypoints'] and not entry['iscrowd']
    ]
    results = [
        dict(
            image_id=entry['image_id'],
            category_id=1,
            score=0.5 + index / 100,
            keypoints=list(entry['keypoints']),
        )
        for index, entry in enumerate(people)
    ]
    values = figures(truth, results)
    if people:
        assert values['our AP'] == pytest.approx(1)
        assert values['AR'] == pytest.approx(1)
    else:
        assert np.isnan(values['our AP'])


@given(seed=st.integers(0, 500))
@share(0.2)
def test_measures_of_the_report_are_finite(seed):
    """Only means over nothing are NaN; shares are from 0 to 1."""
    truth, results = copy.deepcopy(run_of(seed, 3))
    load_results(truth, results, 'truth.json')
    poses = read_poses(truth, results, SIGMAS, True)
    oks = all_oks(poses)
    diagnosis = diagnose(poses, oks, FLIP)
    calibration = calibrate(poses, diagnosis)
    empty = calibration.counts == 0
    for name in ('score', 'oks', 'correct'):
        values = getattr(calibration, name)
        np.testing.assert_array_equal(np.isnan(values), empty)
        assert ((values[~empty] >= 0) & (values[~empty] <= 1)).all()
    assert calibration.counts.sum() == calibration.table.sum() == diagnosis.counted.sum()
    assert ((diagnosis.oks >= 0) & (diagnosis.oks <= 1)).all()
    assert np.isfinite(diagnosis.joints.similarity[diagnosis.joints.kinds >= 0]).all()


@given(data=st.data(), area=st.floats(1, 1e6), shift=st.floats(-1e3, 1e3), scale=st.floats(0.1, 10))
def test_object_keypoint_similarity(data, area, shift, scale):
    """OKS is from 0 to 1, symmetric, 1 for equal poses, and equal for moved or scaled people."""
    first, second = (data.draw(points(17, (-500, -500), (500, 500))).astype(float) for _ in 'ab')

    def similarity(a, b, area=area, sigmas=SIGMAS):
        return keypoint_similarity(((a - b) ** 2).sum(-1), np.array(area), sigmas)

    values = similarity(first, second)
    assert ((values >= 0) & (values <= 1)).all()
    assert (similarity(first, first) == 1).all()
    np.testing.assert_array_equal(similarity(second, first), values)
    close = dict(rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(similarity(first + shift, second + shift), values, **close)
    np.testing.assert_allclose(
        similarity(first * scale, second * scale, area * scale**2), values, **close
    )
    mirrored = [(pose * (-1, 1))[FLIP] for pose in (first, second)]
    np.testing.assert_allclose(similarity(*mirrored, sigmas=SIGMAS[FLIP]), values[FLIP], **close)
    np.testing.assert_allclose(SIGMAS[FLIP], SIGMAS)  # those of COCO are symmetric
    away = first + (second - first) * 2
    assert (similarity(first, away) <= values).all()
    reach = distance_at(0.5, np.full(17, area), SIGMAS)
    at_reach = similarity(first, first + reach[:, None] * (1, 0))
    np.testing.assert_allclose(at_reach, 0.5, rtol=1e-6)


@given(seed=seeds, number=st.integers(1, 12), threshold=st.floats(0.3, 0.95))
def test_oks_nms_is_idempotent_and_independent_of_the_order(seed, number, threshold):
    """Of poses with distinct scores, the best one is kept."""
    rng = np.random.default_rng(seed)
    shapes = rng.uniform(0, 100, (3, 17, 2))[rng.integers(3, size=number)]
    poses = shapes + rng.normal(0, rng.choice([0.1, 3, 20]), shapes.shape)
    scores = rng.permutation(number) / number + 0.01
    people = [
        dict(
            keypoints=np.c_[pose, np.full(17, 0.9)].ravel(),
            score=float(score),
            area=float(np.ptp(pose, axis=0).prod()),
            name=index,
        )
        for index, (pose, score) in enumerate(zip(poses, scores))
    ]

    def kept(people) -> list[int]:
        return [people[index]['name'] for index in oks_nms(people, threshold, SIGMAS)]

    names = kept(people)
    assert names[0] == scores.argmax()
    assert len(set(names)) == len(names)
    assert kept([people[index] for index in names]) == names
    assert kept([people[index] for index in rng.permutation(number)]) == names


@given(frames=st.lists(st.lists(boxes(90, 70), max_size=4), min_size=1, max_size=8), seed=seeds)
def test_track_ids_are_unique(frames, seed):
    """IDs are unique in each frame; new IDs count on, and a removed ID does not come back."""
    rng = np.random.default_rng(seed)
    tracker = PoseTracker(max_age=2)
    highest, last_seen = 0, {}
    for number, people in enumerate(frames):
        corners = np.array(people).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        keypoints = rng.uniform(0, 90, (len(people), 17, 2))
        ids = tracker.update(keypoints, rng.random((len(people), 17)), corners).tolist()
        assert len(set(ids)) == len(ids)
        for track in ids:
            if track in last_seen:
                assert number - last_seen[track] <= tracker.max_age
            else:
                highest += 1
                assert track == highest
            last_seen[track] = number
        assert set(ids) <= set(tracker.alive)


@given(
    pose=points(5, (-1e4, -1e4), (1e4, 1e4)),
    visible=st.lists(masks(5), min_size=1, max_size=8),
    beta=st.floats(0, 100),
    cutoff=st.floats(0.01, 100),
    rate=st.floats(0.1, 1000),
)
def test_filter_of_a_constant_is_the_constant(pose, visible, beta, cutoff, rate):
    """The same is true after gaps; joints that are not visible stay NaN."""
    smooth = OneEuroFilter(cutoff, beta, cutoff)
    for number, seen in enumerate(visible):
        keypoints = np.where(seen[:, None], pose, np.nan)[None]
        filtered = smooth(number / rate, keypoints, np.array([3]), np.array([[0, 0, 50, 90]]))
        np.testing.assert_array_equal(np.isfinite(filtered[0]).all(1), seen)
        np.testing.assert_allclose(filtered[0, seen], pose[seen], rtol=1e-6, atol=1e-6)


@given(
    poses=st.lists(points(3, (-1e4, -1e4), (1e4, 1e4)), min_size=1, max_size=6),
    times=st.lists(st.floats(1e-6, 1e3), min_size=6, max_size=6),
    box=boxes(1e4, 1e4),
)
def test_filtered_keypoints_are_between_old_and_new(poses, times, box):
    """Filtered keypoints are finite and in the range of all positions."""
    smooth, stamps = OneEuroFilter(), np.cumsum(times)
    corners = np.array([[box[0], box[1], box[0] + box[2], box[1] + box[3]]])
    for number, pose in enumerate(poses):
        filtered = smooth(float(stamps[number]), pose[None], np.array([1]), corners)[0]
        low, high = (f(poses[: number + 1], axis=0) for f in (np.min, np.max))
        assert np.isfinite(filtered).all()
        assert (filtered >= low - 1e-2).all()
        assert (filtered <= high + 1e-2).all()


@given(seed=seeds, people=st.integers(1, 6), thr=st.floats(0.05, 1))
def test_pckh_is_a_percentage(seed, people, thr):
    """PCKh does not depend on the order or on unlabelled joints, and grows with the threshold."""
    rng = np.random.default_rng(seed)
    distances = rng.exponential(0.5, (people, 16))
    labelled = rng.random((people, 16)) < rng.choice([0, 0.2, 0.9, 1])
    table = pckh_table(distances, labelled, thr)
    order = rng.permutation(people)
    others = np.where(labelled, distances, rng.choice([0, np.nan, 1e9]))
    assert pckh_table(others[order], labelled[order], thr) == pytest.approx(table, nan_ok=True)
    larger = pckh_table(distances, labelled, thr * 1.5)
    for name, value in table.items():
        if np.isnan(value):
            assert np.isnan(larger[name])
        else:
            assert 0 <= value <= larger[name] + 1e-9 <= 100 + 1e-6


HEATMAP_LOSSES = {
    'visible': dict(type='pose_backbones.VisibleKeypointsMSELoss'),
    'hard': dict(type='pose_backbones.HardKeypointsMSELoss', topk=3),
    'mse': dict(type='KeypointMSELoss', use_target_weight=True),
}
magnitudes = st.sampled_from([0.0, 1e-20, 1e-3, 1.0, 255.0, 1e6, 1e15])


@pytest.mark.parametrize('name', HEATMAP_LOSSES)
@given(seed=seeds, magnitude=magnitudes, weights=st.lists(masks(5), min_size=1, max_size=3))
def test_heatmap_losses(name, seed, magnitude, weights):
    """Losses are finite, at least 0, and 0 at the target; keypoints without weight do not count."""
    loss = MODELS.build(HEATMAP_LOSSES[name])
    generator = torch.Generator().manual_seed(seed)
    shape = (len(weights), 5, 6, 4)
    target = torch.rand(shape, generator=generator)
    factors = torch.tensor(np.array(weights)).float()
    output = (magnitude * torch.randn(shape, generator=generator)).requires_grad_()
    value = loss(output, target, factors)
    value.backward()
    assert torch.isfinite(value)
    assert value >= 0
    assert torch.isfinite(output.grad).all()
    masked = target * factors[..., None, None] if name == 'visible' else target
    assert loss(masked, target, factors) == 0
    if name != 'visible':  # whose target is 0 for these
        assert not output.grad[factors == 0].any()
        other = torch.where(factors[..., None, None] > 0, output.detach(), torch.tensor(7.0))
        assert loss(other, target, factors) == value


PEOPLE_LOSSES = {
    'joints': dict(type='pose_backbones.JointL1Loss'),
    'limbs': dict(type='pose_backbones.LimbL1Loss', limbs=[[0, 1], [1, 2], [3, 4]]),
    'oks': dict(type='pose_backbones.OKSLoss', sigmas=[0.1, 0.1, 0.05, 0.2, 0.2]),
}


@pytest.mark.parametrize('name', PEOPLE_LOSSES)
@given(
    seed=seeds,
    magnitude=magnitudes,
    area=st.floats(1, 1e6, width=32),
    counts=st.lists(masks(5), max_size=3),
)
def test_losses_of_people(name, seed, magnitude, area, counts):
    """Losses and gradients are finite; joints that do not count have no influence."""
    loss = MODELS.build(PEOPLE_LOSSES[name])
    generator = torch.Generator().manual_seed(seed)
    number = len(counts)
    joints = (magnitude * torch.randn(number, 5, 2, generator=generator)).requires_grad_()
    labels = torch.tensor(np.array(counts).reshape(number, 5, 1)).float()
    targets = torch.cat((100 * torch.rand(number, 5, 2, generator=generator), labels), -1)
    areas = torch.full((number,), area)
    value = loss(joints, targets, areas)
    value.backward()
    assert torch.isfinite(value)
    assert value >= -1e-6
    assert torch.isfinite(joints.grad).all()
    assert not joints.grad[labels[..., 0] == 0].any()
    other = torch.where(labels > 0, joints.detach(), torch.tensor(-3.0))
    assert loss(other, targets, areas) == value
    if number and name != 'oks':
        assert loss(targets[..., :2].clone(), targets, areas) == 0
    elif number and labels.all():
        assert loss(targets[..., :2].clone(), targets, areas) < 1e-4


@given(seed=seeds, magnitude=st.sampled_from([0.0, 1e-3, 1.0, 50.0, 1e6, 1e30]))
def test_focal_losses(seed, magnitude):
    """Losses and gradients are finite for finite logits, and for heatmaps from 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = (magnitude * torch.randn(2, 30, generator=generator)).requires_grad_()
    targets, valid = (torch.randint(2, (2, 30), generator=generator).float() for _ in 'ab')
    value = MODELS.build(dict(type='pose_backbones.BinaryFocalLoss'))(logits, targets, valid)
    value.backward()
    assert torch.isfinite(value)
    assert value >= 0
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[valid == 0].any()
    maps = torch.rand(2, 5, 6, 4, generator=generator).mul(1.2).sub(0.1).clamp(0, 1)
    maps.requires_grad_()
    peaks = torch.rand(2, 5, 6, 4, generator=generator)
    peaks = torch.where(peaks > 0.9, torch.ones(()), peaks)
    area = torch.randint(2, (2, 6, 4), generator=generator).float()
    value = MODELS.build(dict(type='pose_backbones.HeatmapFocalLoss'))(maps, peaks, area)
    value.backward()
    assert torch.isfinite(value)
    assert value >= 0
    assert torch.isfinite(maps.grad).all()
