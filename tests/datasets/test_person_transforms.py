"""Transforms of the bounding boxes of people, and the marks of occluded keypoints."""

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpose.datasets.transforms import RandomFlip
from mmpose.structures.bbox import get_warp_matrix
from mmpose.utils import register_all_modules
from scipy.stats import norm

from pose_backbones.datasets.transforms import ExtendBBox, HalfBody, MarkHidden, RandomScaleRotation
from pose_backbones.zoo import get_config


def test_fixed_factors():
    box = dict(bbox_scale=np.array([[100.0, 200.0]], np.float32))
    results = ExtendBBox(x=1.09, y=1.135).transform(box)
    np.testing.assert_allclose(results['bbox_scale'], [[109, 227]])


def test_random_factors_cover_their_range():
    np.random.seed(0)
    extend = ExtendBBox(x=(0.84, 1.344), y=(0.84, 1.512))
    factors = np.concatenate(
        [extend.transform(dict(bbox_scale=np.ones((1, 2))))['bbox_scale'] for _ in range(500)]
    )
    np.testing.assert_allclose(factors.min(0), [0.84, 0.84], atol=0.01)
    np.testing.assert_allclose(factors.max(0), [1.344, 1.512], atol=0.01)
    np.testing.assert_allclose(factors.mean(0), [1.092, 1.176], atol=0.02)
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.15


@pytest.mark.parametrize('value', [0, -1.0, (1,), (2, 1), (0, 1)])
def test_invalid_factors_raise(value):
    with pytest.raises(ValueError, match='y is .*: expected a positive'):
        ExtendBBox(x=1.0, y=value)


#: settings of the original: config, input (width, height), and the other settings by their names
COCO = dict(
    config='td-hm_mspn-2stg_8xb32-96k_coco-256x192',
    input=(192, 256),
    upper=range(0, 13),
    joints=17,
    basic=0.05,
    random=True,
    extend=(0.6, 0.8),
    shrink=0.8,
    rotation=45,
    more_than=3,
    prob_half=0.3,
    extend_half=(0.6, 0.8),
)
COCO_LARGE = dict(COCO, config='td-hm_mspn-4stg_8xb32-96k_coco-384x288', input=(288, 384))
MPII = dict(
    config='td-hm_mspn-2stg_8xb32-28k_mpii-256x256',
    input=(256, 256),
    upper=range(7, 16),
    joints=16,
    basic=0.0,
    random=False,
    extend=(0.25, 0.25),
    shrink=1.0,
    rotation=60,
    more_than=8,
    prob_half=0.5,
    extend_half=(0.6, 0.6),
)


def original_augmentation(settings, box, joints, visible, width, random):
    """Compute centre, size, rotation and flip with the formulas of the original.

    Random numbers from 0 to 1 are drawn from `random` in the order of the transforms. The original
    chooses the half with a number from a normal distribution.
    """
    ratio = settings['input'][0] / settings['input'][1]
    x1, y1, x2, y2 = box
    center = [(x1 + x2) / 2, (y1 + y2) / 2]
    size = [(x2 - x1) * (1 + settings['basic']), (y2 - y1) * (1 + settings['basic'])]
    for axis in (0, 1):
        factor = random.rand() if settings['random'] else 1.0
        size[axis] *= 1 + factor * settings['extend'][axis]
    size = fit(size, ratio)

    decision, which, *factors = random.rand(4)
    if sum(v > 0 for v in visible) > settings['more_than'] and (decision < settings['prob_half']):
        halves = {True: [], False: []}
        for k in range(settings['joints']):
            if visible[k] > 0:
                halves[k in settings['upper']].append(joints[k])
        if norm.ppf(which) < 0.5 and len(halves[True]) > 3:
            half = halves[True]
        elif len(halves[False]) > 3:
            half = halves[False]
        else:
            half = halves[True]
        if len(half) >= 3:
            low, high = np.min(half, 0), np.max(half, 0)
            center = list((low + high) / 2)
            size = fit(
                [
                    (high[axis] - low[axis]) * (1 + factors[axis] * settings['extend_half'][axis])
                    for axis in (0, 1)
                ],
                ratio,
            )

    scale_draw, decision, angle = random.rand(3)
    factor = settings['shrink'] * (0.75 + (1.25 - 0.75) * scale_draw)
    size = [factor * side for side in size]
    rotation = 0.0
    if decision <= 0.5:
        largest = settings['rotation']
        rotation = -largest + 2 * largest * angle
    mirrored = random.rand() <= 0.5
    if mirrored:
        center[0] = width - center[0] - 1
    return center, size, rotation, mirrored


