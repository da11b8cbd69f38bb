"""Transforms of images with all their people."""

import json

import cv2
import numpy as np
import pytest
import torch
import xtcocotools.mask as run_lengths
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmpose.datasets import CocoDataset, CrowdPoseDataset
from mmpose.datasets.transforms import RandomFlip
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones.datasets.transforms import bottomup
from pose_backbones.datasets.transforms.bottomup import (
    GetPeople,
    PackBottomupInputs,
    RandomAffine,
    ResizeAlign,
    ResizePad,
    affine_matrix,
)
from pose_backbones.errors import DatasetError
from pose_backbones.models.data_preprocessors import PyramidDataPreprocessor
from pose_backbones.synthetic import encode_rle, make_synthetic_coco, make_synthetic_crowdpose
from tests.helpers.tools import ROOT

LOADING = [dict(type='pose_backbones.LoadImage'), dict(type='pose_backbones.GetPeople')]
PIPELINES = ROOT / 'configs/_base_/pipelines'
#: (y, x) windows of an image of 60x80 pixels
CROWD_WINDOW, UNLABELLED_WINDOW = np.s_[10:30, 5:25], np.s_[40:55, 50:70]


@pytest.fixture(autouse=True, scope='module')
def _mmpose_modules():
    register_all_modules()


