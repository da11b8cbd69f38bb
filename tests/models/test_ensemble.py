"""Tests of heatmap ensembles: geometry, values, memory and errors."""

import copy
import gc
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmpose.apis import inference_topdown, init_model
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.datasets.transforms import TopdownAffine
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.utils import register_all_modules
from scipy.ndimage import map_coordinates
from torch import nn
from torch.nn import functional as F

from pose_backbones import preflight as checks
from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli import flops
from pose_backbones.configs import load_config
from pose_backbones.errors import CheckpointError, ConfigError
from pose_backbones.models.ensembles import members as ensemble_members
from pose_backbones.models.ensembles import pipeline_geometry as config_facts
from pose_backbones.models.ensembles.heatmap_grid import (
    SamplingGrid,
    crop_grid,
    map_grid,
    resample_maps,
)


@pytest.fixture(autouse=True, scope='module')
def _mmpose_scope():
    """Register MMPose's modules, and make its scope the default for any selection of tests."""
    register_all_modules()


#: blobs of the colour detector: blue, green, red; x and y in the image
POINTS = np.array([[70.0, 60.0], [122.3, 101.6], [95.5, 161.2]])
BOX = np.array([40.0, 20.0, 150.0, 200.0])


@MODELS.register_module()
class ColourDetector(nn.Module):
    """Detect colored blobs: the heatmaps are the blurred image at a quarter of its size.

    Args:
        kind: Codec at whose cells the heatmaps are sampled.
    """

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.gain = nn.Parameter(torch.zeros(1))  # a checkpoint has 1

    def forward(self, image):
        kernel = torch.hann_window(7, periodic=False)[1:-1]
        kernel = (kernel[:, None] * kernel / kernel.sum() ** 2).expand(3, 1, 5, 5)
        # Cells of a MegviiHeatmap have their middle at 4 i + 2, others 4 i.
        pad = (0, 1, 0, 1) if self.kind == 'MegviiHeatmap' else (2, 2, 2, 2)
        blurred = F.conv2d(
            F.pad(image, pad), kernel, groups=3, stride=1 if self.kind == 'UDPHeatmap' else 4
        )
        if self.kind == 'UDPHeatmap':
            blurred = F.interpolate(
                blurred,
                scale_factor=0.25,
                mode='bilinear',
                align_corners=True,
                recompute_scale_factor=False,
            )
        unit = 255 if self.kind == 'MegviiHeatmap' else 1
        return (blurred * self.gain * unit,)


def codec(kind, size):
    width, height = size
    more = dict(kernel_size=5) if kind == 'MegviiHeatmap' else dict(sigma=2, blur_kernel_size=5)
    if kind == 'MSRAHeatmap':
        more['unbiased'] = True
    return dict(type=kind, input_size=size, heatmap_size=(width // 4, height // 4), **more)


def data(size, use_udp=False, padding=1.25, metainfo=None, extend=()):
    """A test dataset of a config; `extend`: steps after the padding."""
    dataset = dict(
        type='CocoDataset',
        pipeline=[
            dict(type='LoadImage'),
            dict(type='GetBBoxCenterScale', padding=padding),
            *extend,
            dict(type='TopdownAffine', input_size=size, use_udp=use_udp),
            dict(type='PackPoseInputs'),
        ],
    )
    if metainfo is not None:
        dataset['metainfo'] = metainfo
    return dict(dataset=dataset)


def metainfo(names, name='blobs'):
    return dict(
        dataset_name=name,
        paper_info=dict(),
        skeleton_info=dict(),
        keypoint_info={
            number: dict(name=point, id=number, color=[0, 0, 0], type='', swap='')
            for number, point in enumerate(names)
        },
        joint_weights=[1.0] * len(names),
        sigmas=[0.1] * len(names),
    )


BLOBS = metainfo(('blue', 'green', 'red'))


def write(path, model, loader):
    """Write a config file."""
    path.write_text(
        "default_scope = 'mmpose'\n"
        f'model = {model}\ntest_dataloader = {loader}\n'
        'train_dataloader = test_dataloader\n'
    )
    return str(path)


def color_detector(folder, kind='MSRAHeatmap', size=(48, 64), padding=1.25, **test_cfg):
    """Write the config and checkpoint of a color detector; return their paths."""
    path = folder / f'{kind}-{size[0]}x{size[1]}-{padding}.py'
    model = dict(
        type='TopdownPoseEstimator',
        data_preprocessor=dict(type='PoseDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3),
        backbone=dict(type='ColourDetector', kind=kind),
        head=dict(
            type='HeatmapHead',
            in_channels=3,
            out_channels=3,
            deconv_out_channels=None,
            final_layer=None,
            decoder=codec(kind, size),
        ),
        test_cfg=test_cfg,
    )
    config = write(path, model, data(size, kind == 'UDPHeatmap', padding, BLOBS))
    checkpoint = str(path.with_suffix('.pth'))
    torch.save({'backbone.gain': torch.ones(1)}, checkpoint)
    return dict(config=config, checkpoint=checkpoint)


def network(folder, seed, size=(64, 64), flip_test=True, **loader):
    """Write the config and checkpoint of a ConvNeXt for COCO's keypoints, with random weights."""
    path = folder / f'net{seed}.py'
    model = dict(
        type='pose_backbones.TopdownPoseEstimator',
        data_preprocessor=dict(
            type='PoseDataPreprocessor',
            mean=[120.0, 110.0, 100.0 + seed],
            std=[50.0, 55.0, 60.0],
            bgr_to_rgb=bool(seed % 2),
        ),
        backbone=dict(
            type='pose_backbones.ConvNeXt',
            init_cfg=dict(type='Pretrained', checkpoint='http://no.where/at.pth'),
            arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), use_grn=False),
        ),
        head=dict(
            type='HeatmapHead',
            out_channels=17,
            deconv_out_channels=(8, 8, 8),
            deconv_kernel_sizes=(4,) * 3,
            decoder=dict(
                type='MSRAHeatmap',
                input_size=size,
                sigma=2,
                heatmap_size=(size[0] // 4, size[1] // 4),
            ),
        ),
        test_cfg=dict(flip_test=flip_test, shift_heatmap=flip_test),
    )
    config = write(path, model, data(size, **loader))
    torch.manual_seed(seed)
    net = MODELS.build(Config.fromfile(config).model)
    for value in net.parameters():
        nn.init.normal_(value, std=0.3)
    torch.save(dict(state_dict=net.state_dict()), folder / f'net{seed}.pth')
    return dict(config=config, checkpoint=str(folder / f'net{seed}.pth'))


def ensemble_config(folder, members, decoder, loader, **changes):
    """Write the config file of an ensemble; return its path."""
    model = dict(
        type='pose_backbones.HeatmapEnsemble',
        backbone=dict(type='pose_backbones.EnsembleMembers', members=members),
        head=dict(type='HeatmapHead', decoder=decoder),
    )
    return write(folder / 'ensemble.py', {**model, **changes}, loader)


def like(member, folder, members, **changes):
    """Return an ensemble with the crops and the codec of a member's config."""
    cfg = Config.fromfile(member['config'])
    return ensemble_config(
        folder, members, cfg.model.head.decoder.to_dict(), cfg.test_dataloader.to_dict(), **changes
    )


def build(config):
    """Build the model as in inference."""
    return init_model(config, device='cpu')


def alone(member):
    return init_model(member['config'], member['checkpoint'], device='cpu')


@pytest.fixture(scope='module')
def blob_image():
    """Return an image of a blue, a green and a red blob, as sharp as the Gaussians of heatmaps."""
    y, x = np.mgrid[:240, :200]
    return (
        np.stack(
            [255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 2 / 18**2) for px, py in POINTS], -1
        )
        .round()
        .astype(np.uint8)
    )


@pytest.fixture(scope='module')
def noise():
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 256, (240, 200, 3), dtype=np.uint8), (0, 0), 3)


