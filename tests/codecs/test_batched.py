"""Batched decoding against the NumPy code of MMPose's codecs."""

import numpy as np
import pytest
import torch
from mmpose.codecs import (
    DecoupledHeatmap,
    IntegralRegressionLabel,
    MegviiHeatmap,
    MSRAHeatmap,
    RegressionLabel,
    SimCCLabel,
    UDPHeatmap,
)

from pose_backbones.codecs import CoarseToFineHeatmap
from pose_backbones.codecs.batched import batched_decoder
from pose_backbones.codecs.map_operations import find_peaks
from pose_backbones.errors import ConfigError

SIZES = dict(input_size=(192, 256), heatmap_size=(48, 64))
NUM_KEYPOINTS = 17
#: largest difference of keypoints in pixels; 1e-3 is what users are promised
TOLERANCE = 1e-3

HEATMAP_CODECS = {
    'msra': (lambda: MSRAHeatmap(**SIZES, sigma=2), 1),
    'msra rectangle': (
        lambda: MSRAHeatmap(input_size=(288, 384), heatmap_size=(72, 96), sigma=3),
        1,
    ),
    'dark': (lambda: MSRAHeatmap(**SIZES, sigma=2, unbiased=True), 1),
    'dark 17': (lambda: MSRAHeatmap(**SIZES, sigma=3, unbiased=True, blur_kernel_size=17), 1),
    'udp': (lambda: UDPHeatmap(**SIZES, sigma=2), 1),
    'udp combined': (lambda: UDPHeatmap(**SIZES, heatmap_type='combined'), 1),
    'megvii': (lambda: MegviiHeatmap(**SIZES, kernel_size=11), 255),
    'coarse to fine': (lambda: CoarseToFineHeatmap(**SIZES), 255),
    'coarse to fine 9': (lambda: CoarseToFineHeatmap(**SIZES, blur_kernel_size=9), 255),
}


def gaussian_maps(codec, peak: float, noise: float, seed: int) -> np.ndarray:
    """Return maps (N, K, H, W) with a peak anywhere, also at borders, and noise."""
    rng = np.random.default_rng(seed)
    width, height = codec.heatmap_size
    centers = rng.uniform((-0.5, -0.5), (width - 0.5, height - 0.5), (8, NUM_KEYPOINTS, 2))
    y, x = np.mgrid[:height, :width]
    distance = (x - centers[..., :1, None]) ** 2 + (y - centers[..., 1:, None]) ** 2
    sigma = rng.uniform(1.5, 3, (8, NUM_KEYPOINTS, 1, 1))
    values = rng.uniform(0.2, 1, sigma.shape) * np.exp(-distance / (2 * sigma**2))
    values += noise * rng.standard_normal(values.shape)
    return (peak * values).astype(np.float32)


