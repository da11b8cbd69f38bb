"""Tests of person detectors from MMDetection."""

import copy
import urllib.request

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope, init_default_scope
from torchvision.ops import nms

from pose_backbones import PoseInferencer
from pose_backbones.errors import CheckpointError, ConfigError, ImageError
from pose_backbones.inference import detector as detectors
from pose_backbones.inference import prediction_stream
from pose_backbones.inference.detector import DETECTORS, PersonDetector, load_detector
from tests.helpers.pose_cases import estimator, make_image

CLASSES = ('cat', 'person', 'dog')


@pytest.fixture(scope='module')
def small_detector(tmp_path_factory):
    """Return a config with three classes and a checkpoint whose boxes have high scores."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    folder = tmp_path_factory.mktemp('detector')
    config = get_config(DETECTORS['rtmdet-tiny'])
    config.model.backbone.update(deepen_factor=0.05, widen_factor=0.0625)
    config.model.neck.update(in_channels=[16, 32, 64], out_channels=16, num_csp_blocks=1)
    config.model.bbox_head.update(in_channels=16, feat_channels=16, num_classes=3)
    config.model.test_cfg.max_per_img = 400
    for step in config.test_dataloader.dataset.pipeline:
        if step.type in ('Resize', 'Pad'):
            step['scale' if step.type == 'Resize' else 'size'] = (64, 64)
    config.dump(folder / 'small.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    with torch.no_grad():
        for layer in model.bbox_head.rtm_cls:
            layer.weight.normal_(std=2.0)
        for layer in model.bbox_head.rtm_reg:  # boxes overlap
            layer.bias.fill_(1.5)
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(CLASSES=CLASSES))),
        folder / 'small.pth',
    )
    return str(folder / 'small.py'), str(folder / 'small.pth')


def test_detector_matches_mmdetection(small_detector):
    from mmdet.apis import inference_detector, init_detector

    detect = load_detector(*small_detector, device='cpu')
    image = make_image(4, 90, 70)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = init_detector(Config.fromfile(small_detector[0]), small_detector[1], device='cpu')
        instances = inference_detector(model, image).pred_instances
    people = instances[instances.labels == 1]
    people = people[nms(people.bboxes, people.scores, 0.7)]
    boxes = detect(image)
    assert 3 < len(boxes) < len(instances)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes[:, :4], people.bboxes, atol=1e-3)
    np.testing.assert_allclose(boxes[:, 4], people.scores, atol=1e-5)
    assert (np.diff(boxes[:, 4]) <= 0).all()
    assert len(PersonDetector(detect.model, nms_iou=0.1)(image)) < len(boxes)


def test_detector_in_the_inferencer_keeps_the_default_scope(small_detector):
    init_default_scope('mmpose')
    pose = PoseInferencer(estimator(), detector=load_detector(*small_detector, device='cpu'))
    image = make_image(4, 90, 70)
    (result,) = pose(image)
    np.testing.assert_array_equal(result.boxes, pose.detector(image)[:, :4])
    assert DefaultScope.get_current_instance().scope_name == 'mmpose'


def test_mismatched_detector_weights_raise(small_detector, tmp_path):
    content = torch.load(small_detector[1])
    weights = content['state_dict']
    weights['data_preprocessor.mean'] = torch.zeros(3, 1, 1)
    torch.save(dict(state_dict=weights), tmp_path / 'plain.pth')
    detect = load_detector(small_detector[0], str(tmp_path / 'plain.pth'))
    assert detect.person == 0  # COCO's classes by default
    name = next(iter(weights))
    for change, message in (
        (lambda w: w.pop(name), f'1 missing or unexpected keys, such as {name}'),
        (lambda w: w.update(extra=torch.zeros(1)), 'such as extra'),
        (lambda w: w.update({name: torch.zeros(1)}), 'size mismatch'),
    ):
        changed = copy.copy(weights)
        change(changed)
        torch.save(changed, tmp_path / 'changed.pth')
        with pytest.raises(CheckpointError, match=f'does not fit this detector: .*{message}'):
            load_detector(small_detector[0], str(tmp_path / 'changed.pth'))


def test_detector_without_person_class_raises(small_detector):
    detect = load_detector(*small_detector)
    detect.model.dataset_meta = dict(classes=('cat', 'dog'))
    with pytest.raises(
        ConfigError,
        match="the detector has the classes cat, dog: expected one with the class 'person'",
    ):
        PersonDetector(detect.model)


@pytest.mark.parametrize(
    ('name', 'weights', 'error', 'message'),
    [
        (
            'rtmdet-n',
            None,
            ConfigError,
            "unknown detector 'rtmdet-n': expected rtmdet-tiny, rtmdet-s, .*did you mean rtmdet-",
        ),
        ('rtmdet-m', 'nowhere.pth', CheckpointError, 'checkpoint not found'),
    ],
)
def test_invalid_detector_names_raise(name, weights, error, message):
    with pytest.raises(error, match=message):
        load_detector(name, weights)


def test_detector_config_without_weights_raises(small_detector):
    with pytest.raises(CheckpointError, match='has no weights: expected'):
        load_detector(small_detector[0])


def test_download_without_network_raises(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise urllib.request.URLError('no network')

    monkeypatch.setattr(urllib.request.OpenerDirector, 'open', refuse)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(
        CheckpointError,
        match='weights of the detector '
        'rtmdet-m cannot be downloaded: https://.*rtmdet_m.*no '
        'network.*--detector-weights FILE',
    ):
        load_detector('rtmdet-m')


@pytest.mark.parametrize('name', DETECTORS)
def test_released_detectors(name):
    config, weights = detectors.released_detector(name)
    assert config.model.type == 'RTMDet'
    assert weights.startswith('https://download.openmmlab.com/mmdetection/')
    assert weights.endswith('.pth')


def images_of_several_sizes() -> list[np.ndarray]:
    sizes = [(90, 70), (90, 70), (64, 64), (40, 120), (90, 70), (64, 64), (31, 90)]
    return [make_image(seed, *size) for seed, size in enumerate(sizes)]


def check_batches_match_single_images(detect) -> None:
    images = images_of_several_sizes()
    expected = [detect(image) for image in images]
    assert sum(map(len, expected)) > 20
    for boxes, single in zip(detect.detect_batch(images), expected, strict=True):
        np.testing.assert_allclose(boxes[:, :4], single[:, :4], atol=0.01)
        np.testing.assert_allclose(boxes[:, 4], single[:, 4], atol=1e-4)


@pytest.mark.parametrize('batch_size', [2, 8])
def test_batches_match_single_images(small_detector, batch_size):
    detect = load_detector(*small_detector, device='cpu')
    assert detect.batch_size == 1
    detect = PersonDetector(detect.model, batch_size=batch_size)
    batches = []
    original = detect.model.test_step
    detect.model.test_step = lambda data: batches.append(len(data['inputs'])) or original(data)
    check_batches_match_single_images(detect)
    assert batches[:7] == [1] * 7
    assert batches[7:] == ([2, 2, 2, 1] if batch_size == 2 else [7])
    with pytest.raises(ValueError, match='batch_size is 0'):
        PersonDetector(detect.model, batch_size=0)


def test_image_that_the_detector_cannot_process_fails_alone(small_detector):
    detect = PersonDetector(load_detector(*small_detector, device='cpu').model, batch_size=4)
    narrow = np.zeros((1, 3000, 3), np.uint8)
    images = [make_image(0, 90, 70), narrow, make_image(1, 90, 70)]
    found = detect.detect_batch(images)
    assert isinstance(found[1], ImageError)
    assert 'an image of 3000 x 1 pixels' in str(found[1])
    results = PoseInferencer(estimator(), batch_size=8)(images, detect)
    assert [result.index for result in results] == [0, 2]
    assert [failure.index for failure in results.failures] == [1]


class RecordingDetector:
    """A detector of batches whose boxes depend on the image, with the sizes of its batches."""

    def __init__(self, batch_size: int, faulty: int | None = None):
        self.batch_size, self.faulty, self.calls = batch_size, faulty, []

    def __call__(self, image):
        return self._detect([image])[0]

    def detect_batch(self, images):
        return self._detect(images)

    def _detect(self, images):
        self.calls.append(len(images))
        if any(image[0, 0, 0] == self.faulty for image in images):
            raise ZeroDivisionError('faulty image')
        return [[[image[0, 0, 0], 2, 60, 50]] for image in images]


def numbered_images(count: int) -> list[np.ndarray]:
    images = [make_image(number) for number in range(count)]
    for number, image in enumerate(images):
        image[0, 0, 0] = number
    return images


@pytest.mark.parametrize(
    ('limit', 'batch_size', 'calls'), [(4, 8, [4, 4, 2]), (8, 4, [4, 4, 2]), (4, 1, [1] * 10)]
)
def test_inferencer_detects_in_batches(limit, batch_size, calls):
    detect = RecordingDetector(limit)
    results = list(PoseInferencer(estimator(), batch_size=batch_size)(numbered_images(10), detect))
    assert [result.boxes[0, 0] for result in results] == list(range(10))
    assert detect.calls == calls


def test_images_of_a_detector_batch_are_limited_in_bytes(monkeypatch):
    monkeypatch.setattr(prediction_stream, '_MAX_DETECTION_BYTES', 2 * 80 * 60 * 3)
    detect = RecordingDetector(8)
    list(PoseInferencer(estimator(), batch_size=8)(numbered_images(7), detect))
    assert detect.calls == [3, 3, 1]


@pytest.mark.parametrize('faulty_input', ['detector', 'inputs'])
def test_errors_in_a_detector_batch_are_raised_in_order(faulty_input):
    def images():
        yield from numbered_images(6)[:3]
        if faulty_input == 'inputs':
            raise ZeroDivisionError('faulty image')
        yield from numbered_images(6)[3:]

    detect = RecordingDetector(8, faulty=3)
    results = PoseInferencer(estimator(), batch_size=8)(images(), detect)
    assert [next(results).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match='faulty image'):
        next(results)