def find(model, image):
    """Return keypoints and scores of the person in BOX."""
    (person,) = inference_topdown(model, image, BOX[None])
    return (person.pred_instances.keypoints[0], person.pred_instances.keypoint_scores[0])


KINDS = ('MSRAHeatmap', 'UDPHeatmap', 'MegviiHeatmap')


@pytest.mark.parametrize('use_udp', [False, True])
def test_crop_grid_matches_topdown_affine(use_udp):
    """A pixel of the crop is at its position of the box in the image."""
    y, x = np.mgrid[:200, :200].astype(np.float32)
    results = dict(
        img=np.stack((x, y), -1),
        bbox_center=np.array([[100.0, 90.0]]),
        bbox_scale=np.array([[75.0, 100.0]]),
    )
    crop = TopdownAffine((48, 64), use_udp).transform(results)['img']
    grid = crop_grid((48, 64), use_udp)
    for axis in (0, 1):
        index = np.arange(grid.size[axis])
        place = index / grid.length[axis]
        image = [100, 90][axis] + (place - 0.5) * [75, 100][axis]
        found = (crop[0, :, 0], crop[:, 0, 1])[axis]
        np.testing.assert_allclose(found, image, atol=0.03)


@pytest.mark.parametrize('kind', KINDS)
def test_map_grid_matches_decoding(kind):
    """A symmetric peak at a cell is decoded to the cell's position."""
    decoder = KEYPOINT_CODECS.build(codec(kind, (48, 64)))
    grid = map_grid(decoder)
    y, x = np.mgrid[:16, :12]
    peak = np.exp(-((x - 4) ** 2 + (y - 9) ** 2) / 8.0)[None].astype(np.float32)
    found = decoder.decode(peak)[0][0, 0] / [48, 64]
    cell = (np.array([4, 9]) + grid.offset) / grid.length
    np.testing.assert_allclose(found, cell, atol=1e-3)


#: kind, size and padding of the member; those of the ensemble
CASES = [
    ('MSRAHeatmap', (48, 64), 1.25, 'UDPHeatmap', (96, 128), 1.25),
    ('UDPHeatmap', (48, 64), 1.25, 'UDPHeatmap', (96, 128), 1.25),
    ('MegviiHeatmap', (48, 64), 1.25, 'UDPHeatmap', (96, 128), 1.25),
    ('UDPHeatmap', (48, 64), 1.25, 'MSRAHeatmap', (96, 128), 1.25),
    ('MSRAHeatmap', (64, 64), 1.25, 'UDPHeatmap', (96, 128), 1.7),
    ('UDPHeatmap', (96, 128), 1.1, 'MSRAHeatmap', (96, 128), 1.25),
    ('MSRAHeatmap', (72, 96), 1.25, 'MSRAHeatmap', (96, 128), 1.25),
    ('MSRAHeatmap', (96, 128), 1.25, 'MSRAHeatmap', (48, 64), 1.25),
]


@pytest.mark.parametrize(
    'case',
    CASES,
    ids=lambda case: '-'.join(f'{p[0]}x{p[1]}' if isinstance(p, tuple) else str(p) for p in case),
)
def test_members_of_any_size_and_codec_find_the_true_position(case, blob_image, tmp_path):
    """The position is correct for half the size, other conventions, another aspect ratio and less
    padding.

    The tolerance is 0.15 pixels of the image, where a cell of the heatmaps is 8 pixels wide.
    """
    kind, size, padding, own_kind, large, larger = case
    member = color_detector(tmp_path, kind, size, padding)
    model = build(
        ensemble_config(
            tmp_path,
            [member],
            codec(own_kind, large),
            data(large, own_kind == 'UDPHeatmap', larger, BLOBS),
        )
    )
    points, scores = find(model, blob_image)
    np.testing.assert_allclose(points, POINTS, atol=0.15)
    _, expected = find(alone(member), blob_image)
    if kind == 'MegviiHeatmap':  # its own decoding adds a half
        expected = expected - 0.5
    np.testing.assert_allclose(scores, expected, atol=0.1)


