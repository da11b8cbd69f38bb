"""Every config: its schedule, its size against the sources, that it runs."""

import copy
import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones.apis import checks, flops

CONFIGS = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.glob('configs/*/*.py')
    if '_base_' not in path.parts)

# Input size and the figures of the MogaNet repository's table: parameters
# in millions, FLOPs in billions, each given there with one decimal.
MOGANET_TABLE = {
    ('xt', '256x192'): (5.6, 1.8),
    ('xt', '384x288'): (5.6, 4.2),
    ('t', '256x192'): (8.1, 2.2),
    ('t', '384x288'): (8.1, 4.9),
    ('s', '256x192'): (29.0, 6.0),
    ('s', '384x288'): (29.0, 13.5),
    ('b', '256x192'): (47.4, 10.9),
    ('b', '384x288'): (47.4, 24.4),
}
MOGANET_ROWS = {
    'xt': ('x-tiny', 'xtiny', 192), 't': ('tiny', 'tiny', 256),
    's': ('small', 'small', 512), 'b': ('base', 'base', 512)}
DROP_PATH = {
    ('xt', '256x192'): .1, ('xt', '384x288'): .1, ('t', '256x192'): .15,
    ('t', '384x288'): .15, ('s', '256x192'): .2, ('s', '384x288'): .2,
    ('b', '256x192'): .3, ('b', '384x288'): .4}


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()


def moganet(name: str, size: str) -> Config:
    """The config of a row of the table."""
    return Config.fromfile(
        str(ROOT / f'configs/moganet/td-hm_moganet-{name}_8xb32-210e_coco-'
            f'{size}.py'))


@pytest.mark.parametrize(('name', 'size'), MOGANET_TABLE)
def test_moganet_params_and_flops(name, size):
    """Within 2 % of the table, or equal to it as far as it is rounded."""
    config = moganet(name, size)
    assert flops.input_shape(config) == tuple(map(int, size.split('x')))
    measured_flops, measured = flops.measure(config,
                                             flops.input_shape(config))
    params, giga = MOGANET_TABLE[name, size]
    assert measured / 1e6 == pytest.approx(params, rel=0.02)
    # T at 256x192 has 2.154 G, which is 2.2 with one decimal.
    assert (measured_flops / 1e9 == pytest.approx(giga, rel=0.02)
            or round(measured_flops / 1e9, 1) == giga)
    row = (f'-{name}_8xb32-210e_coco-{size}.py) | {size} | '
           f'{measured / 1e6:.2f} M | {measured_flops / 1e9:.2f} G |')
    assert row in (ROOT / 'README.md').read_text()


@pytest.mark.parametrize(('name', 'size'), MOGANET_TABLE)
def test_moganet_schedule_is_the_original(name, size):
    config = moganet(name, size)
    arch, weights, channels = MOGANET_ROWS[name]
    assert config.optim_wrapper.optimizer == dict(type='Adam', lr=1e-3)
    warmup, steps = config.param_scheduler
    assert (warmup.end, warmup.start_factor, warmup.by_epoch) == (
        500, 0.001, False)
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
        f'moganet-in1k-weights/moganet_{weights}_sz224_8xbs128_ep300.pth.tar')
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
        affine, = (t for t in pipeline if t.type == 'TopdownAffine')
        assert tuple(affine.input_size) == (width, height)
    target, = (t for t in config.train_dataloader.dataset.pipeline
               if t.type == 'GenerateTarget')
    assert target.encoder == codec


@pytest.mark.parametrize('path', CONFIGS)
def test_config_builds_trains_a_step_and_predicts(path, synthetic):
    """On real crops of the synthetic data, through the config's pipelines."""
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import init_default_scope
    from mmpose.datasets import CocoDataset
    config = Config.fromfile(str(ROOT / path))
    init_default_scope('mmpose')
    checks.check_types(config)
    model = copy.deepcopy(config.model)
    model.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(model)
    samples = {}
    for split in ('train', 'val'):
        dataset = CocoDataset(
            data_root=str(synthetic),
            ann_file=f'annotations/person_keypoints_{split}.json',
            data_prefix=dict(img=f'{split}/'),
            pipeline=config[f'{split}_dataloader'].dataset.pipeline,
            test_mode=split == 'val')
        samples[split] = pseudo_collate([dataset[0], dataset[1]])
    model.train()
    data = model.data_preprocessor(samples['train'], training=True)
    losses = model(**data, mode='loss')
    losses['loss_kpt'].backward()
    assert torch.isfinite(losses['loss_kpt'])
    assert all(p.grad is not None for p in model.parameters()
               if p.requires_grad)
    model.eval()
    with torch.no_grad():
        results = model.test_step(samples['val'])
    points = results[0].pred_instances.keypoints
    assert points.shape == (1, 17, 2)
    box = results[0].gt_instances.bboxes[0]
    centre, size = (box[:2] + box[2:]) / 2, max(box[2:] - box[:2])
    assert (abs(points[0] - centre) <= 2 * size).all()


def test_no_base_hides_a_description_of_the_host():
    """MMPose looks for these in the working folder before its own."""
    import mmpose
    host = Path(mmpose.__file__).parent
    theirs = {p.name for p in (host / '.mim/configs/_base_/datasets').glob(
        '*.py')}
    ours = {p.name for p in (ROOT / 'configs/_base_/datasets').glob('*.py')}
    assert theirs
    assert not theirs & ours


def test_readme_names_what_exists():
    """Its files, and the checkpoint that the demo's last step writes."""
    text = (ROOT / 'README.md').read_text()
    linked = re.findall(r'\]\(((?!https?:)[^)#]+)\)', text)
    assert len(linked) > 10
    for path in linked:
        assert (ROOT / path).exists(), path
    demo = Config.fromfile(str(
        ROOT / 'configs/moganet/td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py'
    ))
    assert f'work_dirs/demo/iter_{demo.train_cfg.max_iters}.pth' in text
