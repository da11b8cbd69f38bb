"""Tests of the checks of checkpoint settings."""

import pytest
from mmengine.config import Config

from pose_backbones.configs import load_config
from pose_backbones.errors import ConfigError
from pose_backbones.preflight import check_save_best, check_saving
from pose_backbones.preflight.checkpoints import metric_names


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        *(
            (f'train_cfg.{key}', value, f'train_cfg.{key}={value!r}')
            for key in ('max_iters', 'val_interval')
            for value in (0, -1, 1.5, True, '2')
        ),
        ('train_cfg.val_begin', -1, 'train_cfg.val_begin=-1'),
        *(
            (f'default_hooks.checkpoint.{key}', value, f'checkpoint.{key}={value}')
            for key in ('interval', 'max_keep_ckpts')
            for value in (0, -2, 2.5)
        ),
        ('default_hooks.checkpoint.save_begin', -1, 'save_begin=-1'),
        ('default_hooks.checkpoint.filename_tmpl', '../x{}.pth', "filename_tmpl='../x{}.pth'"),
        ('default_hooks.checkpoint.filename_tmpl', 'last.pth', 'contains {} once'),
        ('default_hooks.checkpoint.by_epoch', True, 'set by_epoch=False'),
        (
            'default_hooks.checkpoint',
            dict(interval=-1, save_last=False),
            'no checkpoint would be saved',
        ),
        ('default_hooks.checkpoint', None, 'no checkpoint would be saved'),
        ('default_hooks', None, 'set by_epoch=False'),
    ],
)
def test_settings_that_save_no_checkpoint_raise(tiny_config, key, value, message):
    cfg = load_config(str(tiny_config))
    check_saving(cfg)
    if value is None:
        *place, last = key.split('.')
        entry = cfg
        for name in place:
            entry = entry[name]
        entry[last] = None
    else:
        cfg.merge_from_dict({key: value})
    with pytest.raises(ConfigError, match=message.replace('.', r'\.').replace('{}', r'\{\}')):
        check_saving(cfg)


def test_infinite_epochs_raise(tiny_config):
    cfg = load_config(str(tiny_config))
    assert cfg.train_dataloader.sampler.type == 'InfiniteSampler'
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2)
    cfg.default_hooks.checkpoint.by_epoch = True
    with pytest.raises(ConfigError, match='InfiniteSampler. is infinite'):
        check_saving(cfg)
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    check_saving(cfg)


@pytest.mark.parametrize(
    ('evaluator', 'known_metric', 'unknown_metric'),
    [
        (dict(type='CocoMetric'), 'coco/AP .75', 'coco/mAP'),
        (dict(type='CocoMetric', prefix='mine'), 'mine/AR (L)', 'coco/AP'),
        (
            dict(type='CocoMetric', iou_type='keypoints_crowd', prefix='crowdpose'),
            'crowdpose/AP(H)',
            'crowdpose/AP (L)',
        ),
        (dict(type='PCKAccuracy', norm_item=['bbox', 'torso']), 'tPCK', 'PCKh'),
        (dict(type='MpiiPCKAccuracy'), 'PCK@0.1', 'coco/AP'),
        (dict(type='pose_backbones.MpiiPCKh'), 'PCKh/Mean@0.1', 'Mean'),
        ([dict(type='AUC'), dict(type='EPE', prefix='hand')], 'hand/EPE', 'EPE'),
    ],
)
def test_save_best_must_be_a_metric(evaluator, known_metric, unknown_metric):
    hook = dict(type='CheckpointHook', save_best=['auto', known_metric])
    cfg = Config(dict(val_evaluator=evaluator, default_hooks=dict(checkpoint=hook)))
    check_save_best(cfg)
    cfg.default_hooks.checkpoint.save_best = unknown_metric
    with pytest.raises(ConfigError, match='computes no such metric') as caught:
        check_save_best(cfg)
    assert f'save_best={unknown_metric!r}' in str(caught.value)
    assert known_metric in str(caught.value)


def test_unmetric_names_are_not_checked():
    assert metric_names([dict(type='AUC'), dict(type='MPJPE')]) is None
    assert metric_names(dict(type='CocoMetric', format_only=True)) is None


def test_all_configs_pass(root):
    count = 0
    for path in sorted((root / 'configs').glob('*/*.py')):
        if path.parent.name == '_base_' or path.name.startswith('_'):
            continue
        cfg = load_config(str(path))
        if cfg.get('train_cfg'):
            check_saving(cfg)
            check_save_best(cfg)
            count += 1
    assert count > 30