def test_members_of_different_sizes_and_codecs_find_the_true_position(blob_image, tmp_path):
    """Members with different conventions are averaged without a shift."""
    members = [
        dict(color_detector(tmp_path, kind, size), weight=weight)
        for weight, kind, size in zip((1, 2, 0.5), KINDS, ((48, 64), (72, 96), (96, 128)))
    ]
    model = build(
        ensemble_config(
            tmp_path, members, codec('MegviiHeatmap', (96, 128)), data((96, 128), metainfo=BLOBS)
        )
    )
    points, scores = find(model, blob_image)
    # This codec moves a quarter of a cell, of 2.3 pixels, to either side.
    np.testing.assert_allclose(points, POINTS, atol=2.4)
    assert (scores > 1).all()  # 255 is what it calls sure, and 1.5 its score


@pytest.mark.parametrize('zoom', [(1.0, 1.0), (0.8, 1.25)])
def test_resample_maps_is_cubic(zoom):
    """A parabola is reproduced exactly inside the map; outside, values are 0."""
    source = SamplingGrid((12, 16), (12, 16), 0.5)
    target = SamplingGrid((20, 18), (19, 17))
    y, x = np.mgrid[:16, :12].astype(float)
    maps = torch.tensor(1 + x**2 - 3 * x * y + y**2 / 2)[None, None]
    found = resample_maps(maps, source, target, np.array([zoom]))[0, 0]
    places = [
        (0.5 + (np.arange(n) / (n - 1) - 0.5) * z) * count - 0.5
        for n, z, count in zip((20, 18), zoom, (12, 16))
    ]
    x, y = np.meshgrid(*places)
    inside = (x >= 1) & (x <= 10) & (y >= 1) & (y <= 14)
    assert inside.sum() > 150
    expected = 1 + x**2 - 3 * x * y + y**2 / 2
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-9)
    beyond = (y <= -1) | (y >= 16)
    assert beyond.any() == (zoom[1] > 1)
    assert (found.numpy()[beyond] == 0).all()


def people(config, image, boxes=(BOX, BOX + 5)):
    """Return a batch of crops from the pipeline of a config."""
    cfg = Config.fromfile(config)
    meta = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/coco.py'))
    pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    return pseudo_collate(
        [pipeline(dict(img=image, bbox=box[None], bbox_score=np.ones(1), **meta)) for box in boxes]
    )


def run(model, batch):
    """Return the heatmaps and keypoints of a batch."""
    model.test_cfg['output_heatmaps'] = True
    with torch.no_grad():
        people = model.test_step(copy.deepcopy(batch))
    return (
        torch.stack([p.pred_fields.heatmaps for p in people]),
        np.concatenate([p.pred_instances.keypoints for p in people]),
    )


@pytest.mark.parametrize(
    ('weights', 'tolerance'), [((1,), 0), ((1, 1), 0), ((3, 1), 0), ((0.3, 0.3, 0.4), 2e-7)]
)
def test_equal_members_match_a_single_model(weights, tolerance, noise, tmp_path):
    member = network(tmp_path, 1)
    config = like(member, tmp_path, [dict(member, weight=weight) for weight in weights])
    batch = people(config, noise)
    maps, points = run(alone(member), batch)
    found, found_points = run(build(config), batch)
    np.testing.assert_allclose(
        found, maps, rtol=tolerance, atol=tolerance * maps.abs().max().item()
    )
    np.testing.assert_array_equal(found_points, points)
    assert np.ptp(points[..., 0]) > 50  # they are all over the box


def test_equal_members_match_a_single_model_in_inference_topdown(noise, tmp_path):
    member = network(tmp_path, 2)
    points, scores = find(alone(member), noise)
    found = find(build(like(member, tmp_path, [member, member])), noise)
    np.testing.assert_array_equal(found[0], points)
    np.testing.assert_array_equal(found[1], scores)


def catmull_rom(values, place):
    """Interpolate a row of values at a fractional index, with repeated border values."""
    first = int(min(max(place, 0), len(values) - 1))
    part = min(max(place, 0), len(values) - 1) - first
    a, b, c, d = (values[min(max(first + step, 0), len(values) - 1)] for step in (-1, 0, 1, 2))
    return b + part / 2 * (
        c - a + part * (2 * a - 5 * b + 4 * c - d + part * (3 * (b - c) + d - a))
    )


def test_two_members_are_averaged(noise, tmp_path):
    """The smaller member gets every second pixel, and its map is sampled at every half cell."""
    large, small = network(tmp_path, 1), network(tmp_path, 2, (32, 32))
    config = like(large, tmp_path, [dict(large, weight=3), dict(small, weight=2)])
    batch = people(config, noise)
    first, _ = run(alone(large), batch)
    halves = dict(batch, inputs=[crop[:, ::2, ::2] for crop in batch['inputs']])
    second, _ = run(alone(small), halves)
    grown = second.numpy().astype(float)
    for axis in (2, 3):
        grown = np.stack(
            [catmull_rom(np.moveaxis(grown, axis, 0), place / 2) for place in range(16)], axis
        )
    expected = (3 * first.numpy() + 2 * grown) / 5
    found, points = run(build(config), batch)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-5)
    assert np.abs(found - first).max() > 0.1 * scale
    decoder = alone(large).head.decoder
    decoded = np.concatenate([decoder.decode(maps.astype(np.float32))[0] for maps in expected])
    cut = [sample.metainfo for sample in batch['data_samples']]
    decoded = np.stack(
        [
            keypoints / 64 * meta['input_scale'] + meta['input_center'] - meta['input_scale'] / 2
            for keypoints, meta in zip(decoded, cut)
        ]
    )
    np.testing.assert_allclose(points, decoded, atol=1e-3)