def mask_of(where, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[where] = True
    return mask


def polygon_of(where):
    rows, columns = where
    return [
        [
            columns.start,
            rows.start,
            columns.stop,
            rows.start,
            columns.stop,
            rows.stop,
            columns.start,
            rows.stop,
        ]
    ]


def person(points, segmentation=None, is_crowd=0, **entries):
    """An annotation with labelled points {joint: (x, y)} of 4."""
    keypoints = np.zeros((4, 3))
    for joint, place in points.items():
        keypoints[joint] = *place, 2
    return {
        'id': 7,
        'iscrowd': is_crowd,
        'bbox': [4, 6, 20, 30],
        'keypoints': keypoints.ravel().tolist(),
        **({'segmentation': segmentation} if segmentation else {}),
        **entries,
    }


def sample_of(*people, shape=(60, 80)):
    """Return an image with the fields that MMPose's dataset adds for its people."""
    joints = np.array([p['keypoints'] for p in people], np.float32)
    joints = joints.reshape(len(people), 4, 3)
    boxes = np.array([p['bbox'] for p in people], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return {
        'img': np.zeros((*shape, 3), np.uint8),
        'img_shape': shape,
        'img_path': 'a.jpg',
        'raw_ann_info': list(people) or None,
        'keypoints': joints[..., :2],
        'bbox': boxes,
        'keypoints_visible': np.minimum(joints[..., 2], 1),
        'flip_indices': [1, 0, 3, 2],
    }


def fix_random_numbers(monkeypatch, *values):
    """Replace the next random numbers by given ones: -1 for the minimum, 1 for the maximum."""
    remaining = list(values)

    def draw(low, high, size=None):
        value = np.array(remaining.pop(0))
        return low + (value + 1) / 2 * (high - low)

    monkeypatch.setattr(np.random, 'uniform', draw)


# People


def test_sizes_use_labelled_keypoints_or_the_box():
    people = [
        person({0: (10, 20), 3: (26, 56)}),
        person({1: (10, 20)}),
        person({0: (10, 20), 1: (30, 20)}),
        person({}),
    ]
    results = GetPeople().transform(sample_of(*people))
    box = (20 * 30) ** 0.5
    np.testing.assert_allclose(results['sizes'], [(16 * 36) ** 0.5, box, box, box], rtol=1e-6)


def test_areas_are_annotated_or_those_of_the_box():
    """MMPose's dataset would use 0.53 times the area of the box inside the image."""
    results = GetPeople().transform(
        sample_of(person({0: (1, 2)}, area=123.5), person({0: (1, 2)}, bbox=[-10, 0, 40, 100]))
    )
    assert results['area'].tolist() == [123.5, 4000]


@pytest.mark.parametrize('form', ['counts', 'compressed'])
def test_mask_covers_crowds_and_people_without_keypoints(form):
    rle = encode_rle(mask_of(CROWD_WINDOW))
    if form == 'compressed':
        rle = run_lengths.encode(np.asfortranarray(mask_of(CROWD_WINDOW).astype(np.uint8)))
        rle['counts'] = rle['counts'].decode()
    results = GetPeople().transform(
        sample_of(
            person({}, rle, is_crowd=1),
            person({}, polygon_of(UNLABELLED_WINDOW)),
            person({2: (30, 30)}, polygon_of(np.s_[30:38, 28:44])),
            person({}),
        )
    )
    expected = ~(mask_of(CROWD_WINDOW) | mask_of(UNLABELLED_WINDOW))
    assert set(np.unique(results['img_mask'])) == {0, 255}
    np.testing.assert_array_equal(results['img_mask'] > 0, expected)


def test_segmentation_of_another_image_size_raises():
    rle = encode_rle(np.ones((30, 80), bool))
    with pytest.raises(
        DatasetError, match=r'a.jpg is 80x60 pixels .* annotation 7 is for an image of 80x30'
    ):
        GetPeople().transform(sample_of(person({}, rle, is_crowd=1)))


def test_image_without_people_has_empty_arrays(monkeypatch):
    results = sample_of()
    for key in ('keypoints', 'keypoints_visible', 'bbox'):
        del results[key]
    results = GetPeople().transform(results)
    assert results['keypoints'].shape == (0, 4, 2)
    assert results['keypoints_visible'].shape == (0, 4)
    assert results['area'].shape == results['sizes'].shape == (0,)
    assert (results['img_mask'] == 255).all()
    fix_random_numbers(monkeypatch, 0, 0, (0, 0))
    results = RandomAffine((64, 64), (16, 16)).transform(RandomFlip(prob=1.0).transform(results))
    assert results['keypoints'].shape == (0, 4, 2)
    assert results['bbox'].shape == (0, 4)


# Random affine


def affine(**options):
    return RandomAffine(**{'input_size': (128, 128), 'heatmap_size': (32, 32), **options})


def prepared(*people, shape=(60, 80)):
    return GetPeople().transform(sample_of(*people, shape=shape))


@pytest.mark.parametrize(
    ('options', 'draws', 'factor'),
    [
        ({}, (0, 0, (0, 0)), 128 / 60 / 1.125),
        ({}, (-1, 0, (0, 0)), 128 / 60 / 0.75),
        ({}, (1, 0, (0, 0)), 128 / 60 / 1.5),
        ({'scale_type': 'long'}, (0, 0, (0, 0)), 128 / 80 / 1.125),
        ({'scale_factor': (2, 2)}, (0, 0, (0, 0)), 128 / 60 / 2),
        ({'input_size': (256, 128), 'heatmap_size': (64, 32)}, (0, 0, (0, 0)), 256 / 80 / 1.125),
    ],
)
def test_scale_uses_the_shorter_or_longer_side(monkeypatch, options, draws, factor):
    fix_random_numbers(monkeypatch, *draws)
    results = affine(**options).transform(prepared(person({0: (40, 30), 1: (50, 34)}, area=100.0)))
    width, height = results['input_size']
    np.testing.assert_allclose(
        results['keypoints'][0, :2],
        [(width / 2, height / 2), (width / 2 + 10 * factor, height / 2 + 4 * factor)],
        rtol=1e-5,
    )
    np.testing.assert_allclose(results['area'], 100 * factor**2, rtol=1e-5)
    np.testing.assert_allclose(results['sizes'], 40**0.5 * factor, rtol=1e-5)
    assert results['img'].shape == (height, width, 3)
    assert results['heatmap_mask'].shape == (1, height // 4, width // 4)


@pytest.mark.parametrize(
    ('options', 'draw', 'angle'), [({}, 1, 30), ({}, -1, -30), ({'rotate_factor': 90}, 1, 90)]
)
def test_rotation_and_shift(monkeypatch, options, draw, angle):
    """If the crop is shifted to the right, the content moves to the left."""
    fix_random_numbers(monkeypatch, 0, draw, (0.5, -1))
    centre = np.array((40 + 0.5 * 0.2 * 80 * 1.125, 30 - 0.2 * 60 * 1.125))
    results = affine(**options).transform(prepared(person({0: centre, 1: centre + (6, 0)})))
    first, second = results['keypoints'][0, :2]
    np.testing.assert_allclose(first, (64, 64), atol=1e-3)
    x, y = second - first
    # the y axis points down, so a counter-clockwise rotation decreases y
    assert np.degrees(np.arctan2(-y, x)) == pytest.approx(angle, abs=1e-3)


def test_image_mask_box_and_keypoints_are_transformed_alike(monkeypatch):
    """Spots in the image are at the transformed keypoints, with and without a flip."""
    for flips in (0, 1):
        fix_random_numbers(monkeypatch, -0.2, 0.6, (0.3, -0.2))
        spots = np.array([(32, 36), (50, 22), (41, 44)])
        results = prepared(
            person({0: spots[0], 2: spots[1], 3: spots[2]}, bbox=[32, 22, 18, 22]),
            person({}, encode_rle(mask_of(CROWD_WINDOW)), is_crowd=1),
        )
        results['img'][...] = 100
        for colour, (x, y) in enumerate(spots):
            results['img'][y - 1 : y + 2, x - 1 : x + 2, colour] = 255
        results['img'][CROWD_WINDOW] = 10
        results = affine().transform(RandomFlip(prob=float(flips)).transform(results))
        order = [0, 2, 3] if not flips else [1, 3, 2]
        for colour, joint in enumerate(order):
            x, y = results['keypoints'][0, joint]
            spot = results['img'][..., colour] > 180
            np.testing.assert_allclose((x, y), np.argwhere(spot).mean(0)[::-1], atol=0.8)
            assert (results['bbox'][0, :2] <= (x + 0.01, y + 0.01)).all()
            assert (results['bbox'][0, 2:] >= (x - 1.01, y - 0.01)).all()
        assert results['keypoints_visible'][0, order].tolist() == [1, 1, 1]
        resized = cv2.resize(results['img'], (32, 32), interpolation=cv2.INTER_AREA)
        labelled = resized.min(2) > 55  # neither crowd nor outside
        near = cv2.dilate(labelled.astype(np.uint8), np.ones((3, 3)))
        far = cv2.erode(
            labelled.astype(np.uint8),
            np.ones((3, 3)),
            borderType=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
        (mask,) = results['heatmap_mask']
        assert mask.dtype == bool
        assert not mask[near == 0].any()
        assert mask[far == 1].all()
        assert 0.1 < mask.mean() < 0.9
        assert 'img_mask' not in results


def test_random_numbers_are_uniform():
    np.random.seed(0)
    factors, angles, shifts = [], [], []
    for _ in range(400):
        matrix = affine()._matrix(np.array((80.0, 60.0)))
        factor = np.linalg.det(matrix[:, :2]) ** 0.5
        centre = np.linalg.solve(matrix[:, :2], (64, 64) - matrix[:, 2])
        scale = 128 / 60 / factor
        factors.append(scale)
        angles.append(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0])))
        shifts.append((centre - (40, 30)) / (80, 60) / scale)
    for values, low, high in ((factors, 0.75, 1.5), (angles, -30, 30), (shifts, -0.2, 0.2)):
        values = np.array(values)
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
        np.testing.assert_allclose(values.mean(0), (low + high) / 2, atol=0.06 * (high - low))


@pytest.mark.parametrize('shape', [(50, 1), (1, 50), (1, 1)])
def test_narrow_images_are_supported(monkeypatch, shape):
    fix_random_numbers(monkeypatch, 0, 0, (1, -1))
    results = affine().transform(prepared(person({0: (0, 0)}, bbox=[0, 0, 1, 1]), shape=shape))
    factor = 128 / 1.125
    np.testing.assert_allclose(
        results['keypoints'][0, 0],
        64 - factor * np.array((shape[1] * (0.5 + 0.2 * 1.125), shape[0] * (0.5 - 0.2 * 1.125))),
        rtol=1e-4,
    )
    assert np.isfinite(results['sizes']).all()
    assert results['sizes'][0] == pytest.approx(factor)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'input_size': 128}, TypeError, 'input_size is 128: expected 2'),
        ({'heatmap_size': (32, 16)}, ValueError, r'heatmap_size is \(32, 16\)'),
        ({'scale_factor': (1.5, 0.75)}, ValueError, 'the minimum and the maximum'),
        ({'scale_type': 'width'}, ValueError, "scale_type is 'width'"),
        ({'rotate_factor': -1}, ValueError, 'rotate_factor is -1: expected'),
        ({'shift_factor': '1'}, TypeError, "shift_factor is '1': expected"),
    ],
)
def test_invalid_affine_options_raise(options, error, message):
    with pytest.raises(error, match=message):
        affine(**options)


