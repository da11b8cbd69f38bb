"""`RandomFlip` has the results of MMPose's transform."""

import numpy as np
import pytest
from mmpose.datasets.transforms import RandomFlip as MMPoseRandomFlip

from pose_backbones.datasets.transforms.flip import RandomFlip

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
def test_results_are_those_of_mmpose(image, direction):
    transforms = [kind(prob=0.5, direction=direction) for kind in (RandomFlip, MMPoseRandomFlip)]
    flipped = 0
    for seed in range(10):
        results = []
        for transform in transforms:
            np.random.seed(seed)
            results.append(transform(make_sample(image)))
        np.testing.assert_equal(*results)
        flipped += results[0]['flip']
    assert 0 < flipped < 10


def test_image_is_not_changed_in_place():
    before = IMAGE.copy()
    flipped = RandomFlip(prob=1.0)(make_sample(IMAGE))['img']
    np.testing.assert_array_equal(IMAGE, before)
    np.testing.assert_array_equal(flipped, before[:, ::-1])
    assert flipped.flags.c_contiguous


def test_sample_without_image():
    sample = make_sample(IMAGE)
    del sample['img']
    assert RandomFlip(prob=0.0)(sample)['flip'] is False