EXTEND = dict(type='pose_backbones.ExtendBBox', x=1.09, y=1.135)


@pytest.mark.parametrize('loader', [dict(), dict(padding=1.1), dict(padding=1.0, extend=[EXTEND])])
def test_crops_of_a_smaller_member_match_its_pipeline(loader, noise, tmp_path):
    """Crops of the pipeline and crops resampled by the ensemble differ only by rounding."""
    large, small = network(tmp_path, 1), network(tmp_path, 2, (32, 32), **loader)
    config = like(large, tmp_path, [large, small])
    smooth = cv2.GaussianBlur(noise, (0, 0), 6).astype(float)
    smooth = ((smooth - smooth.mean()) / smooth.std() * 40 + 128).clip(0, 255)
    noise = smooth.astype(np.uint8)
    # Inside the image with all margin: its edge is not smooth.
    boxes = np.array([[70.0, 60.0, 130.0, 150.0], [50.0, 80.0, 140.0, 120.0]])
    own = torch.stack(people(small['config'], noise, boxes)['inputs']).float()
    seen = []
    model = build(config)
    model.backbone[1].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    run(model, people(config, noise, boxes))
    assert seen[0].shape == own.shape
    assert (seen[0] - own).abs().max() <= 10  # of 255
    assert (seen[0] - own).abs().mean() < 1.5
    assert own.std() > 20


def test_crop_box_matches_the_pipeline(noise, tmp_path):
    """Factors along x and y, before the box grows to the crop's aspect."""
    config = network(
        tmp_path,
        1,
        (48, 64),
        padding=1.2,
        extend=[EXTEND, dict(type='pose_backbones.ExtendBBox', x=[2, 2], y=0.5)],
    )['config']
    crop = config_facts.read_crop(Config.fromfile(config))
    assert crop.padding == pytest.approx((1.2 * 1.09 * 2, 1.2 * 1.135 / 2))
    boxes = BOX, np.array([90.0, 10.0, 100.0, 220.0]), np.array([5.0, 5.0, 150, 9.0])
    cut = [
        sample.metainfo['input_scale'] for sample in people(config, noise, boxes)['data_samples']
    ]
    person = np.stack(boxes)[:, 2:] - np.stack(boxes)[:, :2]
    np.testing.assert_allclose(crop.crop_sizes(person), cut, rtol=1e-6)


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (
            dict(EXTEND, x=(0.9, 1.1)),
            r'net1.py: test_dataloader.dataset.pipeline\[2\] has x=\(0.9, 1.1\), '
            'a random factor per person: expected a fixed factor',
        ),
        (
            dict(type='RandomBBoxTransform'),
            r'pipeline\[2\] is RandomBBoxTransform, whose effect on the box is unknown: '
            'expected only ExtendBBox between',
        ),
        (dict(EXTEND, x=-1), 'net1.py cannot be built: .*x is -1: expected a'),
    ],
)
def test_unsupported_box_transforms_raise(step, message, tmp_path):
    config = network(tmp_path, 1)['config']
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline.insert(2, step)
    with pytest.raises(ConfigError, match=message):
        config_facts.read_crop(cfg)


def test_pipeline_error_names_the_validation_loader(tmp_path):
    """The crops are read from the validation pipeline if the config has no test data."""
    cfg = Config.fromfile(network(tmp_path, 1)['config'])
    cfg.val_dataloader = cfg.pop('test_dataloader')
    cfg.val_dataloader.dataset.pipeline.insert(2, dict(EXTEND, x=(0.9, 1.1)))
    with pytest.raises(ConfigError, match=r'net1.py: val_dataloader.dataset.pipeline\[2\] has x='):
        config_facts.read_crop(cfg)
    del cfg.val_dataloader.dataset.pipeline[1:]
    with pytest.raises(ConfigError, match='in val_dataloader.dataset.pipeline, so its crops are'):
        config_facts.read_crop(cfg)


def test_padding_to_contain_is_sufficient_and_minimal():
    rng = np.random.default_rng(1)
    shapes = np.exp(rng.uniform(-3, 3, (3000, 2)))  # up to 1 to 400
    for _ in range(40):
        sizes = rng.integers(32, 99, (2, 2))
        inner = config_facts.Crop(tuple(sizes[0]), False, 1.25, tuple(rng.uniform(0.5, 2, 2)))
        size = tuple(sizes[1])
        needed = inner.padding_to_contain(size[0] / size[1])

        def hold(x, y, inner=inner, size=size):
            boxes = config_facts.Crop(size, False, 1.0, (x, y)).crop_sizes(shapes)
            return bool((boxes >= inner.crop_sizes(shapes) * (1 - 1e-9)).all())

        assert hold(*needed)
        assert not hold(needed[0] * 0.999, needed[1])
        assert not hold(needed[0], needed[1] * 0.999)


def small_copy(name, folder, std, head, **backbone):
    """Return a member with a config of the package and small layers.

    Args:
        std: Standard deviation of the weights of the head.
    """
    cfg = load_config(f'pose_backbones::{name}')
    cfg.merge_from_dict(dict(model=dict(backbone=dict(backbone, init_cfg=None), head=head)))
    path = folder / name.rpartition('/')[2]
    cfg.dump(path)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for value in model.head.parameters():
        nn.init.normal_(value, std=std)
    torch.save(model.state_dict(), path.with_suffix('.pth'))
    return dict(config=str(path), checkpoint=str(path.with_suffix('.pth')))