def fit(size, ratio):
    """Return the smallest sides with the aspect ratio `ratio` that contain a size."""
    width, height = size
    return [width, width / ratio] if width > ratio * height else [height * ratio, height]


def person(settings, random):
    """Return a box, joints and their visibility; some people have few visible joints."""
    corner, extent = random.uniform(0, 150, 2), random.uniform(50, 300, 2)
    count = settings['joints']
    joints = corner + random.rand(count, 2) * extent
    visible = random.choice(3, count, p=[0.7, 0, 0.3] if random.rand() < 0.4 else [0.1, 0.2, 0.7])
    return np.concatenate([corner, corner + extent]), joints, visible


@pytest.fixture(scope='module')
def _mmpose_modules():
    register_all_modules()
    init_default_scope('mmpose')


@pytest.mark.usefixtures('_mmpose_modules')
@pytest.mark.parametrize('settings', [COCO, COCO_LARGE, MPII])
def test_augmentation_matches_original(settings):
    """The pipelines of the configs give the same crops for the same random numbers."""
    steps = get_config(settings['config']).train_dataloader.dataset.pipeline
    kinds = [step.type for step in steps]
    pipeline = Compose(steps[: kinds.index('TopdownAffine') + 1])
    width, height = 500, 450
    people, seen = np.random.RandomState(0), []
    for seed in range(500):
        box, joints, visible = person(settings, people)
        sample = dict(
            img=np.zeros((height, width, 3), np.uint8),
            bbox=box[None].astype(np.float32),
            keypoints=joints[None].astype(np.float32),
            keypoints_visible=(visible[None] > 0).astype(np.float32),
            flip_indices=list(range(settings['joints'])),
        )
        np.random.seed(seed)
        results = pipeline(sample)
        center, size, rotation, mirrored = original_augmentation(
            settings, box, joints, visible, width, np.random.RandomState(seed)
        )
        assert results['flip'] == mirrored
        np.testing.assert_allclose(results['input_center'], center, atol=1e-3)
        np.testing.assert_allclose(results['input_scale'], size, rtol=1e-5)
        np.testing.assert_allclose(results['bbox_rotation'], [rotation], atol=1e-9)
        middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        if mirrored:
            middle[0] = width - middle[0] - 1
        seen.append((not np.allclose(center, middle), rotation != 0, mirrored))
        warp = get_warp_matrix(np.array(center), np.array(size), rotation, settings['input'])
        if mirrored:
            joints[:, 0] = width - joints[:, 0] - 1
        np.testing.assert_allclose(
            results['transformed_keypoints'][0], joints @ warp[:, :2].T + warp[:, 2], atol=0.02
        )
    # Each augmentation was applied to some samples, but not to all.
    shares = np.mean(seen, 0)
    assert 0.1 < shares[0] < settings['prob_half']
    np.testing.assert_allclose(shares[1:], 0.5, atol=0.06)


def halves(prob_upper=0.691462, **other):
    """Return `HalfBody` for COCO, which is always applied, with boxes of the labelled keypoints."""
    return HalfBody(
        **{
            **dict(upper=range(13), x=1.0, y=1.0, prob=1.0, min_points=4, prob_upper=prob_upper),
            **other,
        }
    )


