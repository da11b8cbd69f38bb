"""Targets of a batch against the NumPy code of the codecs.

The largest difference that was measured is 2e-7 of the peak of the targets (megvii).
"""

import numpy as np
import pytest
import torch
from mmpose.codecs import DecoupledHeatmap, MegviiHeatmap, MSRAHeatmap, SimCCLabel, UDPHeatmap

from pose_backbones.codecs import CoarseToFineHeatmap
from pose_backbones.codecs.batched_targets import batched_encoder
from pose_backbones.errors import ConfigError

WIDTH, HEIGHT = 192, 256
SIZES = dict(input_size=(WIDTH, HEIGHT), heatmap_size=(48, 64))
#: largest difference, relative to the peak
TOLERANCE = 1e-6
CODECS = {
    'msra': lambda: MSRAHeatmap(**SIZES, sigma=2),
    # a window of 3.9 cells on both sides, which MMPose truncates to integers
    'msra 1.3': lambda: MSRAHeatmap(**SIZES, sigma=1.3),
    'msra 1.5': lambda: MSRAHeatmap(**SIZES, sigma=1.5),
    'msra rectangle': lambda: MSRAHeatmap(input_size=(100, 50), heatmap_size=(30, 20), sigma=3),
    'unbiased': lambda: MSRAHeatmap(**SIZES, sigma=2, unbiased=True),
    'udp': lambda: UDPHeatmap(**SIZES, sigma=2),
    'udp 1.5': lambda: UDPHeatmap(**SIZES, sigma=1.5),
    'udp demo': lambda: UDPHeatmap(input_size=(96, 128), heatmap_size=(24, 32), sigma=4 / 3),
    'megvii': lambda: MegviiHeatmap(**SIZES, kernel_size=11),
    'coarse to fine': lambda: CoarseToFineHeatmap(**SIZES),
    'coarse to fine 2': lambda: CoarseToFineHeatmap(
        input_size=(100, 50), heatmap_size=(30, 20), kernel_sizes=(7, 3)
    ),
    'simcc': lambda: SimCCLabel(input_size=(WIDTH, HEIGHT), sigma=(4.9, 5.66)),
    'simcc 1.3': lambda: SimCCLabel(
        input_size=(WIDTH, HEIGHT), sigma=6, simcc_split_ratio=1.3, normalize=False
    ),
}


def random_points(codec) -> np.ndarray:
    """Return points (N, 17, 2) inside the input, and on all sides of it."""
    rng = np.random.default_rng(0)
    size = np.array(codec.input_size)
    return rng.uniform(-0.3 * size, 1.3 * size, (24, 17, 2)).astype(np.float32)


def edge_points(codec) -> np.ndarray:
    """Return points (N, 17, 2) at, and next to, edges, centers and borders of cells."""
    rng = np.random.default_rng(1)
    size = np.array(codec.input_size, np.float32)
    axes = []
    for length, cells in zip(codec.input_size, getattr(codec, 'heatmap_size', codec.input_size)):
        # half cells near both borders, with the scales of MSRA and UDP
        halves = np.r_[-60:9, 2 * cells - 9 : 2 * cells + 60] / 2
        values = np.r_[halves * length / cells, halves * (length - 1) / (cells - 1)]
        values = np.r_[values, length - 1, 1e6, -1e6, 1e20, -1e20, np.nan].astype(np.float32)
        axes.append(np.r_[values, np.nextafter(values, 1e30), np.nextafter(values, -1e30)])
    points = [np.stack([rng.permutation(values) for values in axes], -1)]
    for axis, values in enumerate(axes):  # with the other coordinate in the middle
        points.append(np.tile(size / 2.1, (len(values), 1)))
        points[-1][:, axis] = values
    return np.resize(np.concatenate(points), (150, 17, 2)).astype(np.float32)


def visibility(points: np.ndarray) -> np.ndarray:
    values = np.array([0, 0.3, 0.5, 1, 1, 1, 1], np.float32)
    return np.random.default_rng(2).choice(values, points.shape[:2])


def encode_with_numpy(codec, points: np.ndarray, visible: np.ndarray) -> dict[str, np.ndarray]:
    encoded = [codec.encode(p[None].copy(), v[None].copy()) for p, v in zip(points, visible)]
    single = ('heatmaps',)  # without the dimension of people
    return {
        key: (np.stack if key in single else np.concatenate)([sample[key] for sample in encoded])
        for key in encoded[0]
    }


def assert_equal(codec, points: np.ndarray, visible: np.ndarray, device: str = 'cpu') -> None:
    expected = encode_with_numpy(codec, points, visible)
    encoder = batched_encoder(codec).to(device)
    with torch.autocast(device, torch.bfloat16):  # as in training with mixed precision
        targets = encoder(*(torch.from_numpy(values).to(device) for values in (points, visible)))
    assert targets.keys() == expected.keys()
    for key, value in expected.items():
        target = targets[key].cpu().numpy()
        assert target.dtype == value.dtype, key
        assert target.shape == value.shape, key
        if key == 'keypoint_weights':
            np.testing.assert_array_equal(target, value)
        else:
            peak = np.nanmax(value)
            assert peak > 0
            np.testing.assert_allclose(target, value, rtol=0, atol=TOLERANCE * peak)


@pytest.mark.filterwarnings('ignore:invalid value encountered in cast')
@pytest.mark.parametrize('make_points', [random_points, edge_points])
@pytest.mark.parametrize('name', CODECS)
def test_targets(name, make_points):
    codec = CODECS[name]()
    points = make_points(codec)
    assert_equal(codec, points, visibility(points))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.filterwarnings('ignore:invalid value encountered in cast')
@pytest.mark.parametrize('name', CODECS)
def test_targets_on_a_gpu(name):
    codec = CODECS[name]()
    points = edge_points(codec)
    assert_equal(codec, points, visibility(points), 'cuda')


@pytest.mark.parametrize('name', ['msra', 'unbiased', 'udp', 'megvii', 'coarse to fine', 'simcc'])
def test_keypoints_and_visibility_in_double_precision(name):
    codec = CODECS[name]()
    points = random_points(codec)
    assert_equal(codec, points.astype(np.float64), visibility(points).astype(np.float64))


@pytest.mark.parametrize('name', CODECS)
def test_keypoints_that_are_not_labelled(name):
    codec = CODECS[name]()
    points = torch.from_numpy(random_points(codec))
    *maps, weights = batched_encoder(codec)(points, torch.zeros(points.shape[:2])).values()
    assert not weights.any()
    assert not any(values.any() for values in maps)


class OtherHeatmap(MSRAHeatmap):
    """A codec that may encode in another way."""


@pytest.mark.parametrize(
    ('codec', 'message'),
    [
        (OtherHeatmap(**SIZES, sigma=2), 'OtherHeatmap cannot be encoded in batches: expected'),
        (DecoupledHeatmap(**SIZES), 'DecoupledHeatmap cannot .*: expected CoarseToFineHeatmap, M'),
        (UDPHeatmap(**SIZES, heatmap_type='combined'), "heatmap_type='combined' cannot"),
        (UDPHeatmap(**SIZES, sigma=(2, 3)), r'sigma=\(2, 3\) cannot .*: expected a number'),
        (SimCCLabel((WIDTH, HEIGHT), smoothing_type='standard'), "smoothing_type='standard' can"),
    ],
)
def test_unsupported_codecs_raise(codec, message):
    with pytest.raises(ConfigError, match=message) as caught:
        batched_encoder(codec)
    assert '\n' not in str(caught.value)