@pytest.fixture(scope='module')
def mspn_96k(tmp_path_factory):
    """Return a member whose boxes are enlarged more along y."""
    return small_copy(
        'mspn/td-hm_mspn-1stg_8xb32-96k_coco-256x192.py',
        tmp_path_factory.mktemp('mspn'),
        1.2,
        dict(unit_channels=8),
        num_blocks=(1, 1, 1, 1),
        base_channels=8,
        unit_channels=8,
    )


@pytest.fixture(scope='module')
def moganet(tmp_path_factory):
    return small_copy(
        'moganet/td-hm_moganet-xt_8xb32-210e_coco-256x192.py',
        tmp_path_factory.mktemp('moganet'),
        0.3,
        dict(in_channels=32, deconv_out_channels=(8, 8, 8)),
        arch=dict(
            _delete_=True, embed_dims=(8, 16, 16, 32), depths=(1, 1, 1, 1), ffn_ratios=(2, 2, 2, 2)
        ),
    )


def read_at(values, places):
    """Interpolate the last axis at fractional indices, with 0 beyond one cell outside."""
    count = values.shape[-1]
    values = np.moveaxis(values, -1, 0)
    return np.stack([catmull_rom(values, place) * (-1 < place < count) for place in places], -1)


def test_mspn_and_moganet_are_averaged(mspn_96k, moganet, noise, tmp_path):
    """The expected average is computed in image coordinates, from the pipeline of each member."""
    config = like(moganet, tmp_path, [dict(moganet, weight=2), dict(mspn_96k, weight=3)])
    boxes = BOX, np.array([60.0, 5.0, 120.0, 230.0])
    batch = people(config, noise, boxes)
    mspn_batch = people(mspn_96k['config'], noise, boxes)
    crops, frames = [], []
    for crop, sample, other in zip(
        batch['inputs'], batch['data_samples'], mspn_batch['data_samples']
    ):
        (low, scale), (their_low, their_scale) = frame = [
            (meta['input_center'] - meta['input_scale'] / 2, meta['input_scale'].astype(float))
            for meta in (sample.metainfo, other.metainfo)
        ]
        frames.append(frame)
        x, y = (
            ((their_low + np.arange(n)[:, None] / n * their_scale - low) / scale * n)[:, axis]
            for axis, n in enumerate((192, 256))
        )
        places = np.stack(np.meshgrid(y, x, indexing='ij'))
        crops.append(
            torch.tensor(
                np.stack(
                    [
                        map_coordinates(channel.numpy().astype(float), places, order=1)
                        for channel in crop
                    ]
                ),
                dtype=torch.float32,
            )
        )
    first, _ = run(alone(moganet), batch)
    second, _ = run(alone(mspn_96k), dict(mspn_batch, inputs=crops))
    expected = []
    for one, other, ((low, scale), (their_low, their_scale)) in zip(
        first.numpy(), second.numpy().astype(float), frames
    ):
        x, y = (
            ((low + np.arange(n)[:, None] / n * scale - their_low) / their_scale * n - 0.5)[:, axis]
            for axis, n in enumerate((48, 64))
        )
        other = read_at(read_at(other, x).swapaxes(1, 2), y).swapaxes(1, 2)
        expected.append((2 * one + 3 * other / 255) / 5)
    expected = np.stack(expected)
    found, points = run(build(config), batch)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-4)
    for part in (first, second / 255):
        assert part.abs().max() > 0.05 * scale
        assert np.abs(found - part).max() > 0.05 * scale
    decoder = alone(moganet).head.decoder
    for maps, keypoints, ((low, scale), _) in zip(expected, points, frames):
        decoded = decoder.decode(maps.astype(np.float32))[0][0]
        np.testing.assert_allclose(keypoints, decoded / [192, 256] * scale + low, atol=1e-2)


def test_member_with_zero_weight_is_ignored(noise, tmp_path):
    first, second = network(tmp_path, 1), network(tmp_path, 2)
    config = like(first, tmp_path, [dict(first, weight=1), dict(second, weight=0)])
    batch = people(config, noise)
    model = build(config)
    ran = []
    model.backbone[1].register_forward_hook(lambda *_: ran.append(1))
    found, points = run(model, batch)
    expected, expected_points = run(alone(first), batch)
    assert torch.equal(found, expected)
    np.testing.assert_array_equal(points, expected_points)
    assert not ran


def test_flip_test_of_members_or_ensemble(noise, tmp_path):
    first = network(tmp_path, 1)
    second = network(tmp_path, 2, flip_test=False)
    batch = people(first['config'], noise)
    one, other = (run(alone(member), batch)[0] for member in (first, second))
    found, _ = run(build(like(first, tmp_path, [first, second])), batch)
    np.testing.assert_allclose(found, (one + other) / 2, rtol=1e-5, atol=1e-4)
    for flip, member in ((False, first), (True, second)):
        single = alone(member)
        single.test_cfg['flip_test'] = flip
        expected, _ = run(single, batch)
        whole = build(like(member, tmp_path, [member], test_cfg=dict(flip_test=flip)))
        assert torch.equal(run(whole, batch)[0], expected)
        assert not torch.equal(expected, (one, other)[member is second])


