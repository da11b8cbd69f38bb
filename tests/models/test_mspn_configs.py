"""Tests of the MSPN configs: schedule and data of the original, and a short training."""

import copy

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmpose.datasets import CocoDataset
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones import preflight as checks
from pose_backbones.zoo import get_config, read_families, read_models
from tests.helpers.golden_values import published_figures
from tests.helpers.tools import ROOT

NAMES = [name for name in read_models() if '_mspn-' in name]
ORIGINAL = [name for name in NAMES if '-96k_' in name or '-28k_' in name]
DEMO = 'td-hm_mspn-2stg_1xb8-demo_synthetic-128x96'
MPII_DEMO = 'td-hm_mspn-2stg_1xb8-demo_synthetic-mpii-128x128'

#: settings of the original, in the order in which its data loader uses them
COCO_AUGMENTATION = [
    dict(type='GetBBoxCenterScale', padding=1 + 0.05),
    dict(type='pose_backbones.ExtendBBox', x=(1, 1 + 0.6), y=(1, 1 + 0.8)),
    dict(
        type='pose_backbones.HalfBody',
        upper=tuple(range(13)),
        x=(1, 1 + 0.6),
        y=(1, 1 + 0.8),
        prob=0.3,
        min_points=3 + 1,
    ),
    dict(
        type='pose_backbones.RandomScaleRotation',
        scale=(0.8 * (1 - 0.25), 0.8 * (1 + 0.25)),
        degrees=45,
        prob=0.5,
    ),
    dict(type='pose_backbones.MarkHidden'),
    dict(type='pose_backbones.RandomFlip', prob=0.5, direction='horizontal'),
]
MPII_AUGMENTATION = [
    dict(type='GetBBoxCenterScale', padding=1 + 0.25),
    dict(
        type='pose_backbones.HalfBody',
        upper=tuple(range(7, 16)),
        x=(1, 1 + 0.6),
        y=(1, 1 + 0.6),
        prob=0.5,
        min_points=8 + 1,
    ),
    dict(
        type='pose_backbones.RandomScaleRotation', scale=(1 - 0.25, 1 + 0.25), degrees=60, prob=0.5
    ),
    dict(type='pose_backbones.RandomFlip', prob=0.5, direction='horizontal'),
]


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()
    init_default_scope('mmpose')


def test_configs_of_all_source_models_exist():
    def named(schedule, data, stages):
        return {f'td-hm_mspn-{n}stg_8xb32-{schedule}_{data}' for n in stages}

    assert set(NAMES) == {
        *named('96k', 'coco-256x192', (1, 2, 3, 4)),
        *named('96k', 'coco-384x288', (4,)),
        *named('28k', 'mpii-256x256', (2, 4)),
        *named('210e', 'coco-256x192', (1, 2, 3, 4)),
        DEMO,
        MPII_DEMO,
    }


