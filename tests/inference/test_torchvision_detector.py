"""Tests of person detectors from torchvision, with random weights."""

import math

import numpy as np
import pytest
import torch
from torchvision import models
from torchvision.ops import nms

from pose_backbones.errors import CheckpointError, ConfigError, ImageError
from pose_backbones.inference import TorchvisionDetector, load_detector
from pose_backbones.inference.torchvision_detector import list_torchvision_detectors
from tests.helpers.pose_cases import make_image, use_statistics_of_next_batch

NAMES = (
    'fasterrcnn_mobilenet_v3_large_320_fpn',
    'ssdlite320_mobilenet_v3_large',
    'retinanet_resnet50_fpn',
)


def build_original(name: str, path) -> torch.nn.Module:
    """Build a detector as torchvision does with its released weights, here random ones.

    Args:
        name: Name in torchvision.
        path: Path of the weights in the cache of torch.hub.
    """
    torch.manual_seed(0)
    model = models.get_model(name, weights=None, weights_backbone=None)
    weights = model.state_dict()
    for key, value in weights.items():
        if value.ndim > 1 and ('cls' in key or 'classification' in key):
            value.normal_(std=value[0].numel() ** -0.5)
    # Without this, the feature maps would be zero, and all scores equal.
    use_statistics_of_next_batch(model.eval())
    model.transform.min_size = (160,)  # for speed
    images = [torch.from_numpy(make_image(seed, 160, 160)) for seed in range(4)]
    model([image.permute(2, 0, 1) / 255 for image in images])
    path.parent.mkdir(parents=True)
    keys = models.get_model(name, weights=None, weights_backbone=None).state_dict().keys()
    torch.save({key: weights[key] for key in keys if 'num_batches_tracked' not in key}, path)
    return models.get_model(name, weights='DEFAULT').eval()


@pytest.fixture(scope='module', params=NAMES)
def pair(request, tmp_path_factory):
    """Return a detector of torchvision itself, and that of the package with the same weights."""
    folder = tmp_path_factory.mktemp('torchvision')
    url = models.get_model_weights(request.param).DEFAULT.url
    path = folder / 'hub/checkpoints' / url.rpartition('/')[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TORCH_HOME', str(folder))
        original = build_original(request.param, path)
    detect = load_detector(f'torchvision::{request.param}', str(path), device='cpu')
    for model in (original, detect.model):
        if model.transform.fixed_size is None:  # for speed
            model.transform.min_size, model.transform.max_size = (96,), 160
        head = getattr(model, 'roi_heads', model)
        head.score_thresh, head.detections_per_img = 0.0, 100_000  # random scores are low
    return original, detect


@torch.inference_mode()
def detect_with_torchvision(model, image: np.ndarray) -> np.ndarray:
    """Return the boxes of people of the model itself, with the scores."""
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) / 255
    (found,) = model([rgb])
    boxes, scores = (found[key][found['labels'] == 1] for key in ('boxes', 'scores'))
    kept = nms(boxes, scores, 0.7)
    return torch.cat((boxes, scores[:, None]), 1)[kept].numpy()


def assert_same_boxes(boxes: np.ndarray, expected: np.ndarray, atol: float) -> None:
    """Compare boxes and scores in any order, since rounding may exchange boxes of equal scores."""
    assert len(boxes) == len(expected)
    difference = np.abs(boxes[:, None] - expected).max(axis=2)
    for axis in (0, 1):
        np.testing.assert_allclose(difference.min(axis), 0, atol=atol)


def test_detector_matches_torchvision(pair):
    original, detect = pair
    image = make_image(4, 96, 64)
    expected = detect_with_torchvision(original, image)
    assert len(expected)
    assert_same_boxes(detect(image), expected, atol=1e-3)


def test_batches_match_single_images(pair):
    model = pair[1].model
    detect = TorchvisionDetector(model, batch_size=3)
    sizes = [(96, 64), (64, 96), (96, 64), (128, 96)]
    images = [make_image(seed, *size) for seed, size in enumerate(sizes)]
    narrow = np.zeros((1, 30_000, 3), np.uint8)
    *found, failed = detect.detect_batch([*images, narrow])
    assert all(map(len, found))
    for boxes, image in zip(found, images, strict=True):
        assert_same_boxes(boxes, detect(image), atol=0.01)
    if isinstance(failed, ImageError):  # SSDLite resizes any image to a square
        assert 'an image of 30000 x 1 pixels' in str(failed)
    else:
        assert model.transform.fixed_size is not None


def test_images_of_different_padded_sizes_are_not_in_one_batch():
    torch.manual_seed(0)
    model = models.get_model(NAMES[0], weights=None, weights_backbone=None)
    detect = TorchvisionDetector(model, batch_size=4)
    batches = []
    original = model.forward
    model.forward = lambda images: batches.append(len(images)) or original(images)
    detect.detect_batch([make_image(0, 96, 64), make_image(1, 64, 96), make_image(2, 95, 64)])
    assert batches == [2, 1]


def test_names():
    names = list_torchvision_detectors()
    assert {f'torchvision::{name}' for name in NAMES} <= set(names)
    assert not any('mask' in name for name in names)
    with pytest.raises(ConfigError, match=r'expected .*torchvision::ssd300_vgg16.*did you mean'):
        load_detector('torchvision::fasterrcnn_mobilenet_v3')


def test_weights_of_another_detector_raise(tmp_path):
    model = models.get_model(NAMES[1], weights=None, weights_backbone=None, num_classes=2)
    torch.save(model.state_dict(), tmp_path / 'two.pth')
    with pytest.raises(CheckpointError, match='two.pth does not fit this detector'):
        load_detector(f'torchvision::{NAMES[1]}', str(tmp_path / 'two.pth'))


def test_weights_are_found_in_the_mirror(tmp_path, monkeypatch):
    """The published file name contains a hash, which random weights do not have."""
    url = models.get_model_weights(NAMES[1]).DEFAULT.url
    torch.save({'a': torch.zeros(1)}, tmp_path / url.rpartition('/')[2])
    monkeypatch.setenv('POSE_BACKBONES_MIRROR', str(tmp_path))
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', '1')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    with pytest.raises(CheckpointError, match=f'{NAMES[1]} cannot be downloaded.*SHA-256'):
        load_detector(f'torchvision::{NAMES[1]}')


def test_batch_norms_without_epsilon_are_those_of_torchvision(pair):
    original, detect = pair

    def epsilons(model):
        return [
            module.eps
            for module in model.modules()
            if isinstance(module, torch.nn.BatchNorm2d) or hasattr(module, 'running_var')
        ]

    expected, found = epsilons(original), epsilons(detect.model)
    assert len(expected) > 10
    assert all(math.isclose(a, b) for a, b in zip(expected, found, strict=True))