def test_maps_of_members_are_not_kept_in_memory(noise, tmp_path):
    """When a member runs, only the sum of the previous maps is kept, and no activations."""
    members = [network(tmp_path, seed) for seed in range(4)]
    model = build(like(members[0], tmp_path, members))
    batch = people(members[0]['config'], noise)
    live, calls = [], []

    def count(*_):
        gc.collect()
        tensors = (item for item in gc.get_objects() if type(item) is torch.Tensor)
        # Another test can have left a nested list, which has no shape.
        live.append(sum(not item.is_nested and item.shape == (2, 17, 16, 16) for item in tensors))
        assert not torch.is_grad_enabled()

    for number, member in enumerate(model.backbone):
        member.register_forward_pre_hook(count)
        member.model.backbone.register_forward_hook(lambda *_, number=number: calls.append(number))
    inputs = model.data_preprocessor(batch)['inputs']
    (maps,) = model.extract_feat(inputs, batch['data_samples'])
    assert live == [0, 1, 1, 1]
    assert calls == [0, 0, 1, 1, 2, 2, 3, 3]  # once, and once mirrored
    assert not maps.requires_grad
    # As of any other model, so that a distributed run takes it.
    assert all(value.requires_grad for value in model.parameters())


def test_flops_and_parameters_are_summed(tmp_path):
    first, second = network(tmp_path, 1), network(tmp_path, 2)
    counts = [
        flops.measure(Config.fromfile(config), (64, 64))
        for config in (first['config'], second['config'], like(first, tmp_path, [first, second]))
    ]
    assert counts[2] == tuple(np.add(*counts[:2]))
    assert counts[0][0] > 1e5


MSPN = dict(
    mmpose=dict(
        backbone=dict(
            type='mmpose.MSPN',
            unit_channels=8,
            num_stages=2,
            num_units=4,
            num_blocks=[1, 1, 1, 1],
            res_top_channels=64,
        ),
        head=dict(
            type='mmpose.MSPNHead',
            num_stages=2,
            out_shape=(16, 16),
            unit_channels=8,
            out_channels=17,
            level_indices=[0] * 8,
            loss=[dict(type='KeypointMSELoss')] * 8,
            decoder=dict(
                type='MegviiHeatmap', input_size=(64, 64), heatmap_size=(16, 16), kernel_size=5
            ),
        ),
    ),
    pose_backbones=dict(
        backbone=dict(
            type='pose_backbones.MSPN',
            stages=2,
            unit_channels=8,
            num_blocks=(1, 1, 1, 1),
            base_channels=8,
        ),
        head=dict(
            type='pose_backbones.MSPNHead',
            stages=2,
            unit_channels=8,
            out_shape=(16, 16),
            decoder=dict(
                type='pose_backbones.CoarseToFineHeatmap',
                input_size=(64, 64),
                heatmap_size=(16, 16),
            ),
        ),
    ),
)