def decode_with_numpy(codec, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    samples = zip(*outputs)
    if isinstance(codec, SimCCLabel):  # `use_dark` requires the dimension of the batch
        samples = ((output[None] for output in sample) for sample in samples)
    decoded = [codec.decode(*(output.copy() for output in sample)) for sample in samples]
    keypoints, scores = (np.concatenate(values) for values in zip(*decoded))
    return keypoints, scores


def decode_with_torch(codec, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    keypoints, scores = batched_decoder(codec)(*map(torch.from_numpy, outputs))
    assert keypoints.dtype == scores.dtype == torch.float32
    return keypoints.numpy(), scores.numpy()


def assert_equal(codec, outputs: list[np.ndarray], tolerance: float = TOLERANCE) -> None:
    expected, expected_scores = decode_with_numpy(codec, outputs)
    keypoints, scores = decode_with_torch(codec, outputs)
    np.testing.assert_allclose(keypoints, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('noise', [0.0, 0.003])
@pytest.mark.parametrize('name', HEATMAP_CODECS)
def test_heatmaps(name: str, noise: float) -> None:
    make, peak = HEATMAP_CODECS[name]
    codec = make()
    for seed in range(3):
        maps = gaussian_maps(codec, peak, noise, seed)
        if name == 'udp combined':
            offsets = np.random.default_rng(seed).uniform(-1, 1, (*maps.shape, 2))
            maps = np.stack((maps, *offsets.astype(np.float32).transpose(4, 0, 1, 2, 3)), 2)
            maps = maps.reshape(len(maps), -1, *maps.shape[-2:])
        assert_equal(codec, [maps])


@pytest.mark.parametrize('name', ['msra', 'coarse to fine'])
@pytest.mark.parametrize('value', [0.0, -0.5])
def test_maps_without_a_positive_value(name: str, value: float) -> None:
    maps = np.full((2, 3, 64, 48), value, np.float32)
    maps[1, 1] *= np.linspace(1, 2, 48)
    assert_equal(HEATMAP_CODECS[name][0](), [maps])


@pytest.mark.parametrize('name', ['dark', 'udp'])
def test_maps_of_zeros_are_not_refined(name: str) -> None:
    """NumPy divides 0 by 0 for them."""
    codec = HEATMAP_CODECS[name][0]()
    keypoints, scores = batched_decoder(codec)(torch.zeros(1, 2, 64, 48))
    scale = {'dark': (4, 4), 'udp': (192 / 47, 256 / 63)}[name]
    assert torch.allclose(keypoints, -torch.tensor(scale).float())
    assert scores.tolist() == [[0, 0]]


def test_udp_maps_without_a_positive_value() -> None:
    codec = HEATMAP_CODECS['udp'][0]()
    maps = gaussian_maps(codec, 1, 0.003, 0)
    maps[:, 3:5] = -np.abs(maps[:, 3:5]) - 0.1
    maps[:, 0] = -1
    assert_equal(codec, [maps])


@pytest.mark.parametrize('name', HEATMAP_CODECS)
def test_corner_and_edge_cells(name: str) -> None:
    make, peak = HEATMAP_CODECS[name]
    codec = make()
    width, height = codec.heatmap_size
    xs, ys = (0, 1, 2, width - 3, width - 2, width - 1), (0, 1, 2, height - 3, height - 1)
    centers = np.array([(x + 0.1, y + 0.2) for x in xs for y in ys])
    y, x = np.mgrid[:height, :width]
    distance = (x - centers[:, :1, None]) ** 2 + (y - centers[:, 1:, None]) ** 2
    maps = (peak * np.exp(-distance / 8)).astype(np.float32)[None]
    if name == 'udp combined':
        maps = np.repeat(maps, 3, 1)
    assert_equal(codec, [maps])


@pytest.mark.parametrize('name', HEATMAP_CODECS)
def test_nan_is_visible_in_the_scores(name: str) -> None:
    make, peak = HEATMAP_CODECS[name]
    codec = make()
    maps = torch.from_numpy(gaussian_maps(codec, peak, 0, 0))
    if name == 'udp combined':
        maps = maps.repeat_interleave(3, 1)
    maps[1, 3, 5, 7] = torch.nan
    _, scores = batched_decoder(codec)(maps)
    index = 1 if name == 'udp combined' else 3
    assert scores[1, index].isnan()
    assert scores.isnan().sum() == 1


@pytest.mark.parametrize('use_dark', [False, True])
@pytest.mark.parametrize('sigma', [6.0, (4.9, 5.66)])
def test_simcc(use_dark: bool, sigma: float | tuple) -> None:
    codec = SimCCLabel(input_size=(192, 256), sigma=sigma, use_dark=use_dark, normalize=False)
    rng = np.random.default_rng(0)
    vectors = []
    for length in (384, 512):
        centers = rng.uniform(0, length - 1, (4, NUM_KEYPOINTS, 1))
        bumps = np.exp(-((np.arange(length) - centers) ** 2) / 72)
        vectors.append((rng.uniform(0.2, 1.5, centers.shape) * bumps).astype(np.float32))
    assert_equal(codec, vectors)


def test_simcc_without_a_positive_value() -> None:
    codec = SimCCLabel(input_size=(192, 256))
    x, y = -np.ones((1, 2, 384), np.float32), np.ones((1, 2, 512), np.float32)
    assert_equal(codec, [x, y])


@pytest.mark.parametrize('columns', [2, 4])
def test_regression(columns: int) -> None:
    rng = np.random.default_rng(0)
    coordinates = rng.uniform(-0.1, 1.1, (3, 1, NUM_KEYPOINTS, columns)).astype(np.float32)
    assert_equal(RegressionLabel(input_size=(192, 256)), [coordinates])
    codec = IntegralRegressionLabel(**SIZES, sigma=2)
    expected = codec.decode(coordinates[0])[0][0]
    keypoints, _ = batched_decoder(codec)(torch.from_numpy(coordinates))
    np.testing.assert_allclose(keypoints[0], expected, atol=TOLERANCE)


def test_first_of_equal_peaks() -> None:
    maps = torch.zeros(1, 1, 5, 4)
    maps[0, 0, 3, 1] = maps[0, 0, 3, 2] = maps[0, 0, 4, 0] = 2
    cells, values = find_peaks(maps)
    assert cells.tolist() == [[[1, 3]]]
    assert values.tolist() == [[2]]


def test_half_precision_maps_are_decoded_in_float32() -> None:
    codec = MSRAHeatmap(**SIZES, sigma=2)
    maps = torch.from_numpy(gaussian_maps(codec, 1, 0, 0)).bfloat16()
    keypoints, scores = batched_decoder(codec)(maps)
    expected, _ = decode_with_numpy(codec, [maps.float().numpy()])
    np.testing.assert_allclose(keypoints, expected, atol=TOLERANCE)
    assert scores.dtype == torch.float32


def test_unsupported_codecs_are_named() -> None:
    with pytest.raises(ConfigError, match=r'the codec DecoupledHeatmap cannot .*MSRAHeatmap'):
        batched_decoder(DecoupledHeatmap(input_size=(64, 64), heatmap_size=(16, 16)))
    with pytest.raises(ConfigError, match='decode_visibility=True'):
        batched_decoder(SimCCLabel(input_size=(64, 64), decode_visibility=True))