def labelled_people(*people):
    """Return people with the given labelled keypoints; keypoint k is at (10 k, k * k)."""
    k = np.arange(17.0)
    visible = np.array([[float(n in chosen) for n in k] for chosen in people])
    count = len(people)
    return dict(
        keypoints=np.tile(np.stack([10 * k, k * k], -1), (count, 1, 1)),
        keypoints_visible=visible,
        bbox_center=np.full((count, 2), 7.0),
        bbox_scale=np.full((count, 2), 9.0),
    )


@pytest.mark.parametrize(
    ('prob_upper', 'points', 'box'),
    [
        # at least four in both halves: the random half
        (1.0, (0, 4, 8, 12, 13, 14, 15, 16), (0, 0, 120, 144)),
        (0.0, (0, 4, 8, 12, 13, 14, 15, 16), (130, 169, 160, 256)),
        # three in the lower half: the upper half
        (0.0, (0, 4, 8, 12, 13, 14, 15), (0, 0, 120, 144)),
        # three in the upper half: the lower half, or the upper half if the lower one is too small
        (1.0, (1, 3, 5, 13, 14, 15, 16), (130, 169, 160, 256)),
        (1.0, (1, 3, 5, 13), (10, 1, 50, 25)),
        # two in each half: no change
        (1.0, (1, 3, 13, 14), None),
        # fewer than min_points
        (1.0, (1, 3, 5), None),
    ],
)
def test_choice_of_the_half(prob_upper, points, box):
    results = halves(prob_upper).transform(labelled_people(points))
    x1, y1, x2, y2 = box or (2.5, 2.5, 11.5, 11.5)
    assert results['bbox_center'].tolist() == [[(x1 + x2) / 2, (y1 + y2) / 2]]
    assert results['bbox_scale'].tolist() == [[x2 - x1, y2 - y1]]


def test_occluded_keypoints_belong_to_the_half():
    sample = labelled_people((0, 4, 8, 12))
    sample['keypoints_visible'] *= 0.5
    assert halves().transform(sample)['bbox_scale'].tolist() == [[120, 144]]


def test_halves_of_several_people():
    """Each person has separate random numbers, and the input is not modified."""
    people = labelled_people((0, 4, 8, 12), (1, 3), (0, 1, 2, 3))
    unchanged = {key: value.copy() for key, value in people.items()}
    results = halves().transform(dict(people))
    assert results['bbox_center'].tolist() == [[60, 72], [7, 7], [15, 4.5]]
    for key, value in unchanged.items():
        np.testing.assert_array_equal(people[key], value)


def test_half_without_extent_is_unchanged():
    sample = labelled_people((0, 4, 8, 12))
    sample['keypoints'][:] = 30
    results = halves().transform(sample)
    assert results['bbox_scale'].tolist() == [[9, 9]]


def test_frequency_of_halves():
    """30 % of the people are reduced to a half, of which 69 % are upper halves."""
    np.random.seed(0)
    results = halves(prob=0.3).transform(labelled_people(*[range(17)] * 20000))
    x = results['bbox_center'][:, 0]
    assert set(x) == {7, 60, 145}
    assert np.mean(x == 7) == pytest.approx(0.7, abs=0.01)
    assert np.sum(x == 60) / np.sum(x != 7) == pytest.approx(norm.cdf(0.5), abs=0.015)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(upper=()), r'upper is \(\): expected indices of keypoints'),
        (dict(upper=(1, 1)), r'upper is \(1, 1\): expected indices .* once'),
        (dict(upper=(-1, 2)), r'upper is \(-1, 2\): expected indices'),
        (dict(min_points=0), 'min_points is 0: expected a number of keypoints'),
        (dict(prob=1.5), 'prob is 1.5: expected a probability, 0 to 1'),
        (dict(prob_upper=-1), 'prob_upper is -1: expected a probability'),
        (dict(x=0), 'x is 0: expected a positive factor'),
        (dict(y=(2, 1)), r'y is \(2, 1\): expected a positive factor'),
    ],
)
def test_invalid_half_body_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        halves(**options)


