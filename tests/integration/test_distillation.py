"""Distillations with MMPose's DWPose: trained with the tools, and converted to the student."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones import build, get_config, list_models
from pose_backbones.checkpoints.conversion import inspect_state_dict
from pose_backbones.checkpoints.loading import get_weights, read_checkpoint
from pose_backbones.cli import convert
from pose_backbones.cli import train as train_api
from pose_backbones.configs import load_config
from pose_backbones.errors import CheckpointError
from pose_backbones.zoo import find_name
from pose_backbones.zoo.models import build_config
from tests.helpers.evaluation_cases import PARTS
from tests.helpers.tools import run_tool

BASE = 'mmpose::wholebody_2d_keypoint'
TINY = f"""
_base_ = '{BASE}/rtmpose/coco-wholebody/rtmpose-m_8xb64-270e_coco-wholebody-256x192.py'
model = dict(
    backbone=dict(deepen_factor=0.01, widen_factor=0.125, init_cfg=None), head=dict(in_channels=128)
)
"""
FIRST = f"""
_base_ = '{BASE}/dwpose/coco-wholebody/s1_dis/dwpose_l_dis_m_coco-256x192.py'
loss = dict(type='FeaLoss', name='loss_fea', use_this=True, student_channels=128,
            teacher_channels=128)
model = dict(teacher_cfg='tiny.py', student_cfg='tiny.py', teacher_pretrained='teacher.pth',
             distill_cfg=[dict(methods=[loss]), _base_.model.distill_cfg[1]])
custom_hooks = []
"""
SECOND = f"""
_base_ = '{BASE}/dwpose/coco-wholebody/s2_dis/dwpose_m-mm_coco-256x192.py'
model = dict(teacher_cfg='tiny.py', student_cfg='tiny.py', teacher_pretrained='student.pth')
custom_hooks = []
"""
OPTIONS = (
    *('train_dataloader.batch_size=2', 'train_dataloader.num_workers=0'),
    *('train_dataloader.persistent_workers=False', 'train_cfg.max_epochs=1'),
    *('default_hooks.logger.interval=1', 'optim_wrapper.optimizer.lr=0.1'),
)


def write_data(root: Path) -> None:
    """Write annotations of COCO-WholeBody for four images with one person each."""
    rng = np.random.default_rng(0)
    box = (20, 10, 90, 140)
    people = []
    (root / 'train2017').mkdir(parents=True)
    (root / 'annotations').mkdir()
    for number in range(1, 5):
        image = rng.integers(0, 255, (160, 130, 3), np.uint8)
        cv2.imwrite(str(root / f'train2017/{number}.png'), image)
        person = dict(id=number, image_id=number, category_id=1, iscrowd=0, bbox=box, area=6000)
        for part, count in PARTS.items():
            points = rng.uniform(box[:2], np.add(box[:2], box[2:]), (count, 2))
            person[part] = np.c_[points, np.full(count, 2)].ravel().tolist()
        people.append(dict(person, num_keypoints=17))
    images = [dict(id=n, file_name=f'{n}.png', width=130, height=160) for n in range(1, 5)]
    content = dict(images=images, annotations=people, categories=[dict(id=1, name='person')])
    (root / 'annotations/coco_wholebody_train_v1.0.json').write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current directory with data, the configs of both stages, and a checkpoint of the teacher."""
    write_data(tmp_path / 'data')
    for name, text in (('tiny', TINY), ('first', FIRST), ('second', SECOND)):
        (tmp_path / f'{name}.py').write_text(text)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    teacher = build_config(load_config('tiny.py'))
    torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'teacher.pth')
    return tmp_path