# Input sizes for testing


@pytest.mark.parametrize(
    ('shape', 'size', 'centre', 'scale'),
    [
        ((480, 640), (1024, 768), (320, 240), (640, 480)),
        ((427, 640), (1152, 768), (320, 214), (640.5, 427)),
        ((333, 501), (1216, 768), (250, 166), (527.25, 333)),
        ((501, 333), (768, 1216), (166, 250), (333, 527.25)),
        ((100, 100), (768, 768), (50, 50), (100, 100)),
        ((30, 1), (768, 23040), (0, 15), (1, 30)),
    ],
)
def test_resize_matches_original(shape, size, centre, scale):
    results = ResizeAlign(768).transform({'img': np.zeros((*shape, 3), np.uint8)})
    assert results['input_size'] == size
    assert results['img_shape'] == size[::-1] == results['img'].shape[:2]
    assert results['input_center'].tolist() == list(centre)
    np.testing.assert_allclose(results['input_scale'], scale)
    assert results['scale_factors'] == (1,)


def to_image(points, results):
    """Convert predictions to image coordinates, like MMPose's estimators."""
    size, scale = results['input_size'], results['input_scale']
    return points / size * scale + results['input_center'] - 0.5 * np.array(scale)


@pytest.mark.parametrize('shape', [(60, 100), (101, 61), (64, 64)])
def test_positions_are_recovered_from_each_scale(shape):
    """The positions of spots in each resized image are converted to those in the original image."""
    image = np.zeros((*shape, 3), np.uint8)
    spots = np.array([(20, 30), (55, 12), (40, 50)])
    for channel, (x, y) in enumerate(spots):
        image[y - 1 : y + 2, x - 1 : x + 2, channel] = 255
    results = ResizeAlign(256, scale_factors=(1, 0.75, 1.25)).transform({'img': image})
    width, height = results['input_size']
    for level, factor in zip(results['img'], (1, 0.75, 1.25), strict=True):
        assert level.shape[:2] == (height * factor, width * factor)
        for channel, spot in enumerate(spots):
            weight = level[..., channel].astype(float)
            ys, xs = np.mgrid[: level.shape[0], : level.shape[1]]
            weighted_sum = np.array([(xs * weight).sum(), (ys * weight).sum()])
            position = to_image(weighted_sum / weight.sum() / factor, results)
            np.testing.assert_allclose(position, spot, atol=0.3)


