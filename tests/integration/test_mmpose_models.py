"""Models of MMPose of all kinds: built by name, trained, and compared with MMPose's predictions."""

import copy
import json
import logging
import pickle
import random
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmpose.apis import inference_bottomup, inference_topdown
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.registry import DATASETS

import pose_backbones
from pose_backbones import PoseInferencer
from pose_backbones.cli import flops
from pose_backbones.configs import as_list, find_datasets, type_name
from pose_backbones.errors import ConfigError
from pose_backbones.preflight.ensemble import check_trainable
from pose_backbones.structures.metainfo import read_metainfo
from pose_backbones.zoo import get_config
from pose_backbones.zoo.metainfo import _metainfos
from pose_backbones.zoo.mmpose import read_sizes
from pose_backbones.zoo.models import build_config
from tests.helpers.mmpose_models import REFUSED, ROWS, Row
from tests.helpers.mmpose_rows import randomize, resized
from tests.helpers.tools import run_tool

SIDE = 160  # of the images, in pixels
#: left, top, right, bottom
BOXES = np.array([[20.0, 10, 110, 150], [50, 30, 150, 140]], np.float32)


def by_name(rows) -> list:
    return [pytest.param(row, id=row.config) for row in rows]


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def image_folder(image, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('images')
    for name in ('1.png', '2.png'):
        cv2.imwrite(str(folder / name), image)
    return folder


def write_annotations(path: Path, num_keypoints: int) -> None:
    """Write a COCO file of the two images, each with two people and random keypoints."""
    rng = np.random.default_rng(1)
    people = []
    for number in range(4):
        left, top, right, bottom = BOXES[number % 2].tolist()
        points = rng.uniform((left, top), (right, bottom), (num_keypoints, 2))
        flat = np.concatenate((points, np.full((num_keypoints, 1), 2)), 1).ravel().tolist()
        width, height = right - left, bottom - top
        people.append(
            dict(
                id=number + 1,
                image_id=number // 2 + 1,
                category_id=1,
                bbox=[left, top, width, height],
                area=width * height,
                iscrowd=0,
                segmentation=[[left, top, right, top, right, bottom, left, bottom]],
                keypoints=flat,
                num_keypoints=num_keypoints,
            )
        )
    images = [dict(id=n, file_name=f'{n}.png', width=SIDE, height=SIDE) for n in (1, 2)]
    content = dict(images=images, annotations=people, categories=[dict(id=1, name='person')])
    path.write_text(json.dumps(content))


def small_config(row: Row) -> Config:
    return resized(get_config(f'mmpose::{row.config}'), row.sizes)


def train_step(model, cfg: Config, folder: Path, path: Path) -> dict[str, torch.Tensor]:
    """Run a training step with two samples; return the gradients."""
    pipeline = next(
        part['pipeline'] for _, part in find_datasets(cfg, 'train') if part.get('pipeline')
    )
    dataset = DATASETS.build(
        dict(
            type='CocoDataset',
            metainfo=next(_metainfos(cfg)),
            data_mode=cfg.get('data_mode', 'topdown'),
            ann_file=str(path),
            data_prefix=dict(img=str(folder)),
            pipeline=pipeline,
        )
    )
    model.train()
    MessageHub.get_current_instance().update_info('iter', 0)  # RTMO resizes some batches
    data = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), True)
    loss, _ = model.parse_losses(model.loss(data['inputs'], data['data_samples']))
    assert loss.isfinite()
    assert loss > 0
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.eval()
    return gradients