def train(config: str, **settings: str) -> dict:
    """Train for two steps, and return the checkpoint."""
    options = [*OPTIONS, *(f'{key}={value}' for key, value in settings.items())]
    command = [config, '--data-root', 'data', '--no-validate', '--work-dir', f'{config}-run']
    done = run_tool('train.py', *command, '--cfg-options', *options)
    assert done.returncode == 0, done.stdout[-2000:]
    assert 'Epoch(train) [1][2/2]' in done.stdout
    return read_checkpoint(f'{config}-run/epoch_1.pth')


def part(weights: dict, prefix: str) -> dict:
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix) and value.is_floating_point() and 'running_' not in name
    }


def assert_equal(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_both_stages(folder):
    """The teacher is that of the file and not trained; the result is the student, or its head."""
    first = get_weights(train('first.py'))
    teacher = get_weights(read_checkpoint('teacher.pth'))
    assert_equal(part(first, 'teacher.'), part(teacher, ''))
    student = part(first, 'student.')
    assert student.keys() == part(teacher, '').keys()
    assert not torch.equal(student['head.cls_x.weight'], teacher['head.cls_x.weight'])
    with pytest.raises(CheckpointError, match='a distillation, .* pose-backbones convert first.py'):
        build_config(load_config('tiny.py'), 'first.py-run/epoch_1.pth')
    convert.main(['first.py-run/epoch_1.pth', 'student.pth', '--config', 'tiny.py'])
    converted = get_weights(read_checkpoint('student.pth'))
    assert_equal(part(converted, ''), student)

    second = train('second.py')
    weights = get_weights(second)
    assert_equal(part(weights, 'teacher.'), student)
    convert.main(['second.py-run/epoch_1.pth', 'final.pth', '--config', 'tiny.py'])
    final = get_weights(read_checkpoint('final.pth'))
    assert_equal(part(final, 'backbone.'), part(student, 'backbone.'))
    assert_equal(part(final, 'head.'), part(weights, 'student.head.'))
    assert not torch.equal(final['head.cls_x.weight'], student['head.cls_x.weight'])
    with pytest.raises(CheckpointError, match='whether it is the second stage of DWPose'):
        inspect_state_dict(dict(state_dict=weights))


def test_checkpoint_that_is_not_of_the_teacher(folder, fail):
    command = ['first.py', '--data-root', 'data', '--no-validate', '--work-dir', 'run']
    line = fail(train_api.main, *command, '--cfg-options', 'model.teacher_pretrained=missing.pth')
    assert 'model.teacher_pretrained: checkpoint not found: missing.pth' in line
    assert line.endswith('set --cfg-options model.teacher_pretrained=PATH')
    assert not Path('run').exists()
    other = build('rtmpose-t_8xb256-420e_coco-256x192')
    torch.save(dict(state_dict=other.state_dict()), 'teacher.pth')
    line = fail(train_api.main, *command)
    assert 'teacher.pth is not a checkpoint of this model' in line


@pytest.mark.parametrize('key', ['teacher_cfg', 'student_cfg'])
def test_missing_config_is_reported_before_the_data(folder, fail, key):
    """The rest of the config is one of MMPose's own, and its data does not exist."""
    name = 'dwpose_l_dis_m_coco-256x192'
    line = fail(train_api.main, name, '--cfg-options', f'model.{key}=configs/none.py')
    assert f'{name}.py: model.{key} is configs/none.py, which does not exist' in line


@pytest.mark.parametrize('name', list_models('*dwpose*_dis_*', source='mmpose'))
def test_configs_of_mmpose(name, tmp_path, monkeypatch):
    """Teacher and student, given by their paths in MMPose's repository, are found from anywhere."""
    monkeypatch.chdir(tmp_path)
    register_all_modules()
    cfg = get_config(name)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    for role, path in (('teacher', cfg.model.teacher_cfg), ('student', cfg.model.student_cfg)):
        expected = get_config(find_name(f'mmpose::{Path(path).stem}')).model
        part = getattr(model, role)
        assert part.head.in_channels == expected.head.in_channels
        assert part.head.out_channels == expected.head.out_channels == 133