def test_size_divisor_and_short_side():
    results = ResizeAlign(100, size_divisor=32).transform({'img': np.zeros((50, 70, 3), np.uint8)})
    assert results['input_size'] == (192, 128)  # 128 * 70 / 50 = 179.2


@pytest.mark.parametrize(
    ('factors', 'error'),
    [
        ((0.75, 1), ValueError),
        ((), ValueError),
        ((1, -1), ValueError),
        ((1, float('inf')), ValueError),
        (1, TypeError),
        (('1',), TypeError),
        ((True,), TypeError),
    ],
)
def test_invalid_scale_factors_raise(factors, error):
    with pytest.raises(error, match='scale_factors is .* the first is 1'):
        ResizeAlign(64, scale_factors=factors)


def test_too_large_image_raises_with_its_sizes():
    image = {'img': np.zeros((1, 3, 3), np.uint8), 'img_path': 'thin.png'}
    limit = 192 * 64
    ResizeAlign(64, max_pixels=limit).transform(dict(image))
    with pytest.raises(
        DatasetError,
        match=(
            r'thin.png of 3x1 pixels .* resized to 192x64 for a shorter side '
            r'of 64 .* 12288 pixels are more than max_pixels=12287'
        ),
    ):
        ResizeAlign(64, max_pixels=limit - 1).transform(dict(image))
    with pytest.raises(DatasetError, match='resized to 240x80 .* 19200'):
        ResizeAlign(64, scale_factors=(1, 1.25), max_pixels=limit).transform(dict(image))
    with pytest.raises(DatasetError, match='64x64000 .* sides of up to 32766'):
        ResizeAlign(64).transform({'img': np.zeros((1000, 1, 3), np.uint8)})


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'short_side': 0}, 'short_side is 0'),
        ({'size_divisor': 0}, 'size_divisor is 0'),
        ({'max_pixels': 0}, 'max_pixels is 0'),
    ],
)
def test_invalid_resize_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        ResizeAlign(**{'short_side': 64, **options})


