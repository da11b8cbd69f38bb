"""`MultiScaleJoints`, the codec of HRCoMer: targets and decoding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmpose.registry import KEYPOINT_CODECS, TRANSFORMS

from pose_backbones.codecs import MultiScaleJoints
from pose_backbones.codecs.multi_scale_joints import average_heatmaps

GOLDEN = np.load(Path(__file__).parents[1] / 'golden' / 'hrcomer_losses.npz')
CROWDPOSE = 'configs/_base_/datasets/crowdpose.py'


def make(**options) -> MultiScaleJoints:
    """Return a codec with maps of 40x32."""
    return MultiScaleJoints(**{'input_size': (160, 128), 'heatmap_size': (40, 32), **options})


def small(**options) -> MultiScaleJoints:
    """Return a codec of two joints with maps of 40x32."""
    return make(**{'sigmas': (0.05, 0.1), **options})


def encode(codec, joints, visible=None, areas=None, sizes=None) -> dict:
    """Encode joints, areas and sizes, which are in pixels of the map."""
    joints = np.array(joints, np.float32)
    count = len(joints)
    areas = np.full(count, 100.0) if areas is None else np.array(areas)
    sizes = np.full(count, 10.0) if sizes is None else np.array(sizes)
    return codec.encode(joints * 4, visible, areas * 16.0, sizes * 4.0)


@pytest.mark.parametrize(('name', 'factor'), [('coco', 1.0), ('crowdpose', 0.53)])
def test_golden_targets(name, factor):
    joints = GOLDEN['enc_joints']
    encoded = encode(
        make(max_num_people=5, area_factor=factor),
        joints[..., :2],
        joints[..., 2],
        GOLDEN['enc_areas'],
        GOLDEN['enc_sizes'],
    )
    for key in ('target_joints', 'target_areas', 'target_sizes'):
        assert encoded[key].dtype == np.float32
        np.testing.assert_allclose(encoded[key], GOLDEN[f'enc_{key}'], rtol=1e-6)
    maps = GOLDEN[f'enc_{name}_heatmaps']
    np.testing.assert_allclose(encoded['heatmaps'], maps, atol=1e-6)
    # The loss requires peaks of exactly 1. The windows of the Gaussians must be equal too.
    np.testing.assert_array_equal(encoded['heatmaps'] == 1, maps == 1)
    np.testing.assert_array_equal(encoded['heatmaps'] == 0, maps == 0)


def test_person_outside_the_image_has_no_row():
    out, first, last = ([(-3, 5), (50, 5)], [(5, 6), (7, 8)], [(9, 9), (41, 9)])
    encoded = encode(
        small(max_num_people=3), [out, first, last], areas=[1000, 200, 300], sizes=[1, 2, 3]
    )
    np.testing.assert_allclose(
        encoded['target_joints'], [[(5, 6, 1), (7, 8, 1)], [(9, 9, 1), (0, 0, 0)], np.zeros((2, 3))]
    )
    np.testing.assert_allclose(encoded['target_areas'], [200, 300, 0])
    np.testing.assert_allclose(encoded['target_sizes'], [2, 3, 0])
    # (41, 9) is outside, so the map does not contain the part of its Gaussian that is inside.
    assert encoded['heatmaps'][1, :, 20:].max() == 0


def test_joints_outside_the_map_are_ignored():
    joints = [[(0, 0), (-0.01, 5)], [(39.9, 31.9), (40, 5)]]
    encoded = encode(small(), joints)
    np.testing.assert_allclose(encoded['target_joints'][:2, :, 2], [(1, 0), (1, 0)])
    assert encoded['heatmaps'][0, 0, 0] == encoded['heatmaps'][0, 31, 39] == 1
    assert encoded['heatmaps'][1].max() == 0


def test_unlabelled_joints_are_ignored():
    joints = [[(5, 6), (7, 8)], [(9, 9), (11, 9)]]
    encoded = encode(small(), joints, visible=np.array([(0, 2), (0, 0)]))
    np.testing.assert_allclose(
        encoded['target_joints'][:2], [[(0, 0, 0), (7, 8, 1)], np.zeros((2, 3))]
    )
    assert encoded['heatmaps'][0].max() == 0
    assert (encoded['heatmaps'][1] == 1).sum() == 1


def test_more_people_than_the_limit():
    joints = [[(k, k), (k, 2)] for k in range(1, 6)]
    encoded = encode(small(max_num_people=3), joints, areas=[50, 90, 10, 70, 60])
    np.testing.assert_allclose(encoded['target_areas'], [90, 70, 60])
    np.testing.assert_allclose(encoded['target_joints'][:, 0, 0], [2, 4, 5])
    # The heatmaps contain all people.
    assert [encoded['heatmaps'][0, k, k] for k in range(1, 6)] == [1] * 5


def test_no_people():
    encoded = encode(small(max_num_people=2), np.zeros((0, 2, 2)))
    assert {key: value.shape for key, value in encoded.items()} == dict(
        heatmaps=(2, 32, 40), target_joints=(2, 2, 3), target_areas=(2,), target_sizes=(2,)
    )
    assert not any(value.any() for value in encoded.values())


def test_highest_of_two_gaussians():
    joints = [[(10.7, 10.2), (0, 0)], [(14, 10), (0, 0)]]
    maps = encode(small(), joints, areas=[400, 100])['heatmaps'][0]
    # The radius r is where exp(-r² / (2 area (2 sigma)²)) is 0.7; the standard deviation is r / 3.
    wide, narrow = (2 * 0.05 * side * np.sqrt(-2 * np.log(0.7)) / 3 for side in (20, 10))

    def gaussian(distance, sigma):
        return np.exp(-(distance**2) / (2 * sigma**2))

    assert maps[10, 10] == maps[10, 14] == 1
    np.testing.assert_allclose(
        maps[10, 11:14],
        [
            gaussian(1, wide),
            max(gaussian(2, wide), gaussian(2, narrow)),
            max(gaussian(3, wide), gaussian(1, narrow)),
        ],
        rtol=1e-5,
    )
    np.testing.assert_allclose(maps[11, 9], gaussian(np.sqrt(2), wide), rtol=1e-5)


@pytest.mark.parametrize(
    ('options', 'reach'), [({}, 3), ({'oks_threshold': 0.3}, 4), ({'area_factor': 9.0}, 6)]
)
def test_radius_of_options(options, reach):
    # 0.1 * 20 * sqrt(-2 log(0.7)) is 1.7; with a threshold of 0.3, 3.1; with 9 times the area, 5.1.
    maps = encode(small(**options), [[(15, 15), (0, 0)]], areas=[400])['heatmaps'][0]
    expected = np.zeros(40, bool)
    expected[15 - reach : 16 + reach] = True
    np.testing.assert_array_equal(maps[15] > 0, expected)


def test_area_is_at_least_one_pixel():
    encoded = encode(small(), [[(15, 15), (3, 3)]], areas=[0], sizes=[0])
    assert encoded['target_areas'][0] == 1
    np.testing.assert_allclose(encoded['heatmaps'].sum((1, 2)), 1, atol=1e-6)


def test_different_strides_along_x_and_y():
    codec = small(input_size=(80, 128))
    encoded = codec.encode(
        np.array([[(20.0, 40.0), (2.0, 4.0)]]), None, np.array([800.0]), np.array([np.sqrt(32.0)])
    )
    np.testing.assert_allclose(encoded['target_joints'][0], [(10, 10, 1), (1, 1, 1)])
    np.testing.assert_allclose(encoded['target_areas'][0], 100)
    np.testing.assert_allclose(encoded['target_sizes'][0], 2)


def test_codec_works_with_transforms_of_mmpose():
    codec = dict(
        type='pose_backbones.MultiScaleJoints',
        input_size=(160, 128),
        heatmap_size=(40, 32),
        sigmas=(0.05, 0.1),
        max_num_people=3,
    )
    results = dict(
        img=np.zeros((128, 160, 3), np.uint8),
        keypoints=np.array([[(20.0, 40.0), (2.0, 4.0)]]),
        keypoints_visible=np.ones((1, 2)),
        area=np.array([1600.0]),
        sizes=np.array([40.0]),
        heatmap_mask=np.ones((32, 40), bool),
    )
    for step in (dict(type='GenerateTarget', encoder=codec), dict(type='PackPoseInputs')):
        results = TRANSFORMS.build(step)(results)
    sample = results['data_samples']
    labels = sample.gt_instance_labels
    assert labels.target_joints[0].tolist() == [[5, 10, 1], [0.5, 1, 1]]
    assert labels.target_areas.tolist() == [100, 0, 0]
    assert labels.target_sizes.tolist() == [10, 0, 0]
    assert sample.gt_fields.heatmaps[:, [10, 1], [5, 0]].tolist() == [[1, 0], [0, 1]]
    assert sample.gt_fields.heatmap_mask.all()


@pytest.mark.parametrize(
    ('options', 'error', 'words'),
    [
        ({'input_size': (160,)}, ValueError, 'input_size is .160,.: expected 2'),
        ({'heatmap_size': 40}, TypeError, 'heatmap_size is 40: expected 2'),
        ({'max_num_people': 0}, ValueError, 'max_num_people is 0: expected'),
        ({'oks_threshold': 1}, ValueError, 'oks_threshold is 1: expected a'),
        ({'area_factor': 0}, ValueError, 'area_factor is 0: expected a positive'),
        ({'score_threshold': '.1'}, TypeError, "score_threshold is '.1'"),
        ({'sigmas': (0.1, -1)}, ValueError, 'sigmas is'),
    ],
)
def test_invalid_options_raise(options, error, words):
    with pytest.raises(error, match=words):
        make(**options)


def test_wrong_number_of_keypoints_raises():
    # keypoints of CrowdPose with sigmas of COCO, and vice versa
    with pytest.raises(ValueError, match=r'\(1, 14, 2\): expected .n, 17, 2'):
        encode(make(), np.zeros((1, 14, 2)))
    with pytest.raises(ValueError, match=r'\(1, 17, 2\): expected .n, 14, 2'):
        encode(make(sigmas=CROWDPOSE), np.zeros((1, 17, 2)))


def test_missing_areas_or_sizes_raise():
    joints = np.zeros((2, 2, 2))
    with pytest.raises(ValueError, match='area is None: expected a number for each of 2 people'):
        small().encode(joints, sizes=np.ones(2))
    with pytest.raises(ValueError, match=r'sizes is of the shape \(1,\)'):
        small().encode(joints, area=np.ones(2), sizes=np.ones(1))


def outputs_at(scale: str) -> dict:
    """Return golden outputs for one image."""
    values = {
        key: torch.from_numpy(GOLDEN[f'decode_{scale}_{key}'])
        for key in (
            'heatmaps',
            *(f'{kind}{k}' for k in range(3) for kind in ('confidence', 'joints')),
        )
    }
    return dict(
        confidences=[values[f'confidence{k}'].logit() for k in range(3)],
        joints=[values[f'joints{k}'] for k in range(3)],
        heatmaps=values['heatmaps'],
    )


@pytest.mark.parametrize(('name', 'scales'), [('single', ['1']), ('multi', ['1', '0.75', '1.25'])])
def test_golden_poses(name, scales):
    codec = make(max_num_people=12)
    ((poses, scores),) = codec.decode(
        [outputs_at(scale) for scale in scales], list(map(float, scales))
    )
    expected = GOLDEN[f'decode_{name}_poses']
    assert poses.shape == expected[..., :2].shape
    crop_size = 200 * GOLDEN['decode_scale']
    decoded = (
        poses.numpy() / GOLDEN['decode_base_size'] * crop_size
        + GOLDEN['decode_center']
        - crop_size / 2
    )
    np.testing.assert_allclose(decoded, expected[..., :2], atol=1e-4)
    np.testing.assert_allclose(scores, expected[..., 2], atol=1e-6)
    np.testing.assert_allclose(scores.mean(1), GOLDEN[f'decode_{name}_scores'], atol=1e-6)


def test_images_of_a_batch_are_independent():
    codec, rng = make(max_num_people=6), torch.Generator().manual_seed(0)
    images, batches = [], []
    for scale in ('1', '0.75'):
        first = outputs_at(scale)
        second = dict(
            confidences=[torch.randn(c.shape, generator=rng) for c in first['confidences']],
            joints=[j.flip(1) for j in first['joints']],
            heatmaps=first['heatmaps'].flip(2),
        )
        images.append((first, second))
        batches.append(
            {
                key: torch.cat((first[key], second[key]))
                if key == 'heatmaps'
                else [torch.cat(pair) for pair in zip(first[key], second[key])]
                for key in first
            }
        )
    decoded = codec.decode(batches, (1, 0.75))
    for image in range(2):
        (single,) = codec.decode([pair[image] for pair in images], (1, 0.75))
        for a, b in zip(decoded[image], single):
            torch.testing.assert_close(a, b)
    assert not torch.equal(decoded[0][0], decoded[1][0])


def tiny_outputs(logits, joints) -> dict:
    """Return outputs for an image: 2x2 queries of one scale, and heatmaps of 4x4."""
    return dict(
        confidences=[torch.tensor(logits).reshape(1, 1, 2, 2)],
        joints=[torch.tensor(joints).reshape(1, 2, 2, 2, 2)],
        heatmaps=torch.arange(32.0).reshape(1, 2, 4, 4) / 32,
    )


LOGITS = [0.0, -1.0, 3.0, -9.0]
# The joints of the third query are in the pixel (1, 2), and to the right of the last row.
JOINTS = [
    [[1.0, 1.0], [2.0, 2.0]],
    [[3.0, 0.0], [3.0, 3.0]],
    [[1.9, 2.1], [7.0, 3.5]],
    [[0.0, 0.0], [0.0, 0.0]],
]


def tiny_codec(**options) -> MultiScaleJoints:
    """Return a codec for `tiny_outputs`."""
    return MultiScaleJoints((16, 16), (4, 4), (0.1, 0.1), nms_num_close=1, **options)


def test_threshold_order_and_values():
    ((poses, scores),) = tiny_codec().decode([tiny_outputs(LOGITS, JOINTS)])
    torch.testing.assert_close(poses, 4 * torch.tensor(JOINTS)[[2, 0, 1]])
    confidences = torch.tensor([3.0, 0.0, -1.0]).sigmoid()
    torch.testing.assert_close(
        scores, confidences[:, None] * torch.tensor([(9, 16 + 15), (5, 16 + 10), (3, 16 + 15)]) / 32
    )
    ((poses, _),) = tiny_codec(score_threshold=0.5).decode([tiny_outputs(LOGITS, JOINTS)])
    torch.testing.assert_close(poses, 4 * torch.tensor(JOINTS)[[2]])
    ((poses, _),) = tiny_codec(max_num_people=2).decode([tiny_outputs(LOGITS, JOINTS)])
    torch.testing.assert_close(poses, 4 * torch.tensor(JOINTS)[[2, 0]])
    ((poses, scores),) = tiny_codec(score_threshold=0.99).decode([tiny_outputs(LOGITS, JOINTS)])
    assert poses.shape == (0, 2, 2)
    assert scores.shape == (0, 2)


def test_one_pose_of_two_scales_is_kept():
    high, low = [9.0, -9.0, -9.0, -9.0], [-9.0] * 4
    joints = 2 * torch.tensor(JOINTS).flip(0)
    ((poses, _),) = tiny_codec().decode(
        [tiny_outputs(low, JOINTS), tiny_outputs(high, joints.tolist())], (1, 2)
    )
    torch.testing.assert_close(poses, 2 * joints[:1])


def test_same_pose_at_two_scales_is_decoded_once():
    double = (2 * torch.tensor(JOINTS)).tolist()
    both = [
        tiny_outputs([9.0, -9.0, -9.0, -9.0], JOINTS),
        tiny_outputs([7.0, -9.0, -9.0, -9.0], double),
    ]
    ((poses, scores),) = tiny_codec(nms_distance=0.1).decode(both, (1, 2))
    assert len(poses) == 1
    both[1]['joints'][0] = both[1]['joints'][0] + 2
    ((poses, scores),) = tiny_codec(nms_distance=0.1).decode(both, (1, 2))
    assert len(poses) == len(scores) == 2


def test_half_precision_and_nan():
    outputs = tiny_outputs(LOGITS, JOINTS)
    half = {
        key: value.half() if key == 'heatmaps' else [tensor.half() for tensor in value]
        for key, value in outputs.items()
    }
    ((poses, scores),) = tiny_codec().decode([half])
    ((exact, exact_scores),) = tiny_codec().decode([outputs])
    assert poses.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(poses, exact, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(scores, exact_scores, rtol=1e-2, atol=1e-2)
    outputs['joints'][0][0, 1, 0] = float('nan')
    ((poses, scores),) = tiny_codec().decode([outputs])
    assert poses[0].isnan().all()
    torch.testing.assert_close(poses[1:], exact[1:])


@pytest.mark.parametrize('scales', [(1,), (1, 0.5)])
def test_nan_confidences_give_nan_scores(scales):
    """A model that is not finite must not look like one that finds no people."""
    outputs = tiny_outputs([5.0, -9.0, float('nan'), -9.0], JOINTS)
    ((_, scores),) = tiny_codec().decode([outputs] * len(scales), scales)
    assert scores.isnan().all(1).any()
    assert scores.isfinite().all(1).any()


def test_average_of_heatmaps():
    ones, twos = torch.ones(1, 2, 4, 4), torch.full((1, 2, 2, 2), 2.0)
    twos[0, 0] = 4
    for maps, size in zip(average_heatmaps([ones, twos]), (4, 2)):
        assert maps.shape[-2:] == (size, size)
        torch.testing.assert_close(maps[0, :, 0, 0], torch.tensor([2.5, 1.5]))


@pytest.mark.parametrize('factors', [(0.75,), (1, 0.75), ()])
def test_invalid_scale_factors_raise(factors):
    with pytest.raises(ValueError, match='expected 1, then others, one for each of 1 outputs'):
        tiny_codec().decode([tiny_outputs(LOGITS, JOINTS)], factors)


def test_codec_is_registered():
    codec = KEYPOINT_CODECS.build(
        dict(
            type='pose_backbones.MultiScaleJoints',
            input_size=(8, 8),
            heatmap_size=(2, 2),
            sigmas=CROWDPOSE,
        )
    )
    assert isinstance(codec, MultiScaleJoints)
    assert len(codec.sigmas) == 14