@pytest.mark.parametrize('row', by_name(ROWS))
def test_model(row, image, image_folder, tmp_path, capsys, monkeypatch):
    """A model trains, predicts what MMPose predicts, and its size is that of the list."""
    monkeypatch.setattr(logging.getLogger('mmengine'), 'level', logging.ERROR)
    for seed in (random.seed, np.random.seed, torch.manual_seed):  # weights and augmentation
        seed(0)
    model = pose_backbones.build(f'mmpose::{row.config}')
    cfg = small_config(row)
    if row.sizes:
        model = build_config(cfg)
    metainfo = model.dataset_meta
    if 'deepfashion_' not in row.config:  # MMPose does not find the metainfo of DeepFashion
        expected = dataset_meta_from_config(cfg, 'train')
        assert metainfo['keypoint_id2name'] == expected['keypoint_id2name']
        assert metainfo['flip_indices'] == expected['flip_indices']

    annotations = tmp_path / 'annotations.json'
    write_annotations(annotations, metainfo['num_keypoints'])
    if row.trains:
        # Updated statistics of norms make more scores of the initial weights equal.
        trained = copy.deepcopy(model) if row.initial else model
        gradients = train_step(trained, cfg, image_folder, annotations)
        assert all(value.isfinite().all() for value in gradients.values())
        assert any(value.any() for name, value in gradients.items() if name.startswith('backbone'))

    size = row.size or flops.input_shape(cfg)
    if row.initial:
        model.test_cfg.score_thr = 0.0
    else:
        randomize(model, size)
    inferencer = PoseInferencer(model)
    if inferencer.is_top_down:
        people = [one.pred_instances for one in inference_topdown(model, image, BOXES)]
        keypoints = np.concatenate([one.keypoints for one in people])
        scores = np.concatenate([one.keypoint_scores for one in people])
        (result,) = inferencer(image, BOXES, strict=True)
    else:
        (people,) = inference_bottomup(model, image)
        keypoints, scores = people.pred_instances.keypoints, people.pred_instances.keypoint_scores
        (result,) = inferencer(image, strict=True)
        assert len(result) > 0
    assert result.keypoints.shape == keypoints.shape
    is_near = np.isclose(result.keypoints, keypoints, rtol=1e-5, atol=row.atol).all(2)
    is_near &= np.isclose(result.scores, scores, rtol=0, atol=1e-3 * np.abs(scores).max())
    assert is_near.mean() >= 1 - row.share, (result.keypoints[~is_near], keypoints[~is_near])
    indices = model.test_cfg.get('output_keypoint_indices') or range(metainfo['num_keypoints'])
    assert result.names == tuple(metainfo['keypoint_id2name'][index] for index in indices)

    if not row.flops:
        return
    shape = ['--shape', *map(str, size)] if row.sizes else []
    capsys.readouterr()
    flops.main([f'mmpose::{row.config}', *shape])
    printed = capsys.readouterr().out
    params = sum(value.numel() for value in model.parameters()) / 1e6
    assert float(re.search(r'Params: ([\d.]+) M', printed)[1]) == pytest.approx(params, abs=0.01)
    listed = read_sizes().get(row.config)
    if listed and not row.sizes:
        count = float(re.search(r'FLOPs: ([\d.]+) G', printed)[1])
        assert count == pytest.approx(listed['flops'] / 1e9, rel=0.1, abs=0.01)


#: metrics that need no other files than the annotations
METRICS = ('AUC', 'EPE', 'NME', 'PCKAccuracy')


def write_test_config(path: Path, cfg: Config, annotations: Path, folder: Path) -> None:
    """Write a config that tests with other images, with its own pipeline and metrics.

    The annotations are written, too. If the keypoints have sigmas, CocoMetric is added.
    """
    (_, dataset), *_ = [found for found in find_datasets(cfg, 'val') if found[1].get('pipeline')]
    metainfo = next(_metainfos(Config(dict(val_dataloader=cfg.val_dataloader))))
    description = read_metainfo(metainfo)
    write_annotations(annotations, description['num_keypoints'])
    cfg.test_evaluator = [one for one in as_list(cfg.test_evaluator) if type_name(one) in METRICS]
    if len(description['sigmas']):
        cfg.test_evaluator.append(dict(type='CocoMetric', ann_file=str(annotations)))
    cfg.test_dataloader = dict(
        batch_size=1,
        num_workers=0,
        persistent_workers=False,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='CocoDataset',
            metainfo=metainfo,
            data_mode=dataset.get('data_mode', 'topdown'),
            ann_file=str(annotations),
            data_prefix=dict(img=str(folder)),
            test_mode=True,
            pipeline=dataset['pipeline'],
        ),
    )
    cfg.dump(path)


@pytest.mark.parametrize('row', by_name(ROWS))
def test_tool_predicts_what_the_inferencer_predicts(row, image, image_folder, tmp_path):
    cfg = small_config(row)
    model = build_config(cfg)
    if row.initial:
        cfg.model.test_cfg.score_thr = model.test_cfg.score_thr = 0.0
    else:
        randomize(model, row.size or flops.input_shape(cfg))
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), weights)
    config, dump = tmp_path / 'config.py', tmp_path / 'predictions.pkl'
    write_test_config(config, cfg, tmp_path / 'annotations.json', image_folder)
    work_dir = tmp_path / 'work_dir'
    done = run_tool('test.py', config, weights, '--dump', dump, '--work-dir', work_dir)
    assert done.returncode == 0, done.stdout
    assert re.search(r'(coco/AP|NME|EPE): \d', done.stdout), done.stdout
    inferencer = PoseInferencer(model)
    arguments = (BOXES,) if inferencer.is_top_down else ()
    (result,) = inferencer(image, *arguments)
    predictions = pickle.loads(dump.read_bytes())
    found = np.concatenate(
        [one['pred_instances']['keypoints'] for one in predictions if one['img_id'] == 1]
    )
    np.testing.assert_allclose(found, result.keypoints, rtol=1e-5, atol=row.atol)


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """Released weights are neither cached nor downloaded; looking for them raises an error."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', '1')


@pytest.mark.parametrize('row', by_name(REFUSED))
def test_refused(row, no_weights):
    name = f'mmpose::{row.config}'
    if row.by == 'build':
        with pytest.raises(ConfigError) as error:
            pose_backbones.build(name)
    elif row.by == 'tools/train.py':
        with pytest.raises(ConfigError) as error:
            check_trainable(get_config(name))
    elif row.by == 'pose-backbones flops':
        with pytest.raises(ConfigError) as error:
            flops.main([name, '--shape', '256', '320'])
    else:
        with pytest.raises(ConfigError) as error:
            PoseInferencer(name)
    assert row.message in str(error.value)
    assert '\n' not in str(error.value)