@pytest.mark.parametrize('name', NAMES)
def test_backbone_and_head_match(name):
    config = get_config(name)
    checks.check_types(config)
    stages = int(name.split('_mspn-')[1][0])
    codec, head = config.codec, config.model.head
    assert config.model.backbone.stages == head.stages == stages
    (target,) = (
        step for step in config.train_dataloader.dataset.pipeline if step.type == 'GenerateTarget'
    )
    assert head.decoder == target.encoder == codec
    width, height = codec.input_size
    assert name.endswith(f'{height}x{width}')
    assert tuple(codec.heatmap_size) == (width // 4, height // 4)
    assert tuple(head.out_shape) == (height // 4, width // 4)
    for split in ('train', 'val', 'test'):
        (affine,) = (
            step
            for step in config[f'{split}_dataloader'].dataset.pipeline
            if step.type == 'TopdownAffine'
        )
        assert tuple(affine.input_size) == (width, height)
    with torch.device('meta'):
        config.model.backbone.init_cfg = None
        MODELS.build(config.model)  # raises if the parts do not match


@pytest.mark.parametrize('name', ORIGINAL)
def test_recipe_matches_original(name):
    config = get_config(name)
    on_mpii = 'mpii' in name
    codec, head, test = config.codec, config.model.head, config.model.test_cfg
    assert tuple(codec.kernel_sizes) == (15, 11, 9, 7, 5)
    assert codec.blur_kernel_size == (9 if on_mpii else 5)
    assert head.out_channels == (16 if on_mpii else 17)
    assert not {'loss', 'last_loss', 'levels'} & set(head)  # the defaults are those of the original
    assert test.flip_test
    assert not test.shift_heatmap
    means = config.model.data_preprocessor
    assert not means.bgr_to_rgb
    assert means['mean'] == pytest.approx([255 * v for v in (0.406, 0.456, 0.485)])
    assert means['std'] == pytest.approx([255 * v for v in (0.225, 0.224, 0.229)])
    assert config.train_dataloader.batch_size == 32
    assert config.train_dataloader.sampler.type == 'InfiniteSampler'
    assert config.auto_scale_lr.base_batch_size == 8 * 32
    last, period = (28800, 1600) if on_mpii else (96000, 2400)
    assert config.train_cfg == dict(by_epoch=False, max_iters=last, val_interval=period)
    hook = config.default_hooks.checkpoint
    assert (hook.by_epoch, hook.interval) == (False, period)
    assert hook.save_best == ('PCKh/Mean' if on_mpii else 'coco/AP')
    assert not config.log_processor.by_epoch
    assert config.optim_wrapper.optimizer == dict(type='Adam', lr=8 * 5e-4, weight_decay=1e-5)
    assert list(config.train_dataloader.dataset.pipeline) == [
        dict(type='pose_backbones.LoadImage'),
        *(MPII_AUGMENTATION if on_mpii else COCO_AUGMENTATION),
        dict(type='TopdownAffine', input_size=codec.input_size),
        dict(type='GenerateTarget', encoder=codec),
        dict(type='pose_backbones.PackPoseInputs'),
    ]
    crop = (
        [dict(type='GetBBoxCenterScale', padding=1.25)]
        if on_mpii
        else [
            dict(type='GetBBoxCenterScale', padding=1.0),
            dict(type='pose_backbones.ExtendBBox', x=1 + 0.01 * 9, y=1 + 0.015 * 9),
        ]
    )
    for split in ('val', 'test'):
        assert config[f'{split}_dataloader'].dataset.pipeline[1:-2] == crop
        if not on_mpii:
            assert config[f'{split}_evaluator'].nms_mode == 'none'


@pytest.mark.parametrize(
    ('name', 'last'),
    [
        ('td-hm_mspn-2stg_8xb32-96k_coco-256x192', 96000),
        ('td-hm_mspn-2stg_8xb32-28k_mpii-256x256', 28800),
    ],
)
def test_learning_rate_of_every_iteration(name, last):
    """It rises from a tenth to 4e-3 in 2,400 iterations, then falls linearly to 0."""
    config = get_config(name)
    model = torch.nn.Conv2d(1, 1, 1)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(cfg, optimizer=wrapper)) for cfg in config.param_scheduler
    ]
    rates = []
    for _ in range(last):
        rates.append(wrapper.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    step = np.arange(last)
    factor = np.where(step < 2400, 0.1 + 0.9 * step / 2400, 1 - (step - 2400) / (last - 2400))
    np.testing.assert_allclose(rates, 8 * 5e-4 * factor, rtol=1e-6)


def test_no_weight_decay_on_biases():
    config = get_config('td-hm_mspn-1stg_8xb32-96k_coco-256x192')
    config.model.backbone.update(num_blocks=(1, 1, 1, 1), base_channels=4, init_cfg=None)
    model = MODELS.build(config.model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    assert type(wrapper.optimizer) is torch.optim.Adam
    decay = {
        id(p): group['weight_decay'] for group in wrapper.param_groups for p in group['params']
    }
    for name, value in model.named_parameters():
        assert decay[id(value)] == (0 if name.endswith('bias') else 1e-5)


@pytest.mark.parametrize('stages', [1, 2, 3, 4])
def test_variant_of_210_epochs(stages):
    config = get_config(f'td-hm_mspn-{stages}stg_8xb32-210e_coco-256x192')
    assert config.train_cfg.max_epochs == 210
    assert config.optim_wrapper.optimizer == dict(type='Adam', lr=5e-3)
    assert list(config.param_scheduler[1].milestones) == [170, 200]
    assert config.model.data_preprocessor.bgr_to_rgb
    kinds = [s.type for s in config.train_dataloader.dataset.pipeline]
    assert 'pose_backbones.MarkHidden' not in kinds


@pytest.fixture(scope='module')
def people(synthetic) -> CocoDataset:
    """Return the training set of the synthetic people."""
    return CocoDataset(
        data_root=str(synthetic),
        ann_file='annotations/person_keypoints_train.json',
        data_prefix=dict(img='train/'),
    )


def test_pipeline_distinguishes_hidden_and_visible_keypoints(people):
    """Visible, hidden and unlabelled keypoints reach the head, also with flip."""
    config = get_config('td-hm_mspn-1stg_8xb32-96k_coco-256x192')
    pipeline = Compose(config.train_dataloader.dataset.pipeline)
    np.random.seed(0)
    visibilities = []
    for index in range(8):
        data = people.get_data_info(index)
        sample = pipeline(copy.deepcopy(data))['data_samples']
        weights = sample.gt_instance_labels.keypoint_weights[0]
        marks = np.array(data['raw_ann_info']['keypoints'])[2::3] / 2
        if sample.flip:
            marks = marks[sample.flip_indices]
        inside = weights > 0  # other keypoints may be outside of the crop
        assert (weights[inside].numpy() == marks[inside]).all()
        assert sample.gt_fields.heatmaps.shape == (5 * 17, 64, 48)
        visibilities += weights.tolist()
    assert set(visibilities) == {0, 0.5, 1}


def test_loss_decreases(people):
    """Twenty steps of a small model on eight people."""
    config = get_config(DEMO)
    config.model.backbone.update(base_channels=8, unit_channels=16)
    config.model.head.unit_channels = 16
    config.optim_wrapper.optimizer.lr = 0.03
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(config.model).train()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    pipeline = Compose(config.train_dataloader.dataset.pipeline)
    batch = pseudo_collate([pipeline(people.get_data_info(index)) for index in range(8)])
    data = model.data_preprocessor(batch, training=True)
    losses = []
    for _ in range(20):
        loss = model(**data, mode='loss')['loss_kpt']
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert all(np.diff(losses[::4]) < 0), losses
    assert losses[-1] < 0.96 * losses[0], losses


def test_published_figures():
    (collection,) = (
        item for family in read_families() for item in family.collections if item['Name'] == 'MSPN'
    )
    rows = {}
    for row in published_figures('mspn'):
        data = row['section'].split()[3]
        split = row.get('split', data)
        rows[split, row['model'], row['size'], row.get('ensemble', False)] = row['figures']
    assert len(rows) == 9
    pages = [(ROOT / page).read_text() for page in ('configs/mspn/README.md', 'docs/model_zoo.md')]
    for name, splits in collection['Upstream Results'].items():
        assert name in ORIGINAL
        model = f'{name.split("mspn-")[1][0]}-stg MSPN'
        for split, figures in splits.items():
            data, _, ensemble = split.partition(', ')
            assert ensemble in ('', 'ensemble')
            published = rows.pop((data, model, read_models()[name].size, bool(ensemble)))
            assert {key: round(100 * value, 1) for key, value in figures.items()} == published
            for page in pages:
                (line,) = (
                    line
                    for line in page.splitlines()
                    if f'/{name}.py)' in line.replace('](', '](/') and f'| {split} |' in line
                )
                assert f' | {" | ".join(map(str, published.values()))} |' in line
    assert not rows
