"""The transforms have the results of MMPose's transforms of the same names."""

import numpy as np
import pytest
from mmpose.datasets import transforms as mmpose_transforms
from scipy.stats import truncnorm

from pose_backbones.datasets.transforms.mmpose_transforms import (
    PackPoseInputs,
    RandomBBoxTransform,
    RandomFlip,
    TopdownAffine,
)

rng = np.random.default_rng(0)
IMAGE = rng.integers(0, 256, (6, 9, 3), np.uint8)


def make_sample(image) -> dict:
    return dict(
        img=image,
        img_shape=(6, 9),
        img_mask=IMAGE[..., 0],
        flip_indices=[0, 2, 1],
        bbox=np.array([[1.0, 2, 5, 6]], np.float32),
        bbox_center=np.array([[3.0, 4]], np.float32),
        keypoints=np.array([[[1.0, 2], [3, 4], [5, 6]]], np.float32),
        keypoints_visible=np.array([[1.0, 0, 1]], np.float32),
    )


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize(
    'image', [IMAGE, IMAGE[..., 0], IMAGE[..., :1], IMAGE / np.float32(3), [IMAGE, IMAGE[:3]]]
)
def test_flip_has_the_results_of_mmpose(image, direction):
    kinds = RandomFlip, mmpose_transforms.RandomFlip
    transforms = [kind(prob=0.5, direction=direction) for kind in kinds]
    flipped = 0
    for seed in range(10):
        results = []
        for transform in transforms:
            np.random.seed(seed)
            results.append(transform(make_sample(image)))
        np.testing.assert_equal(*results)
        flipped += results[0]['flip']
    assert 0 < flipped < 10


def test_flip_does_not_change_the_image_in_place():
    before = IMAGE.copy()
    flipped = RandomFlip(prob=1.0)(make_sample(IMAGE))['img']
    np.testing.assert_array_equal(IMAGE, before)
    np.testing.assert_array_equal(flipped, before[:, ::-1])
    assert flipped.flags.c_contiguous


def test_flip_of_a_sample_without_image():
    sample = make_sample(IMAGE)
    del sample['img']
    assert RandomFlip(prob=0.0)(sample)['flip'] is False


def test_box_transform_has_the_results_of_mmpose():
    results = []
    for kind in (RandomBBoxTransform, mmpose_transforms.RandomBBoxTransform):
        np.random.seed(1)
        center = np.random.rand(20_000, 2).astype(np.float32)
        results.append(kind()(dict(bbox_center=center, bbox_scale=1 + center)))
        results[-1]['next'] = np.random.rand()
    np.testing.assert_equal(*results)


@pytest.mark.parametrize(('low', 'high'), [(-1.0, 1.0), (-2.0, 0.5)])
def test_truncated_normal_distribution(low, high):
    np.random.seed(0)
    values = RandomBBoxTransform._truncnorm(low, high, (1000, 1000))
    np.random.seed(0)
    np.testing.assert_array_max_ulp(
        values, truncnorm.rvs(low, high, size=(1000, 1000)).astype(np.float32), maxulp=1
    )


@pytest.mark.parametrize('options', [{}, dict(meta_keys=('id', 'img_id')), dict(meta_keys=())])
def test_packed_sample_has_the_results_of_mmpose(options):
    sample = dict(
        make_sample(IMAGE),
        id=3,
        img_id=4,
        heatmaps=np.ones((3, 2, 2), np.float32),
        keypoint_weights=np.ones((1, 3), np.float32),
        raw_ann_info=dict(segmentation=[[1.0, 2.0]], id=3),
    )
    packed, expected = (
        kind(**options)(dict(sample)) for kind in (PackPoseInputs, mmpose_transforms.PackPoseInputs)
    )
    assert packed['inputs'].equal(expected['inputs'])
    packed, expected = packed['data_samples'], expected['data_samples']
    assert packed.metainfo == expected.metainfo
    assert set(packed.metainfo_keys()) == set(expected.metainfo_keys())
    assert packed.gt_fields.heatmaps.equal(expected.gt_fields.heatmaps)
    labels = packed.gt_instance_labels, expected.gt_instance_labels
    assert labels[0].keypoint_weights.equal(labels[1].keypoint_weights)
    np.testing.assert_equal(dict(packed.gt_instances.items()), dict(expected.gt_instances.items()))


@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('writeable', [False, True])
def test_crops_are_those_of_mmpose(writeable, use_udp):
    """Boxes in and beyond the image, several of them in the same array, and rotated ones."""
    generator = np.random.default_rng(2)
    own, other = (
        kind(input_size=(24, 32), use_udp=use_udp)
        for kind in (TopdownAffine, mmpose_transforms.TopdownAffine)
    )
    for number in range(60):
        if number % 4 == 0:
            image = generator.integers(0, 256, (*generator.integers(1, 90, 2), 3), np.uint8)
            image.flags.writeable = writeable
        if writeable:
            image[::2] += 1  # The array is the same, and the image is not.
        sample = dict(
            bbox_center=generator.uniform(-20, 100, (1, 2)).astype(np.float32),
            bbox_scale=generator.uniform(1, 150, (1, 2)).astype(np.float32),
            bbox_rotation=generator.choice([0.0, 33.3], 1),
            keypoints=generator.uniform(0, 90, (1, 5, 2)).astype(np.float32),
        )
        cropped, expected = (transform(dict(sample, img=image)) for transform in (own, other))
        np.testing.assert_equal(cropped, expected)
        assert cropped['img'].shape == (32, 24, 3)


@pytest.mark.parametrize('image', [IMAGE[..., 0], IMAGE / np.float32(3), [IMAGE, IMAGE[:3]]])
def test_crops_of_other_images_are_those_of_mmpose(image):
    sample = dict(
        bbox_center=np.array([[3.0, 4]], np.float32), bbox_scale=np.array([[5, 6]], np.float32)
    )
    cropped, expected = (
        kind(input_size=(24, 32))(dict(sample, img=image))
        for kind in (TopdownAffine, mmpose_transforms.TopdownAffine)
    )
    np.testing.assert_equal(cropped, expected)