@pytest.mark.parametrize('source', MSPN)
def test_last_map_of_a_multi_stage_head_is_used(source, noise, tmp_path):
    """The MSPN has two stages, and its heatmaps a maximum of 255."""
    model = dict(
        type='TopdownPoseEstimator',
        **MSPN[source],
        data_preprocessor=dict(type='PoseDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3),
        test_cfg=dict(flip_test=True),
    )
    decoder = model['head']['decoder']
    config = write(tmp_path / 'mspn.py', model, data((64, 64)))
    torch.save(MODELS.build(model).state_dict(), tmp_path / 'mspn.pth')
    member = dict(config=config, checkpoint=str(tmp_path / 'mspn.pth'))
    whole = like(member, tmp_path, [member])
    batch = people(config, noise)
    maps, points = run(alone(member), batch)
    found, found_points = run(build(whole), batch)
    assert torch.equal(found, maps)
    np.testing.assert_array_equal(found_points, points)
    # It has the same weight as a model whose maps have a maximum of 1.
    other = network(tmp_path, 1)
    ones, _ = run(alone(other), batch)
    both = build(
        like(member, tmp_path, [member, other], head=dict(type='HeatmapHead', decoder=decoder))
    )
    both.backbone[1].cells = both.cells  # so that nothing is interpolated
    np.testing.assert_allclose(run(both, batch)[0], (maps + 255 * ones) / 2, rtol=1e-5, atol=1e-3)


POINTS_17 = [f'point {number}' for number in range(17)]


def change(member, **changes):
    """Edit a member's config file."""
    cfg = Config.fromfile(member['config'])
    cfg.merge_from_dict(changes)
    cfg.dump(member['config'])
    return member


WRONG_MEMBERS = {
    'none': (lambda a, b: [], r'members=\[\]: expected a list of dicts'),
    'a dict': (lambda a, b: a, 'members={.*}: expected a list of dicts'),
    'no dict': (
        lambda a, b: [a, 'b.py'],
        r"members\[1\] is 'b.py': expected a dict with config, ch",
    ),
    'key': (
        lambda a, b: [dict(a, weigth=1)],
        r"members\[0\] has an unknown key 'weigth': expected config, "
        'checkpoint, weight; did you mean weight',
    ),
    'no checkpoint': (
        lambda a, b: [dict(config=a['config'])],
        r'members\[0\] has checkpoint=None: expected the path',
    ),
    'no config': (
        lambda a, b: [a, dict(checkpoint='b.pth')],
        r'members\[1\] has config=None: expected the path',
    ),
    'weight': (
        lambda a, b: [a, dict(b, weight=-1)],
        r'members\[1\] has weight=-1: expected a number of at least',
    ),
    'weight of text': (lambda a, b: [dict(a, weight='2')], r"members\[0\] has weight='2'"),
    'weights': (
        lambda a, b: [dict(a, weight=0), dict(b, weight=0.0)],
        r'weights of the members are \[0, 0.0\]: at least one',
    ),
    'missing config': (
        lambda a, b: [a, dict(b, config='nothing.py')],
        'config not found: nothing.py',
    ),
    'dataset': (
        lambda a, b: [
            a,
            change(b, test_dataloader=dict(dataset=dict(metainfo=metainfo(POINTS_17, 'mine')))),
        ],
        "have the same keypoints: .*net1.py has dataset_name='coco', .*net2.py has "
        "dataset_name='mine'",
    ),
    'number': (
        lambda a, b: [
            a,
            change(
                b, test_dataloader=dict(dataset=dict(metainfo=metainfo(POINTS_17[:16], 'coco')))
            ),
        ],
        'net1.py has 17 keypoints, .*net2.py has 16 keypoints',
    ),
    'names': (
        lambda a, b: [
            a,
            change(
                b,
                test_dataloader=dict(
                    dataset=dict(metainfo=metainfo(['nose', *POINTS_17[1:]], 'coco'))
                ),
            ),
        ],
        "has 'left_eye' as keypoint 1, .* has 'point 1' as keypoint 1",
    ),
    'no data': (
        lambda a, b: [change(a, test_dataloader=None)],
        'net1.py has no test_dataloader.dataset',
    ),
    'pipeline': (
        lambda a, b: [change(a, **{'test_dataloader.dataset.pipeline': []})],
        'net1.py has no GetBBoxCenterScale, or no TopdownAffine after it, in test_dataloader',
    ),
    'order': (
        lambda a, b: [
            change(
                a,
                **{
                    'test_dataloader.dataset.pipeline.0': dict(type='TopdownAffine'),
                    'test_dataloader.dataset.pipeline.2': dict(type='LoadImage'),
                },
            )
        ],
        'net1.py has no GetBBoxCenterScale, or no TopdownAffine after it',
    ),
    'no model': (
        lambda a, b: [a, change(b, model=None)],
        "net2.py has no 'model': expected the config of a model",
    ),
    'ensemble': (
        lambda a, b: [
            a,
            change(
                b,
                model=dict(
                    _delete_=True,
                    type='pose_backbones.HeatmapEnsemble',
                    backbone=dict(type='pose_backbones.EnsembleMembers', members=[a]),
                ),
            ),
        ],
        'net2.py is itself an ensemble: list its members and their weights here instead',
    ),
    'codec': (
        lambda a, b: [change(a, **{'model.head.decoder': None})],
        'net1.py: model.head.decoder is None: an ensemble averages heatmaps '
        'of MSRAHeatmap, UDPHeatmap, MegviiHeatmap',
    ),
    'codec of offsets': (
        lambda a, b: [
            change(
                a,
                **{
                    'model.head.decoder': dict(
                        codec('UDPHeatmap', (64, 64)), heatmap_type='combined'
                    )
                },
            )
        ],
        "model.head.decoder has heatmap_type='combined', maps of offsets",
    ),
    'size': (
        lambda a, b: [change(a, **{'model.head.decoder.input_size': (48, 64)})],
        'net1.py: the crops of the pipeline are 64x64, but the input_size of the codec is 48x64',
    ),
    'outputs': (
        lambda a, b: [change(a, **{'model.head.out_channels': 16})],
        'model.head.out_channels is 16, but the dataset coco has 17',
    ),
    'argument': (
        lambda a, b: [change(a, **{'model.head.colour': 'red'})],
        "net1.py cannot be built: .*'colour'",
    ),
    'no estimator': (
        lambda a, b: [change(a, model=dict(_delete_=True, type='mmpose.KeypointMSELoss'))],
        'net1.py is a KeypointMSELoss: expected a TopdownPoseEstimator as a member',
    ),
}


@pytest.mark.parametrize('case', WRONG_MEMBERS)
def test_invalid_members_raise(case, tmp_path):
    make, message = WRONG_MEMBERS[case]
    first, second = network(tmp_path, 1), network(tmp_path, 2)
    with pytest.raises(ConfigError, match=message):
        MODELS.build(dict(type='pose_backbones.EnsembleMembers', members=make(first, second)))


def test_missing_files_raise_before_models_are_built(tmp_path, monkeypatch):
    first, second = network(tmp_path, 1), network(tmp_path, 2)

    def refuse(*_):
        raise AssertionError('a member was built')

    monkeypatch.setattr(ensemble_members, 'Member', refuse)
    path = f'{tmp_path}/net3.pth'
    with pytest.raises(
        CheckpointError, match=re.escape(f'checkpoint not found: {path}; did you mean net2.pth')
    ):
        MODELS.build(
            dict(
                type='pose_backbones.EnsembleMembers',
                members=[first, dict(second, checkpoint=path)],
            )
        )


def test_weights_load_strictly(tmp_path):
    first, second = network(tmp_path, 1), network(tmp_path, 2)
    weights = read_checkpoint(second['checkpoint'])['state_dict']
    del weights['head.final_layer.bias']
    torch.save(weights, second['checkpoint'])
    with pytest.raises(
        CheckpointError,
        match=(
            'net2.pth is not a checkpoint of this model: .*; 1 missing key: head.final_layer.bias'
        ),
    ):
        build(like(first, tmp_path, [first, second]))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(test_cfg=dict(shift_heatmap=True)),
            "model.test_cfg has 'shift_heatmap': expected only flip_test, output_heatmaps, "
            'output_keypoint_indices; set other options in the configs of the members$',
        ),
        (
            dict(data_preprocessor=dict(type='PoseDataPreprocessor')),
            "model.data_preprocessor is {'type': 'PoseDataPreprocessor'}: expected None, since "
            'each member has its own data_preprocessor; set _delete_=True',
        ),
        (dict(neck=dict(type='FeatureMapProcessor')), 'model.neck is {.*}: expected None'),
        (dict(head=None), r"model has no head: expected dict\(type='HeatmapHead', decoder="),
        (dict(train_cfg=dict(compute_acc=True)), 'train_cfg=.*: an ensemble is not trained'),
        (dict(head=dict(type='HeatmapHead', decoder=None)), 'model.head.decoder is None'),
        (
            dict(
                head=dict(
                    type='HeatmapHead',
                    decoder=codec('MSRAHeatmap', (64, 64)),
                    final_layer=dict(kernel_size=1),
                )
            ),
            'model.head has weights',
        ),
        (
            dict(backbone=dict(type='pose_backbones.ConvNeXt', arch='v2-atto')),
            'model.backbone is a ConvNeXt',
        ),
    ],
)
def test_invalid_arguments_raise(changes, message, tmp_path):
    member = network(tmp_path, 1)
    config = like(member, tmp_path, [member], **changes)
    with pytest.raises(ConfigError, match=message):
        MODELS.build(Config.fromfile(config).model)