def test_affine_matrix_rotates_around_its_centre():
    matrix = affine_matrix((3, 5), 2, 90, (10, 20))
    points = np.array([(3, 5, 1), (4, 5, 1), (3, 6, 1)])
    np.testing.assert_allclose(points @ matrix.T, [(5, 10), (5, 8), (7, 10)], atol=1e-12)


# Batches


def packed(shape, level, **options):
    results = ResizeAlign(64, **options).transform(
        {'img': np.full((*shape, 3), level, np.uint8), 'img_id': level, 'category_id': [1, 1]}
    )
    return PackBottomupInputs().transform(results)


def test_packed_image_has_the_metainfo_of_the_estimator():
    single_scale = packed((40, 50), 9)
    assert single_scale['inputs'].shape == (3, 64, 128)
    sample = single_scale['data_samples']
    assert sample.metainfo['scale_factors'] == (1,)
    assert sample.metainfo['input_size'] == (128, 64)
    assert sample.metainfo['input_center'].tolist() == [25, 20]
    assert sample.metainfo['input_scale'].tolist() == [80, 40]
    assert 'category_id' not in sample.metainfo
    multi_scale = packed((40, 50), 9, scale_factors=(1, 0.5))
    assert [tuple(x.shape) for x in multi_scale['inputs']] == [(3, 64, 128), (3, 32, 64)]
    torch.testing.assert_close(multi_scale['inputs'][0], single_scale['inputs'])


@pytest.mark.parametrize('factors', [(1,), (1, 0.75, 1.25)])
def test_images_of_a_batch_are_padded_right_and_below(factors):
    preprocessor = MODELS.build(
        dict(
            type='pose_backbones.PyramidDataPreprocessor',
            mean=[1.0, 2, 3],
            std=[2.0, 4, 5],
            bgr_to_rgb=True,
        )
    )
    assert isinstance(preprocessor, PyramidDataPreprocessor)
    images = [
        packed(shape, level, scale_factors=factors)
        for level, shape in ((80, (40, 40)), (90, (40, 70)), (110, (90, 40)))
    ]
    batch = preprocessor(pseudo_collate(images))
    inputs = batch['inputs'] if len(factors) > 1 else [batch['inputs']]
    assert len(inputs) == len(factors)
    for number, (level, factor) in enumerate(zip(inputs, factors)):
        assert level.shape == (3, 3, int(192 * factor), int(128 * factor))
        for row, packed_image in enumerate(images):
            image = packed_image['inputs']
            image = image[number] if len(factors) > 1 else image
            height, width = image.shape[1:]
            expected = (
                image.flip(0).float() - torch.tensor([1.0, 2, 3])[:, None, None]
            ) / torch.tensor([2.0, 4, 5])[:, None, None]
            torch.testing.assert_close(level[row, :, :height, :width], expected)
            assert not level[row, :, height:].any()
            assert not level[row, :, :, width:].any()
    for sample, size in zip(batch['data_samples'], [(64, 64), (128, 64), (64, 192)]):
        assert sample.metainfo['input_size'] == size
        assert sample.metainfo['batch_input_shape'] == (192, 128)


