"""`tools/measure_memory.py`, which measures the effect of activation checkpointing."""

import re

import pytest
import torch
from mmengine.config import Config
from torch import nn

from pose_backbones.cli import memory
from pose_backbones.errors import ConfigError
from tests.helpers.tools import run_tool

UNIFORMER = dict(
    type='pose_backbones.UniFormer',
    arch=dict(embed_dims=(8, 8, 16, 32), depths=(1, 1, 4, 1), conv_stem=False),
    head_dim=8,
    out_indices=(3,),
)


def config_of(tiny_config, backbone) -> Config:
    """Return the tiny config with another backbone, whose output has 32 channels."""
    config = Config.fromfile(str(tiny_config))
    config.model.backbone = backbone
    config.model.head.in_channels = 32
    return config


def test_record_kept_counts_saved_tensors():
    model = nn.Sequential(nn.Linear(3, 5, bias=False), nn.Linear(5, 2))
    x = torch.randn(4, 3)
    with memory.record_kept(model) as kept:
        y = model(x)
        loss = y.square().sum()
    # The input, the hidden layer and the output are counted, weights are not.
    sizes = {t.data_ptr(): t.numel() * 4 for t in (x, y)}
    assert sizes.items() <= kept.items()
    assert sorted(kept.values()) == [4 * 4 * 2, 4 * 4 * 3, 4 * 4 * 5]
    loss.backward()


def test_measure_without_and_with_checkpointing(tiny_config):
    config = Config.fromfile(str(tiny_config))
    without, checkpointed = memory.measure(config, (64, 64), 2, repeat=1)
    assert 0 < checkpointed.kept < 0.6 * without.kept
    assert without.seconds > 0 < checkpointed.seconds
    assert (without.peak is None) == (not torch.cuda.is_available())
    larger_batch = memory.measure(config, (64, 64), 4, repeat=1)
    assert larger_batch[0].kept == pytest.approx(2 * without.kept, rel=0.05)
    assert 'with_cp' not in config.model.backbone


def test_uniformer_uses_the_checkpointing_of_its_config(tiny_config):
    """All blocks are checkpointed, or those of `checkpoint_num` if `use_checkpoint` is True."""
    kept = []
    for options in (
        {},
        dict(with_cp=True),
        dict(use_checkpoint=True),
        dict(use_checkpoint=False, checkpoint_num=[0, 0, 2, 0]),
        dict(use_checkpoint=True, checkpoint_num=[0, 0, 2, 0]),
    ):
        config = config_of(tiny_config, {**UNIFORMER, **options})
        costs = memory.measure(config, (64, 64), 2, repeat=1)
        kept.append([cost.kept for cost in costs])
    assert len({without for without, _ in kept}) == 1
    all_blocks = kept[0][1]
    assert [kept_checkpointed for _, kept_checkpointed in kept[1:4]] == [all_blocks] * 3
    assert all_blocks < kept[4][1] < kept[4][0]


def test_loss_includes_all_outputs():
    class Model(nn.Module):
        def forward(self, x, _, mode):
            return {'a': [x, 2 * x], 'b': (3 * x,)}

    x = torch.tensor((1.0, 3.0))
    assert memory._loss(Model(), x) == 5 + 4 * 5 + 9 * 5


@pytest.mark.parametrize(
    ('backbone', 'message'),
    [
        ('mmpose.AlexNet', r'\(mmpose\.AlexNet\) has no activation checkpoint'),
        ('pose_backbones.UniFormr', 'did you mean .*UniFormer'),
    ],
)
def test_unsupported_backbones_raise(tiny_config, backbone, message):
    config = config_of(tiny_config, dict(type=backbone))
    with pytest.raises(ConfigError, match=message):
        memory.measure(config, (64, 64), 1)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--batch', '0'], '--batch 0: expected a number of at least 1'),
        (['--repeat', '-1'], '--repeat -1: expected'),
        (['--shape', '64', '0'], '--shape 64 0: expected height and width'),
    ],
)
def test_invalid_options_raise(tiny_config, options, message):
    with pytest.raises(ConfigError, match=message):
        memory.main([str(tiny_config), *options])


def test_report_contains_ratios():
    text = memory.report(
        memory.StepCost(8 * 2**20, 20 * 2**20, 2.0), memory.StepCost(2 * 2**20, 15 * 2**20, 3.0)
    )
    rows = [re.split(r'\s{2,}', line.strip()) for line in text.splitlines()]
    assert rows == [
        ['without', 'with', 'ratio'],
        ['kept for backward', '8.0 MiB', '2.0 MiB', '0.25'],
        ['peak on the GPU', '20.0 MiB', '15.0 MiB', '0.75'],
        ['time of a step', '2.000 s', '3.000 s', '1.50'],
    ]


def test_tool_prints_a_table(tiny_config):
    process = run_tool('measure_memory.py', tiny_config, '--batch', 2, '--repeat', 1)
    assert process.returncode == 0, process.stdout
    assert 'Training step of 2 images of 128x96 (height x' in process.stdout
    (row,) = re.findall(
        r'kept for backward +([\d.]+) MiB +([\d.]+) MiB +([\d.]+)\n', process.stdout
    )
    without, with_checkpointing, ratio = map(float, row)
    assert with_checkpointing < without
    assert ratio == pytest.approx(with_checkpointing / without, abs=0.05)
