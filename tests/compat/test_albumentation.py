"""Tests of MMPose's transform `Albumentation` with the last permissive release of albumentations.

The expected effects are those that version 1 of albumentations documents for the same arguments.
"""

import os

import cv2
import numpy as np
import pytest
from albumentations import check_version
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpose.registry import TRANSFORMS
from mmpose.utils import register_all_modules

from pose_backbones import get_config
from pose_backbones.configs import dicts_in
from pose_backbones.errors import ConfigError
from pose_backbones.preflight.augmentation import check_augmentation

TOPDOWN = 'mmpose::body_2d_keypoint/topdown_heatmap/coco'
CONFIGS = [
    'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192.py',
    f'{TOPDOWN}/cspnext-m_udp_8xb256-210e_coco-256x192.py',
    'mmpose::wholebody_2d_keypoint/rtmpose/cocktail14/rtmw-m_8xb1024-270e_cocktail14-256x192.py',
    'mmpose::wholebody_2d_keypoint/dwpose/ubody/s1_dis/dwpose_l_dis_m_coco-ubody-256x192.py',
    f'{TOPDOWN}/td-hm_hrnet-w32_coarsedropout-8xb64-210e_coco-256x192.py',
    f'{TOPDOWN}/td-hm_hrnet-w32_gridmask-8xb64-210e_coco-256x192.py',
]
HEIGHT, WIDTH = 60, 40
#: CoarseDropout of RTMPose's configs
ONE_HOLE = dict(
    type='CoarseDropout',
    max_holes=1,
    max_height=0.4,
    max_width=0.4,
    min_holes=1,
    min_height=0.2,
    min_width=0.2,
    p=1.0,
)


@pytest.fixture(autouse=True)
def scope():
    register_all_modules()
    init_default_scope('mmpose')


def make_image(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)


def build(*transforms: dict):
    return TRANSFORMS.build(dict(type='Albumentation', transforms=list(transforms)))


def results(*transforms: dict, image: np.ndarray | None = None, count: int = 100) -> np.ndarray:
    """Return the transformed images, one for each of `count` calls."""
    image = make_image() if image is None else image
    step = build(*transforms)
    np.random.seed(0)
    return np.stack([step(dict(img=image.copy()))['img'] for _ in range(count)])


def training_pipelines(cfg: Config) -> list[list]:
    """Return the pipelines of a training, those with the transform `Albumentation`."""
    parts = [cfg.train_dataloader, *cfg.get('custom_hooks', [])]
    lists = [
        part[key]
        for part in dicts_in(parts)
        for key in ('pipeline', 'switch_pipeline')
        if part.get(key)
    ]
    return [steps for steps in lists if any(step['type'] == 'Albumentation' for step in steps)]


def run_pipeline(steps: list, seed: int, num_keypoints: int) -> tuple[np.ndarray, dict]:
    """Return the image and the labels that a pipeline makes of one person."""
    rng = np.random.default_rng(1)
    keypoints = rng.uniform(20, 180, (1, num_keypoints, 2)).astype(np.float32)
    sample = dict(
        img=make_image(200, 200),
        img_id=1,
        img_path='',
        ori_shape=(200, 200),
        img_shape=(200, 200),
        id=1,
        bbox=np.array([[20, 20, 180, 180]], np.float32),
        bbox_score=np.ones(1, np.float32),
        keypoints=keypoints,
        keypoints_visible=np.ones((1, num_keypoints), np.float32),
        upper_body_ids=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        lower_body_ids=[11, 12, 13, 14, 15, 16],
        flip_indices=list(range(num_keypoints)),
        dataset_keypoint_weights=np.ones(num_keypoints, np.float32),
    )
    np.random.seed(seed)
    packed = Compose([step for step in steps if step['type'] != 'LoadImage'])(sample)
    data = packed['data_samples']
    labels = dict(data.gt_instance_labels.items())
    if 'gt_fields' in data:
        labels.update(data.gt_fields.items())
    return packed['inputs'].numpy(), {name: np.asarray(value) for name, value in labels.items()}