# Datasets


def dataset(kind, folder, ann_file, images, pipeline, **options):
    return kind(
        data_root=str(folder),
        data_mode='bottomup',
        ann_file=ann_file,
        data_prefix=dict(img=images),
        pipeline=pipeline,
        **options,
    )


def read_pipelines(name):
    return Config.fromfile(str(PIPELINES / name))


def with_small_input(pipelines):
    """Reduce the input size of the training pipeline, so that the test is fast."""
    train = pipelines.train_pipeline
    for step in train:
        codec = step.get('encoder', {})
        for part in (step, codec):
            if 'heatmap_size' in part:
                part.update(input_size=(192, 192), heatmap_size=(48, 48))
    return train


@pytest.mark.parametrize('kind', ['coco', 'crowdpose'])
def test_training_samples_of_the_configs(kind, tmp_path):
    if kind == 'coco':
        make_synthetic_coco(tmp_path, 6, 0, people=(3, 6), seed=2)
        data = dataset(
            CocoDataset,
            tmp_path,
            'annotations/person_keypoints_train.json',
            'train/',
            with_small_input(read_pipelines('bottomup_hrcomer_768.py')),
        )
    else:
        make_synthetic_crowdpose(tmp_path, 6, 0, seed=2)
        data = dataset(
            CrowdPoseDataset,
            tmp_path,
            'annotations/mmpose_crowdpose_trainval.json',
            'images/',
            with_small_input(read_pipelines('bottomup_hrcomer_crowdpose_768.py')),
        )
    count = data.metainfo['num_keypoints']
    people = 0
    for number in range(len(data)):
        sample = data[number]
        assert sample['inputs'].shape == (3, 192, 192)
        labels = sample['data_samples'].gt_instance_labels
        fields = sample['data_samples'].gt_fields
        assert fields.heatmaps.shape == (count, 48, 48)
        assert fields.heatmap_mask.shape == (1, 48, 48)
        assert fields.heatmap_mask.dtype == torch.bool
        labelled = labels.target_joints[..., 2] > 0
        # The heatmap of a joint is 1 at the joint.
        for row, joint in labelled.nonzero().tolist():
            x, y = labels.target_joints[row, joint, :2].int().tolist()
            assert fields.heatmaps[joint, y, x] == 1
        # Sizes and joints have the same unit: the size is about that of the extent of the joints.
        points = labels.target_joints[labelled.all(1)][..., :2]
        extent = points.amax(1) - points.amin(1)
        torch.testing.assert_close(
            labels.target_sizes[labelled.all(1)].square().clamp(max=48 * 48.0),
            extent.prod(1).clamp(max=48 * 48.0),
            rtol=0.5,
            atol=9.0,
        )
        people += int(labelled.any(1).sum())
    assert people > 8


def test_configs_use_the_augmentation_of_the_original():
    config = read_pipelines('bottomup_hrcomer_768.py')
    flip = RandomFlip(**{k: v for k, v in config.train_pipeline[2].items() if k != 'type'})
    assert (flip.prob, flip.direction) == (0.5, 'horizontal')
    affine_step = RandomAffine(**{k: v for k, v in config.train_pipeline[3].items() if k != 'type'})
    assert tuple(affine_step.input_size) == (768, 768)
    assert tuple(affine_step.heatmap_size) == (192, 192)
    assert affine_step.scale_factor == (0.75, 1.5)
    assert affine_step.scale_type == 'short'
    assert affine_step.rotate_factor == 30
    assert affine_step.shift_factor == 40 / 200
    assert config.val_pipeline[1].size_divisor == 64
    assert config.val_pipeline[1].short_side == 768
    assert tuple(config.ms_pipeline[1].scale_factors) == (1, 0.75, 1.25)
    crowdpose_config = read_pipelines('bottomup_hrcomer_crowdpose_768.py')
    assert crowdpose_config.codec.area_factor == 0.53
    assert crowdpose_config.train_pipeline[4].encoder == crowdpose_config.codec
    assert crowdpose_config.ms_pipeline == config.ms_pipeline
    small_config = read_pipelines('bottomup_hrcomer_384.py')
    assert small_config.val_pipeline[1].short_side == 384
    assert tuple(small_config.train_pipeline[3].heatmap_size) == (96, 96)