def test_upper_half_beyond_the_last_keypoint_raises():
    with pytest.raises(
        ValueError,
        match=('upper has 40, but the people have 17 keypoints: expected indices up to 16'),
    ):
        halves(upper=(1, 40)).transform(labelled_people((1, 2, 3, 4)))


def test_scale_and_rotation_are_uniform():
    """Each quarter of the range has the same frequency."""
    np.random.seed(0)
    size = np.tile(np.array([[100, 200]], np.float32), (20000, 1))
    results = RandomScaleRotation(scale=(0.6, 1.0), degrees=45, prob=0.5).transform(
        dict(bbox_scale=size)
    )
    assert results['bbox_scale'].dtype == np.float32
    x, y = results['bbox_scale'].T
    np.testing.assert_allclose(2 * x, y)
    rotations = results['bbox_rotation'][results['bbox_rotation'] != 0]
    assert len(rotations) / len(x) == pytest.approx(0.5, abs=0.015)
    for values, low, high in ((x, 60, 100), (rotations, -45, 45)):
        counts, _ = np.histogram(values, 4, (low, high))
        assert counts.sum() == len(values)
        np.testing.assert_allclose(counts / len(values), 0.25, atol=0.015)
    assert abs(np.corrcoef(x, results['bbox_rotation'])[0, 1]) < 0.03


def test_fixed_scale_without_rotation():
    results = RandomScaleRotation(scale=2, degrees=45, prob=0).transform(
        dict(bbox_scale=np.ones((2, 2)))
    )
    assert results['bbox_scale'].tolist() == [[2, 2], [2, 2]]
    assert results['bbox_rotation'].tolist() == [0, 0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(scale=(1, 0.5)), r'scale is \(1, 0.5\): expected a positive'),
        (dict(degrees=-1), 'degrees is -1: expected the maximum rotation'),
        (dict(degrees=181), 'degrees is 181: expected .*, 0 to 180'),
        (dict(prob=2), 'prob is 2: expected a probability, 0 to 1'),
    ],
)
def test_invalid_scale_and_rotation_raise(options, message):
    with pytest.raises(ValueError, match=message):
        RandomScaleRotation(**{**dict(scale=(0.75, 1.25), degrees=60, prob=0.5), **options})


def sample_with_occluded_keypoints() -> dict:
    """Return a sample with four keypoints: visible, occluded, not labelled, occluded."""
    points = np.array([[10, 5, 2], [20, 6, 1], [0, 0, 0], [30, 7, 1]])
    return dict(
        raw_ann_info=dict(keypoints=points.ravel().tolist()),
        keypoints=points[None, :, :2].astype(np.float32),
        keypoints_visible=np.array([[1.0, 1.0, 0.0, 1.0]], np.float32),
    )


def test_occluded_keypoints_are_marked():
    results = MarkHidden().transform(sample_with_occluded_keypoints())
    assert results['keypoints_visible'].tolist() == [[1, 0.5, 0, 0.5]]
    assert results['keypoints_visible'].dtype == np.float32


def test_marks_are_flipped():
    sample = dict(
        MarkHidden().transform(sample_with_occluded_keypoints()),
        flip_indices=[1, 0, 3, 2],
        img=np.zeros((50, 40, 3), np.uint8),
        img_shape=(50, 40),
    )
    results = RandomFlip(prob=1.0).transform(sample)
    assert results['keypoints_visible'].tolist() == [[0.5, 1, 0.5, 0]]
    assert results['keypoints'][0, 0].tolist() == [19, 6]


@pytest.mark.parametrize('raw', [{}, dict(raw_ann_info=None), dict(raw_ann_info=dict(area=3))])
def test_keypoints_without_annotations_stay_visible(raw):
    sample = {**sample_with_occluded_keypoints(), 'raw_ann_info': None, **raw}
    unchanged = sample['keypoints_visible'].copy()
    results = MarkHidden().transform(sample)
    assert results['keypoints_visible'].tolist() == unchanged.tolist()
