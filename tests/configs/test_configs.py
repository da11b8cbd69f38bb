"""Tests of all configs: schedules, training and prediction.

docs/test_measure.py compares parameters and FLOPs with those of the sources.
"""

import copy
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpose.datasets import CocoDataset
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones import preflight as checks
from pose_backbones.cli import flops
from pose_backbones.registry import MODELS as OURS
from pose_backbones.zoo import get_config, read_models
from pose_backbones.zoo.models import without_weights
from tests.helpers.half_precision import check_bfloat16
from tests.helpers.tools import ROOT

#: top-down configs with COCO keypoints in COCO format; test_other_data.py and
#: models/test_hrcomer_configs.py test the other configs
COCO = [
    model.config
    for model in read_models().values()
    if model.name.startswith('td-')
    and model.data in ('COCO', 'synthetic people', "any in COCO's layout")
]

MOGANET_ROWS = {
    'xt': ('x-tiny', 'xtiny', 192),
    't': ('tiny', 'tiny', 256),
    's': ('small', 'small', 512),
    'b': ('base', 'base', 512),
}
DROP_PATH = {
    ('xt', '256x192'): 0.1,
    ('xt', '384x288'): 0.1,
    ('t', '256x192'): 0.15,
    ('t', '384x288'): 0.15,
    ('s', '256x192'): 0.2,
    ('s', '384x288'): 0.2,
    ('b', '256x192'): 0.3,
    ('b', '384x288'): 0.4,
}

# Settings of the original configs, except for the deviations noted in the metafiles: optimizer,
# learning rate, batch size per GPU, drop path rate, sigma, name of the ImageNet weights.
SCHEDULES = {
    'uniformer-s_8xb128-210e_coco-256x192': ('AdamW', 2e-3, 128, 0.2, 2, 'uniformer_small_in1k'),
    'uniformer-s_8xb128-210e_coco-384x288': ('AdamW', 2e-3, 128, 0.2, 3, 'uniformer_small_in1k'),
    'uniformer-s_8xb64-210e_coco-448x320': ('AdamW', 1e-3, 64, 0.2, 3, 'uniformer_small_in1k'),
    'uniformer-b_8xb128-210e_coco-256x192': ('AdamW', 2e-3, 128, 0.4, 2, 'uniformer_base_in1k'),
    'uniformer-b_8xb32-210e_coco-384x288': ('AdamW', 5e-4, 32, 0.5, 3, 'uniformer_base_in1k'),
    'uniformer-b_8xb32-210e_coco-448x320': ('AdamW', 5e-4, 32, 0.55, 3, 'uniformer_base_in1k'),
    'convnext-t_8xb32-210e_coco-256x192': (
        'Adam',
        5e-4,
        32,
        0.4,
        2,
        'convnext-tiny_3rdparty_32xb128-noema',
    ),
    'convnext-t_8xb32-210e_coco-384x288': (
        'AdamW',
        5e-4,
        32,
        0.4,
        2,
        'convnext-tiny_3rdparty_32xb128-noema',
    ),
    'convnext-s_8xb32-210e_coco-256x192': (
        'Adam',
        5e-4,
        32,
        0.6,
        2,
        'convnext-small_3rdparty_32xb128_in1k',
    ),
    'convnext-s_8xb32-210e_coco-384x288': (
        'AdamW',
        5e-4,
        32,
        0.6,
        2,
        'convnext-small_3rdparty_32xb128_in1k',
    ),
    'convnext-b_8xb32-210e_coco-256x192': (
        'Adam',
        5e-4,
        32,
        0.6,
        2,
        'convnext-base_3rdparty_32xb128_in1k',
    ),
    'convnext-b_8xb32-210e_coco-384x288': (
        'AdamW',
        5e-4,
        32,
        0.7,
        2,
        'convnext-base_3rdparty_32xb128_in1k',
    ),
    'swin-t-p4-w7_8xb32-210e_coco-256x192': (
        'Adam',
        5e-4,
        32,
        0.2,
        2,
        'swin_tiny_patch4_window7_224',
    ),
    'swin-b-p4-w7_8xb32-210e_coco-256x192': (
        'Adam',
        5e-4,
        32,
        0.3,
        2,
        'swin_base_patch4_window7_224_22k',
    ),
    'swin-b-p4-w12_8xb32-210e_coco-384x288': (
        'Adam',
        5e-4,
        32,
        0.3,
        2,
        'swin_base_patch4_window12_384_22k',
    ),
    'swin-l-p4-w7_8xb32-210e_coco-256x192': (
        'AdamW',
        5e-4,
        32,
        0.5,
        2,
        'swin_large_patch4_window7_224_22k',
    ),
    'swin-l-p4-w7_8xb32-210e_coco-384x288': (
        'AdamW',
        5e-4,
        32,
        0.5,
        2,
        'swin_large_patch4_window12_384_22k',
    ),
}


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()


