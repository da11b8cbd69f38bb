"""`CoarseToFineHeatmap`, the codec of MSPN: golden values, borders, errors."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_backbones.codecs import CoarseToFineHeatmap

GOLDEN = Path(__file__).parents[1] / 'golden/mspn_decode.npz'
KERNELS = (15, 11, 9, 7, 5)


def codec(**kwargs) -> CoarseToFineHeatmap:
    """Return a codec for inputs of 192x256 (width x height)."""
    return CoarseToFineHeatmap(**{'input_size': (192, 256), 'heatmap_size': (48, 64), **kwargs})


@pytest.mark.parametrize(('data', 'joints'), [('coco', 2), ('mpii', 1)])
def test_decoding_matches_original(data, joints):
    """The golden values include keypoints at the border."""
    with np.load(GOLDEN) as golden:
        case = {
            name.removeprefix(f'{data}_'): golden[name] for name in golden if name.startswith(data)
        }
    maps, size = case['heatmaps'], case['input_hw'][::-1]
    assert maps.shape[:2] == (4, joints)
    instance = codec(
        input_size=tuple(map(int, size)),
        heatmap_size=maps.shape[:1:-1],
        blur_kernel_size=int(case['blur_kernel']),
    )
    for number, box in enumerate(case['sizes']):
        points, scores = instance.decode(maps[number])
        assert points.shape == (1, joints, 2)
        points = (points[0] / size - 0.5) * box + case['centers'][number]
        np.testing.assert_allclose(points, case['keypoints'][number], atol=1e-9)
        np.testing.assert_allclose(scores[0], case['scores'][number], atol=1e-6)


def expected_target(point, kernel: int) -> np.ndarray:
    """Compute a target by its definition: a smoothed impulse, scaled to a peak of 255."""
    target = np.zeros((64, 48), np.float32)
    target[int(point[1] / 4), int(point[0] / 4)] = 1
    target = cv2.GaussianBlur(target, (kernel, kernel), 0)
    return target * (255 / target.max())


def test_targets_of_every_kernel():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, (191, 255), (1, 12, 2))
    points[0, :4] = (0, 0), (191, 255), (5, 254), (100.5, 6)  # at the borders
    encoded = codec().encode(points, np.ones((1, 12), np.float32))
    maps = encoded['heatmaps'].reshape(5, 12, 64, 48)
    assert maps.dtype == np.float32
    for level, kernel in zip(maps, KERNELS):
        for target, point in zip(level, points[0]):
            np.testing.assert_allclose(target, expected_target(point, kernel), atol=1e-3)
    assert maps.max((2, 3)) == pytest.approx(255)
    assert (encoded['keypoint_weights'] == 1).all()


def test_unlabelled_and_outside_keypoints_have_no_target():
    points = np.array([[[50, 50], [60, 60], [70, 70], [-1, 9], [9, 255.5], [191.2, 9]]], float)
    visible = np.array([[1, 0.5, 0, 1, 1, 1]])
    encoded = codec().encode(points, visible)
    assert encoded['keypoint_weights'].tolist() == [[1, 0.5, 0, 0, 0, 0]]
    peaks = encoded['heatmaps'].reshape(5, 6, -1).max(-1)
    assert (peaks[:, 2:] == 0).all()
    assert (peaks[:, :2] > 254).all()
    assert visible.tolist() == [[1, 0.5, 0, 1, 1, 1]]
    encoded_unlabelled = codec().encode(points, np.zeros((1, 6)))
    assert not encoded_unlabelled['heatmaps'].any()


def test_decoded_targets_are_near_the_keypoints():
    """The error is at most half a cell, 2 pixels, and a quarter of a cell, 1 pixel."""
    rng = np.random.default_rng(1)
    points = rng.uniform(12, (180, 244), (1, 17, 2))
    maps = codec().encode(points, np.ones((1, 17)))['heatmaps']
    decoded, scores = codec().decode(maps[-17:])
    assert np.abs(decoded - points).max() <= 2 + 1 + 1e-6
    assert scores == pytest.approx(1.5)


def test_maps_without_a_peak():
    """As in the original, the peak of a map without positive values is its first cell."""
    maps = np.zeros((2, 64, 48), np.float32)
    maps[1] = -51
    points, scores = codec().decode(maps)
    assert points[0].tolist() == [[2, 2], [2, 2]]
    assert scores[0] == pytest.approx([0.5, 0.3])


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_maps_that_are_not_finite_give_nan(value):
    """The first cell of a smoothed NaN is not the cell with the NaN, and looked like a peak."""
    maps = np.random.default_rng(0).uniform(0, 200, (3, 32, 24)).astype(np.float32)
    points, scores = codec().decode(maps)
    maps[1, 9, 7] = value
    nan_points, nan_scores = codec().decode(maps)
    assert np.isnan(nan_points[0, 1]).all()
    assert np.isnan(nan_scores[0, 1])
    np.testing.assert_array_equal(nan_points[0, [0, 2]], points[0, [0, 2]])
    np.testing.assert_array_equal(nan_scores[0, [0, 2]], scores[0, [0, 2]])


def test_many_keypoints_are_decoded_in_blocks():
    rng = np.random.default_rng(2)
    maps = rng.random((513, 64, 48), np.float32)
    points, scores = codec().decode(maps)
    for index in (0, 127, 128, 511, 512):
        single = codec().decode(maps[index : index + 1])
        assert points[0, index].tolist() == single[0][0, 0].tolist()
        assert scores[0, index] == single[1][0, 0]


@pytest.mark.parametrize(
    ('argument', 'value', 'message'),
    [
        ('kernel_sizes', (), r'kernel_sizes is \(\): expected odd'),
        ('kernel_sizes', (15, 10), r'kernel_sizes is \(15, 10\): expected odd'),
        ('kernel_sizes', (5, 9), r'\(5, 9\): .*the widest first'),
        ('kernel_sizes', (9, 9), r'\(9, 9\): expected different sizes'),
        ('blur_kernel_size', 4, 'blur_kernel_size is 4: expected odd'),
    ],
)
def test_invalid_kernels_raise(argument, value, message):
    with pytest.raises(ValueError, match=message):
        codec(**{argument: value})


def test_several_people_raise():
    with pytest.raises(ValueError, match='keypoints are of 2 people'):
        codec().encode(np.zeros((2, 17, 2)))
