"""Tests of docs/mmpose_0x.md: its code runs, and the classes that it names exist."""

import re

import cv2
import mmpose.apis
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose import registry
from mmpose.structures import bbox_xywh2xyxy
from mmpose.utils import register_all_modules

import pose_backbones
from pose_backbones.configs import dicts_in
from pose_backbones.preflight import check_types
from tests.helpers.pose_cases import make_image
from tests.helpers.tools import ROOT

PAGE = (ROOT / 'docs/mmpose_0x.md').read_text(encoding='utf-8')
CALLS, CONFIG = re.findall('```python\n(.*?)```', PAGE, re.DOTALL)
NAME = 'td-hm_hrnet-w32_8xb64-210e_coco-256x192'


def test_calls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('POSE_BACKBONES_BACKEND', 'torch')
    image = make_image(7, 320, 240)
    assert cv2.imwrite('photo.jpg', image)
    torch.manual_seed(0)
    model = pose_backbones.build(NAME)
    old = {
        re.sub(r'^head\.', 'keypoint_head.', name): value
        for name, value in model.state_dict().items()
    }
    torch.save(dict(state_dict=old), 'hrnet_w32_coco_256x192.pth')
    torch.save(dict(state_dict=model.state_dict()), 'new.pth')
    names: dict = {}
    exec(CALLS, names)
    assert cv2.imread('drawn.jpg').shape == (240, 320, 3)

    model = mmpose.apis.init_model(pose_backbones.get_config(NAME), 'new.pth', device='cpu')
    boxes = bbox_xywh2xyxy(names['boxes'].astype(np.float32))
    samples = mmpose.apis.inference_topdown(model, 'photo.jpg', boxes)
    assert len(samples) == len(names['pose_results']) == 2
    for sample, person, box in zip(samples, names['pose_results'], boxes):
        expected = sample.pred_instances
        assert person['keypoints'].shape == (17, 3)
        np.testing.assert_allclose(person['keypoints'][:, :2], expected.keypoints[0], atol=0.05)
        np.testing.assert_allclose(
            person['keypoints'][:, 2], expected.keypoint_scores[0], atol=1e-4
        )
        np.testing.assert_allclose(person['bbox'], [*box, 1], atol=1e-4)


def test_config():
    register_all_modules()
    cfg = Config.fromstring(CONFIG, '.py')
    check_types(cfg)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (100, 5)
    assert (cfg.train_dataloader.batch_size, cfg.train_dataloader.num_workers) == (32, 4)
    assert cfg.val_dataloader.dataset.bbox_file == cfg.test_dataloader.dataset.bbox_file == ''
    assert cfg.val_dataloader.dataset.ann_file.endswith('person_keypoints_val2017.json')
    assert cfg.param_scheduler[1].milestones == [70, 90]
    head = registry.MODELS.build(cfg.model).head
    assert (head.decoder.unbiased, head.decoder.blur_kernel_size) == (True, 11)
    targets = [part for part in dicts_in(cfg.train_dataloader) if part.get('encoder')]
    assert [part.encoder.sigma for part in targets] == [2]


def rows(title: str) -> list[tuple[str, str]]:
    """Return the cells of the table in a section."""
    section = PAGE.partition(f'\n{title}\n')[2].partition('\n## ')[0].partition('\n### ')[0]
    lines = re.findall(r'^\| (.*) \| (.*) \|$', section, re.MULTILINE)
    return [row for row in lines if set(row[0]) != {'-'}][1:]


def test_transforms_exist():
    register_all_modules()
    names = [
        name for _, today in rows('### Pipelines') for name in re.findall(r'`([A-Z]\w+)', today)
    ]
    assert len(names) >= 12
    for name in names:
        assert registry.TRANSFORMS.get(f'mmpose.{name}') is not None, name


@pytest.mark.parametrize(
    'title', ['### Models and data', '### Pipelines', '### Test settings that change the results']
)
def test_types_exist(title):
    register_all_modules()
    names = re.findall(r"type='([A-Z]\w+)'", ' '.join(today for _, today in rows(title)))
    registries = ('MODELS', 'KEYPOINT_CODECS', 'METRICS', 'OPTIM_WRAPPERS', 'WEIGHT_INITIALIZERS')
    assert names
    for name in names:
        found = [getattr(registry, kind).get(name) for kind in registries]
        assert any(found), name


def test_configs_of_the_checkpoints_exist():
    names = re.findall(r'`((?:td-hm|dekr|ae)_[^`]+)`', PAGE.partition('## Calls')[0])
    assert len(names) == 5
    for name in names:
        assert pose_backbones.get_config(name).model