@pytest.mark.parametrize('config', CONFIGS)
def test_training_pipelines_change_the_image_alone(config):
    cfg = get_config(config)
    pipelines = training_pipelines(cfg)
    assert pipelines
    num_keypoints = 133 if 'wholebody' in config else 17
    for steps in pipelines[:2]:
        plain = [step for step in steps if step['type'] != 'Albumentation']
        changed = 0
        for seed in range(16):
            image, labels = run_pipeline(steps, seed, num_keypoints)
            again, _ = run_pipeline(steps, seed, num_keypoints)
            np.testing.assert_array_equal(image, again)
            original, expected = run_pipeline(plain, seed, num_keypoints)
            changed += not np.array_equal(image, original)
            assert labels.keys() == expected.keys()
            for name in labels:
                np.testing.assert_array_equal(labels[name], expected[name])
        assert changed >= 4


def test_blurs_have_the_kernels_of_the_config():
    image = make_image()
    kernels = {3: 0, 5: 0, 7: 0}
    for result in results(dict(type='Blur', p=1.0)):
        (kernel,) = [k for k in kernels if np.array_equal(result, cv2.blur(image, (k, k)))]
        kernels[kernel] += 1
    assert min(kernels.values()) > 15
    kernels = {3: 0, 5: 0}
    for result in results(dict(type='MedianBlur', blur_limit=5, p=1.0)):
        (kernel,) = [k for k in kernels if np.array_equal(result, cv2.medianBlur(image, k))]
        kernels[kernel] += 1
    assert min(kernels.values()) > 25


def test_transforms_are_applied_independently():
    image = np.full((8, 8, 3), 255, np.uint8)
    image[::2] = 0
    hole = dict(ONE_HOLE, min_height=0.9, max_height=0.95, min_width=0.9, max_width=0.95, p=0.5)
    both = results(dict(type='InvertImg', p=0.5), dict(hole, fill_value=7), image=image, count=400)
    inverted = both[:, 0, 0, 0] == 255  # a hole covers all but one of the rows and columns
    inverted |= both[:, -1, -1, 0] == 0
    has_hole = (both == 7).any((1, 2, 3))
    assert abs(has_hole.mean() - 0.5) < 0.1
    plain = both[~has_hole]
    share = (plain[:, 0, 0, 0] == 255).mean()
    assert abs(share - 0.5) < 0.1


def hole_sides(image: np.ndarray, value: int = 0) -> tuple[int, int]:
    """Return height and width of the only hole, which is a rectangle."""
    rows, columns = np.nonzero((image == value).all(-1))
    sides = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    assert len(rows) == sides[0] * sides[1]
    return sides


def test_hole_has_the_size_of_the_config():
    sides = np.array([hole_sides(image) for image in results(ONE_HOLE)])
    assert sides.min(0) == pytest.approx((0.2 * HEIGHT, 0.2 * WIDTH), abs=2)
    assert sides.max(0) == pytest.approx((0.4 * HEIGHT, 0.4 * WIDTH), abs=2)
    np.testing.assert_allclose(sides.mean(0), (0.3 * HEIGHT, 0.3 * WIDTH), rtol=0.07)


def test_default_of_a_size_is_that_of_version_1():
    # 8 holes of 8 pixels, unless the config states a smaller one
    images = results(dict(type='CoarseDropout', max_holes=1, max_width=5, p=1.0), count=20)
    assert {hole_sides(image) for image in images} == {(8, 5)}
    (image,) = results(
        dict(type='CoarseDropout', max_height=1, max_width=1, p=1.0),
        image=make_image(500, 500),
        count=1,
    )
    assert (image == 0).all(-1).sum() == 8