def test_mask_of_coco_images(tmp_path):
    make_synthetic_coco(tmp_path, 12, 0, people=(3, 6), seed=2)
    path = tmp_path / 'annotations/person_keypoints_train.json'
    content = json.loads(path.read_text())
    for number, annotation in enumerate(content['annotations']):
        if number % 3 == 0:  # a polygon of a person without keypoints
            annotation.update(keypoints=[0] * 51, num_keypoints=0)
        elif number % 3 == 1:  # run lengths of a crowd
            shape = next(
                (image['height'], image['width'])
                for image in content['images']
                if image['id'] == annotation['image_id']
            )
            rle = run_lengths.frPyObjects(annotation['segmentation'], *shape)
            mask = run_lengths.decode(rle).reshape(*shape, -1).any(-1)
            annotation.update(iscrowd=1, segmentation=encode_rle(mask))
    path.write_text(json.dumps(content))
    data = dataset(CocoDataset, tmp_path, f'annotations/{path.name}', 'train/', LOADING)
    masked = 0
    for number in range(len(data)):
        results = data[number]
        shape = results['img_shape']
        expected = np.zeros(shape, bool)
        for annotation in results['raw_ann_info']:
            if annotation['iscrowd'] or not annotation['num_keypoints']:
                rle = run_lengths.frPyObjects(annotation['segmentation'], *shape)
                expected |= run_lengths.decode(rle).reshape(*shape, -1).any(-1)
        np.testing.assert_array_equal(results['img_mask'] == 0, expected)
        masked += expected.any()
        assert results['area'].tolist() == pytest.approx(
            [annotation['area'] for annotation in results['raw_ann_info']]
        )
    assert masked == len(data) == 12


def test_areas_of_crowdpose_images(tmp_path):
    make_synthetic_crowdpose(tmp_path, 6, 0, seed=2)
    ann_file = 'annotations/mmpose_crowdpose_trainval.json'
    data = dataset(CrowdPoseDataset, tmp_path, ann_file, 'images/', LOADING)
    assert len(data) == 6
    for number in range(len(data)):
        results = data[number]
        boxes = np.array([annotation['bbox'] for annotation in results['raw_ann_info']])
        np.testing.assert_allclose(results['area'], boxes[:, 2] * boxes[:, 3], rtol=1e-6)
        assert (results['img_mask'] == 255).all()


def test_transforms_are_registered():
    from mmpose.registry import TRANSFORMS

    for kind in (GetPeople, RandomAffine, ResizeAlign, PackBottomupInputs):
        name = kind.__name__
        assert TRANSFORMS.get(f'pose_backbones.{name}') is kind
        assert getattr(bottomup, name) is kind


@pytest.mark.parametrize(
    ('shape', 'factor'), [((50, 100), 1.28), ((100, 50), 0.64), ((64, 128), 1.0), ((40, 40), 1.6)]
)
def test_resize_pad_fits_the_image(shape, factor):
    """The whole image is centered, and MMPose's conversion maps its corners back."""
    height, width = shape
    image = np.full((*shape, 3), 200, np.uint8)
    results = ResizePad((128, 64)).transform({'img': image})
    assert results['img'].shape == (64, 128, 3)
    assert results['img_shape'] == (64, 128)
    assert results['scale_factors'] == (1.0,)
    share = (results['img'] / 200).sum() / 3
    assert share == pytest.approx(height * width * factor**2, rel=0.06)
    size, scale = np.array(results['input_size']), results['input_scale']
    corners = size / 2 + factor * np.array(((-width, -height), (width, height))) / 2
    back = corners / size * scale + results['input_center'] - 0.5 * scale
    np.testing.assert_allclose(back, ((0, 0), (width, height)), atol=1e-9)


@pytest.mark.parametrize('size', [(64,), (64, 0), 64])
def test_invalid_sizes_raise(size):
    with pytest.raises((TypeError, ValueError), match='input_size is'):
        ResizePad(size)