def test_training_raises(noise, tmp_path):
    member = network(tmp_path, 1)
    model = build(like(member, tmp_path, [member]))
    with pytest.raises(ConfigError, match='an ensemble is not trained'):
        model(torch.zeros(1, 3, 64, 64), [], mode='loss')
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_crops_of_another_size_raise(noise, tmp_path):
    member = network(tmp_path, 1)
    model = build(like(member, tmp_path, [member]))
    with pytest.raises(
        ConfigError, match=('the crops are 48x64, but the input_size of the ensemble.* is 64x64')
    ):
        model(torch.zeros(1, 3, 64, 48), None)
    wide = network(tmp_path, 2)
    wide = change(wide, **{'test_dataloader.dataset.pipeline.1.padding': 1.5})
    model = build(like(member, tmp_path, [wide]))
    with pytest.raises(ConfigError, match='the crop of .*net2.py is 1.200 times as large'):
        find(model, noise)


@pytest.mark.parametrize('flip_test', [False, True])
@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (
            metainfo([f'point {k}' for k in range(16)], 'mpii'),
            "samples have dataset_name='mpii', but the members of the ensemble have 'coco'",
        ),
        (
            metainfo([f'point {k}' for k in range(16)], 'coco'),
            r'have flip_indices=\[0, 1, .* 15\], but the members of the ensemble have '
            r'\[0, 2, 1, .*set the metainfo of train_dataloader.dataset',
        ),
    ],
)
def test_inference_with_other_keypoints_raises(other, message, flip_test, noise, tmp_path):
    member = network(tmp_path, 1, flip_test=flip_test)
    model = build(
        ensemble_config(
            tmp_path,
            [member],
            dict(type='MSRAHeatmap', input_size=(64, 64), heatmap_size=(16, 16), sigma=2),
            data((64, 64), metainfo=other),
        )
    )
    with pytest.raises(ConfigError, match=message):
        find(model, noise)


@pytest.mark.parametrize(
    ('loader', 'decoder', 'message'),
    [
        (
            data((64, 64), metainfo=metainfo(POINTS_17, 'mine')),
            {},
            "has dataset_name='mine', but its members .such as .*net1.py. have dataset_name='coco'",
        ),
        (
            data((64, 64), use_udp=True),
            {},
            r'input_size=\(64, 64\), use_udp=True, '
            'but model.head.decoder is MSRAHeatmap',
        ),
        (
            data((64, 64)),
            dict(input_size=(128, 128)),
            r'input_size=\(64, 64\), .* is MSRAHeatmap with input_size=\(128, 128',
        ),
        (
            data((64, 64), padding=1.2),
            {},
            'crops are 1.2000 x 1.2000 times the bounding box .padding of GetBBoxCenterScale, '
            'times x and y of ExtendBBox., but .*net1.py needs 1.2500 x 1.2500 '
            'times: set padding to at least 1.25$',
        ),
        (
            data((48, 64)),
            dict(input_size=(48, 64), heatmap_size=(12, 16)),
            'net1.py needs 1.2500 x 1.6667 times: .* at least 1.667$',
        ),
        (
            data((64, 48)),
            dict(input_size=(64, 48), heatmap_size=(16, 12)),
            'net1.py needs 1.6667 x 1.2500 times: .* at least 1.667$',
        ),
        (
            data((64, 64), padding=1.0, extend=[EXTEND]),
            {},
            'are 1.0900 x 1.1350 times .* needs 1.2500 x 1.2500 times: set padding '
            'to at least 1.147$',
        ),
        (
            data((64, 64), padding=1.0, extend=[dict(EXTEND, x=2.0)]),
            {},
            'are 2.0000 x 1.1350 times .* at least 1.102$',
        ),
    ],
)
def test_mismatched_config_raises(loader, decoder, message, tmp_path):
    member = network(tmp_path, 1)
    own = dict(type='MSRAHeatmap', input_size=(64, 64), sigma=2, heatmap_size=(16, 16))
    config = Config.fromfile(ensemble_config(tmp_path, [member], {**own, **decoder}, loader))
    dataset = SimpleNamespace(
        metainfo=parse_pose_metainfo(
            loader['dataset'].get('metainfo') or dict(from_file='configs/_base_/datasets/coco.py')
        )
    )
    model = MODELS.build(config.model)
    with pytest.raises(ConfigError, match=message):
        checks.check_ensemble(config, model, dataset)
    enough = re.search(r'padding to at least ([\d.]+)$', message)
    if enough:  # what the message asks for, if it asks for padding
        pipeline = config.test_dataloader.dataset.pipeline
        pipeline[1].padding = float(enough[1])
        checks.check_ensemble(config, model, dataset)
    good = Config.fromfile(like(member, tmp_path, [member]))
    checks.check_ensemble(
        good,
        MODELS.build(good.model),
        SimpleNamespace(
            metainfo=parse_pose_metainfo(dict(from_file='configs/_base_/datasets/coco.py'))
        ),
    )