def test_fill_value_and_always_apply():
    hole = dict(ONE_HOLE, min_height=3, max_height=3, min_width=4, max_width=4)
    hole.update(fill_value=0, p=0.0, always_apply=True)
    images = results(hole, image=make_image() // 2 + 128, count=10)
    assert {hole_sides(image) for image in images} == {(3, 4)}
    assert {
        hole_sides(image, 255)
        for image in results(dict(hole, fill_value=255), image=make_image() // 2, count=10)
    } == {(3, 4)}


def test_grid_has_the_cells_of_the_config():
    grid = dict(type='GridDropout', unit_size_min=10, unit_size_max=10, p=1.0)
    for image in results(dict(grid, random_offset=True), count=20):
        dropped = (image == 0).all(-1)
        cells = dropped.reshape(HEIGHT // 10, 10, WIDTH // 10, 10).sum((1, 3))
        assert np.unique(cells).tolist() == [25]
    (image,) = results(dict(grid, shift_x=2, shift_y=3), count=1)  # without random offsets
    expected = np.zeros((10, 10), bool)
    expected[3:8, 2:7] = True
    np.testing.assert_array_equal(
        (image == 0).all(-1), np.tile(expected, (HEIGHT // 10, WIDTH // 10))
    )


def test_quality_of_compression():
    image = cv2.resize(make_image(6, 4), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    (result,) = results(
        dict(type='ImageCompression', quality_lower=20, quality_upper=20, p=1.0),
        image=image,
        count=1,
    )
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 20])
    np.testing.assert_array_equal(result, cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def test_nested_transforms_are_translated():
    images = results(dict(type='OneOf', transforms=[ONE_HOLE], p=1.0), count=5)
    assert all(hole_sides(image) for image in images)


def test_random_numbers_depend_on_numpy_seed():
    step, image = build(ONE_HOLE), make_image()
    np.random.seed(3)
    first = [step(dict(img=image))['img'] for _ in range(3)]
    other = build(ONE_HOLE)
    np.random.seed(3)
    for expected in first:
        np.testing.assert_array_equal(other(dict(img=image))['img'], expected)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize(
    ('part', 'message'),
    [
        (dict(type='GaussNoise', var_limit=(10, 50)), "no argument 'var_limit'.*std_range"),
        (dict(type='Blurr'), "no transform 'Blurr'; did you mean Blur"),
        (dict(type='Blur', p=2.0), 'Blur: .*less than or equal to 1'),
        (dict(ONE_HOLE, max_width=9), 'CoarseDropout: .*0.4, 0.2, 9.*expected integers'),
        (dict(p=0.5), 'expected type=NAME'),
        (dict(type='HorizontalFlip'), 'HorizontalFlip moves the pixels, .*such as RandomFlip'),
        (dict(type='OneOf', transforms=[dict(type='Rotate')]), 'Rotate moves the pixels'),
        (dict(type='OneOf', transforms=dict(type='Blur')), "contains 'type'"),
        (dict(type='OneOrOther', first=dict(type='Blur'), second=dict(type='Blur')), 'OneOrOther'),
        (dict(type='BasicTransform'), 'BasicTransform'),
        (dict(type='CoarseDropout', max_holes=1, hole_width_range=(0.1, 0.2)), 'hole_width_range'),
        (dict(type='CoarseDropout', fill=0, fill_value=9), 'argument fill is given'),
        (dict(type='GridDropout', shift_x=1, shift_xy=(2, 3)), 'argument shift_xy is given'),
        (dict(type='ImageCompression', quality_lower=20, quality_range=(3, 9)), 'quality_range'),
    ],
)
def test_invalid_transform_raises_before_the_run(part, message):
    hook = dict(
        type='mmdet.PipelineSwitchHook',
        switch_epoch=1,
        switch_pipeline=[dict(type='Albumentation', transforms=[part])],
    )
    with pytest.raises(ConfigError, match=message):
        check_augmentation(Config(dict(custom_hooks=[hook])), ['train'])
    check_augmentation(Config(dict(custom_hooks=[hook])), ['test'])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(transforms=None), 'transforms=None: expected a list'),
        (dict(transforms=dict(type='Blur')), 'expected a list'),
        (dict(transforms=[], keymap=dict(image='img')), "keymap=.*such as {'img': 'image'}"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TRANSFORMS.build(dict(type='Albumentation', **arguments))


def test_transforms_of_the_image_alone():
    """Of those that albumentations also applies to keypoints, these move no pixels."""
    for kind in ('NoOp', 'Morphological', 'PixelDropout', 'XYMasking'):
        build(dict(type=kind))


def test_no_version_is_looked_up():
    assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'
    assert check_version.opener is None  # no URL was opened
