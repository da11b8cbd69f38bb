"""Checks of a config in pure Python, whose types are classes and not names."""

import json

import pytest
import torch
from mmengine.model.weight_init import PretrainedInit
from mmengine.optim import AmpOptimWrapper
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import KEYPOINT_CODECS, METRICS, MODELS, TRANSFORMS, VISUALIZERS

from pose_backbones import preflight
from pose_backbones.cli.test import merge_test_options
from pose_backbones.cli.test_options import parse_args
from pose_backbones.configs import find_class, load_config
from pose_backbones.engine.runner import build_runner, load_dataset
from pose_backbones.errors import ConfigError, DatasetError
from pose_backbones.preflight.amp import check_amp
from pose_backbones.zoo.models import without_weights
from tests.helpers import damaged_coco

CONFIG = """
from mmengine.dataset import DefaultSampler
from mmpose.codecs import MSRAHeatmap
from mmpose.datasets.datasets import CocoDataset
from mmpose.datasets.transforms import GetBBoxCenterScale, PackPoseInputs, TopdownAffine
from mmpose.evaluation.metrics import CocoMetric
from mmpose.models.data_preprocessors import PoseDataPreprocessor
from mmpose.models.heads import HeatmapHead
from mmpose.models.losses import KeypointMSELoss
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.visualization import PoseLocalVisualizer
from pose_backbones.datasets.transforms.loading import LoadImage
from pose_backbones.models.backbones import MogaNet

default_scope = 'mmpose'
codec = dict(type=MSRAHeatmap, input_size=(32, 64), heatmap_size=(8, 16), sigma=2)
model = dict(
    type=TopdownPoseEstimator,
    data_preprocessor=dict(type=PoseDataPreprocessor),
    backbone=dict(type=MogaNet, arch='xtiny', out_indices=(3,)),
    head=dict(
        type=HeatmapHead, in_channels=192, out_channels=17, deconv_out_channels=(8, 8, 8),
        loss=dict(type=KeypointMSELoss), decoder=codec))
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=CocoDataset, data_root='{folder}', ann_file='people.json',
        data_prefix=dict(img='images'), test_mode=True,
        pipeline=[
            dict(type=LoadImage), dict(type=GetBBoxCenterScale),
            dict(type=TopdownAffine, input_size=(32, 64)), dict(type=PackPoseInputs)]))
test_evaluator = [dict(type=CocoMetric, ann_file='{folder}/people.json')]
test_cfg = dict()
visualizer = dict(type=PoseLocalVisualizer)
"""


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """Return the config with the options of a test, for a dataset of six people."""
    monkeypatch.setattr('pose_backbones.structures.coco_checker.check_image_files', lambda *_: [])
    (tmp_path / 'images').mkdir()
    content = damaged_coco.annotations()
    del content['categories'][0]['keypoints']
    for person in content['annotations']:
        person['keypoints'] += [0] * (3 * 17 - len(person['keypoints']))
    (tmp_path / 'people.json').write_text(json.dumps(content))
    path, weights = tmp_path / 'config.py', tmp_path / 'weights.pth'
    path.write_text(CONFIG.replace('{folder}', str(tmp_path)))
    torch.save(dict(state_dict=dict(x=torch.zeros(1))), weights)
    cfg = load_config(str(path))
    options = [str(path), str(weights), '--work-dir', str(tmp_path / 'out'), '--eval', 'mAP']
    merge_test_options(cfg, parse_args(options))
    return cfg


def test_checks_of_a_test(cfg, tmp_path):
    assert isinstance(cfg.test_evaluator[0]['type'], type)
    preflight.check_config(cfg, ['test'])
    (tmp_path / 'people.json').write_text(json.dumps(dict(images=[])))
    with pytest.raises(DatasetError, match='is a list of images without annotations'):
        preflight.check_config(cfg, ['test'])


def test_checks_of_the_keypoints(cfg):
    runner = build_runner(cfg)
    dataset = load_dataset(runner, 'test')
    preflight.check_model(cfg, runner.model, {'test': dataset})
    dataset._metainfo['sigmas'] = []
    with pytest.raises(DatasetError, match='has no sigmas, which CocoMetric needs'):
        preflight.check_model(cfg, runner.model, {'test': dataset})


def test_pretrained_weights_of_parts_are_disabled(cfg):
    cfg.model.head.init_cfg = dict(type=PretrainedInit, checkpoint='missing.pth')
    assert without_weights(cfg).model.head.init_cfg is None


@pytest.mark.parametrize('kind', [AmpOptimWrapper, 'mmengine.AmpOptimWrapper'])
def test_mixed_precision_without_a_gpu(cfg, monkeypatch, kind):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg.optim_wrapper = dict(type=kind)
    with pytest.raises(ConfigError, match="optim_wrapper.type is 'AmpOptimWrapper'.* needs a GPU"):
        check_amp(cfg)


def test_class_of_a_config_entry():
    for kind in ('CocoMetric', 'mmpose.CocoMetric', CocoMetric):
        assert find_class(dict(type=kind), METRICS) is CocoMetric
    assert find_class(dict(type='Missing'), METRICS) is None
    assert find_class({}, METRICS) is None


def test_patches_of_classes_are_imported(cfg, monkeypatch):
    """They are imported when a name is looked up, which this config does not need."""
    registries = (MODELS, TRANSFORMS, KEYPOINT_CODECS, VISUALIZERS)
    for registry in registries:
        monkeypatch.setattr(registry, '_imported', False)
    build_runner(cfg)
    assert all(registry._imported for registry in registries)