def moganet(name: str, size: str) -> Config:
    """Return the config of a row of the table."""
    return Config.fromfile(
        str(ROOT / f'configs/moganet/td-hm_moganet-{name}_8xb32-210e_coco-{size}.py')
    )


@pytest.mark.parametrize(('name', 'size'), DROP_PATH)
def test_moganet_schedule_equals_the_original(name, size):
    config = moganet(name, size)
    arch, weights, channels = MOGANET_ROWS[name]
    assert config.optim_wrapper.optimizer == dict(type='Adam', lr=1e-3)
    warmup, steps = config.param_scheduler
    assert (warmup.end, warmup.start_factor, warmup.by_epoch) == (500, 0.001, False)
    assert list(steps.milestones) == [170, 200]
    assert config.train_cfg.max_epochs == 210
    assert config.train_dataloader.batch_size == 32
    assert config.auto_scale_lr.base_batch_size == 8 * 32
    backbone = config.model.backbone
    assert backbone.type == 'pose_backbones.MogaNet'
    assert backbone.arch == arch
    assert backbone.drop_path_rate == DROP_PATH[name, size]
    assert backbone.init_cfg.checkpoint == (
        'https://github.com/Westlake-AI/MogaNet/releases/download/'
        f'moganet-in1k-weights/moganet_{weights}_sz224_8xbs128_ep300.pth.tar'
    )
    assert config.model.head.in_channels == channels
    assert config.model.test_cfg.flip_test
    assert config.model.test_cfg.shift_heatmap
    height, width = map(int, size.split('x'))
    codec = config.model.head.decoder
    assert tuple(codec.input_size) == (width, height)
    assert tuple(codec.heatmap_size) == (width // 4, height // 4)
    assert codec.sigma == 2
    for split in ('train', 'val', 'test'):
        pipeline = config[f'{split}_dataloader'].dataset.pipeline
        (affine,) = (t for t in pipeline if t.type == 'TopdownAffine')
        assert tuple(affine.input_size) == (width, height)
    (target,) = (t for t in config.train_dataloader.dataset.pipeline if t.type == 'GenerateTarget')
    assert target.encoder == codec


@pytest.mark.parametrize('name', SCHEDULES)
def test_schedule_equals_the_original(name):
    kind, rate, batch, drop_path, sigma, weights = SCHEDULES[name]
    config = get_config(f'td-hm_{name}')
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == (kind, rate)
    assert optimizer.get('weight_decay', 0) == (0.01 if kind == 'AdamW' else 0)
    assert config.train_dataloader.batch_size == batch
    assert config.auto_scale_lr.base_batch_size == 8 * batch
    assert config.train_cfg.max_epochs == 210
    warmup, steps = config.param_scheduler
    assert (warmup.end, warmup.start_factor) == (500, 0.001)
    assert list(steps.milestones) == [170, 200]
    assert config.model.backbone.drop_path_rate == drop_path
    assert config.model.backbone.init_cfg.checkpoint.rpartition('/')[2].startswith(weights)
    assert config.model.test_cfg.flip_test
    assert config.model.test_cfg.shift_heatmap
    codec = config.model.head.decoder
    height, width = flops.input_shape(config)
    assert tuple(codec.input_size) == (width, height)
    assert tuple(codec.heatmap_size) == (width // 4, height // 4)
    assert codec.sigma == sigma


def cut_depth(backbone: Config) -> None:
    """Reduce each stage of a backbone to one block, and the third stage to two.

    Widths, windows (including shifted windows) and strides are kept. docs/test_measure.py builds
    all models at full depth on the meta device.
    """
    if backbone.type == 'pose_backbones.TimmBackbone':
        return  # timm sets the depth, and the examples are small
    if backbone.type == 'pose_backbones.MSPN':
        backbone.num_blocks = [1, 1, 2, 1]
    elif 'depths' in backbone:
        backbone.depths = [1, 1, 2, 1]
    else:
        settings = OURS.get(backbone.type).arch_settings
        arch = settings[backbone.arch] if isinstance(backbone.arch, str) else backbone.arch
        backbone.arch = dict(arch, depths=(1, 1, 2, 1))


@pytest.fixture(scope='module')
def person(synthetic) -> dict[str, dict]:
    """Split → an instance, as the dataset passes it to the pipeline."""
    return {
        split: CocoDataset(
            data_root=str(synthetic),
            ann_file=f'annotations/person_keypoints_{split}.json',
            data_prefix=dict(img=f'{split}/'),
            test_mode=split == 'val',
        ).get_data_info(0)
        for split in ('train', 'val')
    }


@pytest.mark.parametrize('path', COCO)
def test_config_trains_and_predicts(path, person):
    """Use crops of the synthetic data, with the pipelines and the optimizer of the config."""
    config = Config.fromfile(str(ROOT / path))
    init_default_scope('mmpose')
    checks.check_types(config)
    cut_depth(without_weights(config).model.backbone)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    samples = {
        split: pseudo_collate(
            [Compose(config[f'{split}_dataloader'].dataset.pipeline)(copy.deepcopy(person[split]))]
        )
        for split in ('train', 'val')
    }
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    model.train()
    data = model.data_preprocessor(samples['train'], training=True)
    loss = model(**data, mode='loss')['loss_kpt']
    assert torch.isfinite(loss)
    trained = {
        name: value.detach().clone()
        for name, value in model.named_parameters()
        if value.requires_grad
    }
    gradients = {}
    wrapper.optimizer.register_step_pre_hook(
        lambda *_: gradients.update(
            {
                name: value.grad is not None and bool(value.grad.isfinite().all())
                for name, value in model.named_parameters()
            }
        )
    )
    wrapper.update_params(loss)
    assert all(gradients[name] for name in trained)
    last = [name for name in trained if name.endswith('weight')][-1]
    assert last.startswith('head.')
    for name in (next(iter(trained)), last):
        assert not torch.equal(model.get_parameter(name), trained[name])
    model.eval()
    with torch.no_grad():
        (result,) = model.test_step(samples['val'])
    points = result.pred_instances.keypoints
    assert points.shape == (1, 17, 2)
    box = result.gt_instances.bboxes[0]
    centre, size = (box[:2] + box[2:]) / 2, max(box[2:] - box[:2])
    assert (abs(points[0] - centre) <= 2 * size).all()
    check_bfloat16(model, data, samples['val'])


def test_base_configs_do_not_hide_metainfo_files_of_mmpose():
    """MMPose looks for these files in the working directory first."""
    import mmpose

    host = Path(mmpose.__file__).parent
    theirs = {p.name for p in (host / '.mim/configs/_base_/datasets').glob('*.py')}
    ours = {p.name for p in (ROOT / 'configs/_base_/datasets').glob('*.py')}
    assert theirs
    assert not theirs & ours


def test_files_named_in_the_readme_exist():
    """This includes the last checkpoint of the demo."""
    text = (ROOT / 'README.md').read_text()
    linked = re.findall(r'\]\(((?!https?:)[^)#]+)\)', text)
    assert len(linked) > 10
    for path in linked:
        assert (ROOT / path).exists(), path
    demo = Config.fromfile(
        str(ROOT / 'configs/moganet/td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py')
    )
    assert f'work_dirs/demo/iter_{demo.train_cfg.max_iters}.pth' in text
