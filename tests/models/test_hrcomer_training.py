"""Train a small HRCoMer on a few images until it detects their people."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS
from mmpose.utils import register_all_modules

from pose_backbones.cli.options import set_data_root
from pose_backbones.configs import as_list
from pose_backbones.synthetic import make_synthetic_crowdpose
from pose_backbones.zoo import get_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DEMO = 'bu_hrcomer-atto_1xb2-demo_synthetic-384'
SIZE, IMAGES, STEPS, BATCH = 96, 4, 100, 4


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> ConfigDict:
    """Return the config of the demo at a quarter of its size, with one or two people per image.

    The model is tested on the training images.
    """
    register_all_modules()
    init_default_scope('mmpose')
    folder = tmp_path_factory.mktemp('data') / 'crowdpose'
    make_synthetic_crowdpose(folder, 1, IMAGES, seed=5, people=(1, 2), image_size=(128, 128))
    config = get_config(DEMO)
    set_data_root(config, str(folder))
    test = config.val_dataloader.dataset
    config.train_dataloader.dataset.ann_file = test.ann_file
    for pipeline in (config.train_dataloader.dataset.pipeline, test.pipeline, config.ms_pipeline):
        for step in pipeline:
            _shrink(step)
    _shrink(config.model.head.decoder)
    config.model.backbone.arch = dict(
        base_net=dict(embed_dims=(16, 32, 48, 64), depths=(1, 1, 1, 1), use_grn=True),
        embed_dims=(8, 16, 24, 32),
        stage1_channels=16,
        num_modules=(1, 1, 1, 1),
        depths=(1, 1, 1, 1),
    )
    config.model.head.update(in_channels=(8, 16, 24, 32))
    config.optim_wrapper.optimizer.lr = 5e-3
    config.optim_wrapper.optimizer.foreach = True  # faster for many small parameters
    return config


def _shrink(step: ConfigDict) -> None:
    """Set the sizes of a transform or a codec, and disable all augmentations except flips."""
    sizes = dict(
        input_size=(SIZE, SIZE), heatmap_size=(SIZE // 4,) * 2, short_side=SIZE, size_divisor=32
    )
    step.update({key: sizes[key] for key in sizes if key in step})
    if 'encoder' in step:
        _shrink(step.encoder)
    if step.type == 'pose_backbones.RandomAffine':
        step.update(scale_factor=(1.0, 1.0), rotate_factor=0.0, shift_factor=0.0)


@pytest.fixture(scope='module')
def trained(config) -> tuple[torch.nn.Module, list[dict]]:
    """Return the trained model and the losses of each step."""
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    model.train()
    data = DATASETS.build(config.train_dataloader.dataset)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    schedule = torch.optim.lr_scheduler.LambdaLR(wrapper.optimizer, rate)
    log = []
    for step in range(STEPS):
        batch = [data[(step * BATCH + i) % len(data)] for i in range(BATCH)]
        log.append(
            {
                key: value.item()
                for key, value in model.train_step(pseudo_collate(batch), wrapper).items()
            }
        )
        schedule.step()
    return model.eval(), log


def rate(step: int) -> float:
    """Return the factor of the learning rate: a linear warm-up, then a decay to 0."""
    warmup = STEPS * 0.15
    return min((step + 1) / warmup, np.cos(np.pi / 2 * max(0, step - warmup) / (STEPS - warmup)))


def measure(model, config, pipeline: list) -> float:
    """Return the AP on the training images."""
    dataset = DATASETS.build(dict(config.val_dataloader.dataset, pipeline=pipeline))
    metric = Evaluator(as_list(config.val_evaluator))
    metric.dataset_meta = dataset.metainfo
    with torch.no_grad():
        for sample in dataset:
            (result,) = model.test_step(pseudo_collate([sample]))
            metric.process([result.to_dict()])
    return metric.evaluate(len(dataset))['crowdpose/AP']


def test_every_loss_decreases(trained):
    _, log = trained
    for name in ('confidence', 'joint', 'limb', 'oks', 'heatmap'):
        values = [losses[f'loss_{name}'] for losses in log]
        assert np.mean(values[-20:]) < 0.5 * np.mean(values[:20]), name


def test_trained_model_detects_people(trained, config):
    model, _ = trained
    assert measure(model, config, config.val_dataloader.dataset.pipeline) > 0.6


def test_trained_model_works_with_flip_and_scales(trained, config, monkeypatch):
    """The model was trained without both."""
    model, _ = trained
    assert measure(model, config, config.ms_pipeline) > 0.6
    monkeypatch.setitem(model.test_cfg, 'flip_test', True)
    assert measure(model, config, config.val_dataloader.dataset.pipeline) > 0.6
