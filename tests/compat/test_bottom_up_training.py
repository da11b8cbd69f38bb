"""Tests of the training of bottom-up models that fails in MMPose itself."""

import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones import get_config
from pose_backbones.preflight.codec import check_targets
from tests.helpers.tools import ROOT

SIZE = 64
NUM_KEYPOINTS = 17


@pytest.fixture(autouse=True)
def scope():
    register_all_modules()
    init_default_scope('mmpose')


def make_sample(num_people: int) -> dict:
    """Return the results of `LoadImage` for an image of 80x80 pixels."""
    rng = np.random.default_rng(num_people)
    start = rng.uniform(5, 15, (num_people, 1, 2))
    keypoints = (start + rng.uniform(0, 60, (num_people, NUM_KEYPOINTS, 2))).astype(np.float32)
    visible = (rng.uniform(size=(num_people, NUM_KEYPOINTS)) < 0.8).astype(np.float32)
    boxes = np.concatenate([keypoints.min(1), keypoints.max(1)], -1)
    return dict(
        img=rng.integers(0, 256, (80, 80, 3), np.uint8),
        img_shape=(80, 80),
        ori_shape=(80, 80),
        img_id=num_people,
        img_path='',
        id=list(range(num_people)),
        category_id=np.ones(num_people, int),
        bbox=boxes.astype(np.float32),
        bbox_score=np.ones(num_people, np.float32),
        area=np.full(num_people, 900, np.float32),
        keypoints=keypoints,
        keypoints_visible=visible,
        num_keypoints=[NUM_KEYPOINTS] * num_people,
        flip_indices=[0, *(i + 1 if i % 2 else i - 1 for i in range(1, NUM_KEYPOINTS))],
        invalid_segs=[],
    )


def train(model, batch: dict, steps: int, lr: float) -> list[dict[str, float]]:
    """Train on one batch and return the losses of each step."""
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=lr))
    losses = []
    for _ in range(steps):
        losses.append({name: float(v) for name, v in model.train_step(batch, wrapper).items()})
        assert all(np.isfinite(list(losses[-1].values())))
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    return losses


def ae_config() -> Config:
    """Return the config of docs/training.md with a small model."""
    page = (ROOT / 'docs/training.md').read_text(encoding='utf-8')
    (code,) = [code for code in re.findall('```python\n(.*?)```', page, re.DOTALL) if 'ae_' in code]
    cfg = Config.fromstring(code, '.py')
    stages = {1: (8,), 2: (4, 8), 3: (4, 8, 8), 4: (4, 8, 8, 8)}
    for number, channels in stages.items():
        cfg.model.backbone.extra[f'stage{number}'].update(
            num_modules=1, num_blocks=(1,) * number, num_channels=channels
        )
    cfg.model.backbone.init_cfg = None
    cfg.model.head.in_channels = 4
    cfg.model.head.decoder.update(input_size=(SIZE, SIZE), heatmap_size=(SIZE, SIZE))
    for step in cfg.train_dataloader.dataset.pipeline:
        if 'input_size' in step:
            step.input_size = (SIZE, SIZE)
        if 'encoder' in step:
            step.encoder.update(input_size=(SIZE, SIZE), heatmap_size=(SIZE // 4, SIZE // 4))
    return cfg


def test_associative_embedding_trains():
    cfg = ae_config()
    pipeline = Compose(cfg.train_dataloader.dataset.pipeline[1:])
    np.random.seed(0)
    batch = pseudo_collate([pipeline(make_sample(count)) for count in (2, 1, 3)])
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    check_targets(cfg, model, ['train', 'val'])

    data = model.data_preprocessor(batch, training=True)
    maps = model.extract_feat(data['inputs'])
    losses = model.head.loss(maps, data['data_samples'])
    heatmaps, tags = (value.detach().numpy() for value in model.head(maps))
    samples = data['data_samples']
    targets = np.stack([sample.gt_fields.heatmaps.numpy() for sample in samples])
    masks = np.stack([sample.gt_fields.heatmap_mask.numpy() for sample in samples])
    expected = ((heatmaps - targets) ** 2 * masks).mean()
    assert float(losses['loss_kpt']) == pytest.approx(expected, rel=1e-5)
    pull, push = 0.0, 0.0
    for sample, maps_of_image in zip(samples, tags):
        people = [
            np.array(
                [maps_of_image[k].flat[index] for k, (index, seen) in enumerate(person) if seen]
            )
            for person in sample.gt_instance_labels.keypoint_indices.tolist()
        ]
        people = [values for values in people if len(values)]
        pull += sum(values.var() for values in people) / len(people)
        means = np.array([values.mean() for values in people])
        if len(people) == 1:
            continue
        push += np.exp(-((means - means[:, None]) ** 2)).sum() / (len(people) * (len(people) - 1))
    assert float(losses['loss_pull']) == pytest.approx(0.001 * pull, rel=1e-3)
    assert float(losses['loss_push']) == pytest.approx(0.001 * 0.5 * push, rel=1e-3)

    losses = train(model, batch, steps=12, lr=1e-2)
    assert losses[-1]['loss_kpt'] < 0.7 * losses[0]['loss_kpt']


def test_yolox_pose_tiny_trains():
    cfg = get_config('yoloxpose_tiny_4xb64-300e_coco-416')
    cfg.model.backbone.update(init_cfg=None, widen_factor=0.125)
    cfg.model.neck.update(in_channels=[32, 64, 128], out_channels=32)
    cfg.model.head.head_module_cfg.update(widen_factor=0.125)
    cfg.model.data_preprocessor.pop('batch_augments', None)
    # without the transforms that combine images
    steps = cfg.train_dataloader.dataset.pipeline
    first = [step['type'] for step in steps].index('YOLOXHSVRandomAug')
    pipeline = Compose(steps[first:])
    np.random.seed(0)
    batch = pseudo_collate([pipeline(make_sample(count)) for count in (2, 3)])
    labels = batch['data_samples'][0].gt_instance_labels
    assert labels.bboxes.shape == (2, 4)
    assert labels.areas.tolist() == [900, 900]
    assert labels.labels.tolist() == [0, 0]
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    losses = train(model, batch, steps=12, lr=2e-3)
    assert losses[-1]['loss'] < 0.9 * losses[0]['loss']
