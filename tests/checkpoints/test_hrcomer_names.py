"""Tests of the parameter names of HRCoMer and of its pretrained weights."""

import pytest
import torch

from pose_backbones.checkpoints.conversion import inspect_state_dict
from pose_backbones.checkpoints.names.hrcomer import (
    convert_backbone,
    convert_base_net,
    convert_estimator,
    is_hrcomer,
)
from pose_backbones.checkpoints.names.hrnet import convert_adapter
from pose_backbones.models.backbones import ConvNeXt, HRCoMer
from pose_backbones.models.heads import HRCoMerHead
from tests.helpers import golden_values


@pytest.fixture(scope='module')
def shapes() -> dict[str, torch.Tensor]:
    """Return the weights of the original base model, without values."""
    record = golden_values.load('hrcomer_base_coco')
    return {name: torch.empty(shape, device='meta') for name, shape in record['state']}


@pytest.fixture(scope='module')
def current_shapes() -> dict[str, torch.Size]:
    """Return names and shapes of the current base model."""
    with torch.device('meta'):
        parts = dict(backbone=HRCoMer('base'), head=HRCoMerHead())
    return {
        f'{part}.{name}': value.shape
        for part, net in parts.items()
        for name, value in net.state_dict().items()
    }


def test_every_original_name_is_converted(shapes, current_shapes):
    converted = convert_estimator(shapes)
    assert len(converted) == len(shapes)
    assert {name: value.shape for name, value in converted.items()} == current_shapes


def test_current_names_are_unchanged(shapes):
    converted = convert_estimator(shapes)
    again = convert_estimator(converted)
    assert list(again) == list(converted)
    assert all(again[name] is converted[name] for name in again)


def test_whole_checkpoint_is_converted_with_a_record(shapes, current_shapes):
    """The conversion is that of tools/convert_checkpoint.py."""
    constant = 'refine_head.filter_block.0.regular_matrix'
    done = inspect_state_dict({'model': {**shapes, constant: torch.empty(3, 9, device='meta')}})
    assert {name: value.shape for name, value in done.weights.items()} == current_shapes
    assert (done.family, done.naming) == ('HRCoMer', 'ConvNeXtPose')
    assert inspect_state_dict(done.weights).naming == 'MMPose 1.x'
    assert done.left_out == {constant: 'constant, from the constructor'}


def test_constants_and_other_parts():
    weights = {
        'backbone.hr_adapter.stage1_trans.0.weight': torch.ones(1),
        'joints_head.filter_blocks.0.1.regular_matrix': torch.ones(3, 9),
        'joints_head.filter_blocks.0.1.norm.weight': torch.ones(2),
        'heatmaps_head.filter_block.norm2.bias': torch.ones(3),
        'data_preprocessor.mean': torch.ones(4),
    }
    assert list(convert_estimator(weights)) == [
        'backbone.hr_adapter.stage1_trans.0.weight',
        'head.joints_head.filter_blocks.0.1.norm.weight',
        'head.heatmaps_head.filter_block.bn2.bias',
        'data_preprocessor.mean',
    ]


def test_weights_of_other_models_are_unchanged():
    weights = {'backbone.stages.0.0.dwconv.weight': torch.ones(1)}
    assert not is_hrcomer(weights)
    assert convert_estimator(weights) is weights


def test_base_network_loads_every_release_of_convnext():
    with torch.device('meta'):
        net, base = ConvNeXt('v2-atto'), HRCoMer('atto').base_net
    base_shapes = {name: value.shape for name, value in base.state_dict().items()}
    weights = net.state_dict()
    assert {name: value.shape for name, value in convert_base_net(weights).items()} == base_shapes
    original = {
        'downsample_layers.0.1.bias': torch.ones(4),
        'stages.2.1.grn.gamma': torch.full((1, 1, 1, 8), 3.0),
        'norm.weight': torch.ones(4),
        'head.weight': torch.ones(4),
    }
    converted = convert_backbone({f'base_net.{name}': value for name, value in original.items()})
    assert list(converted) == ['base_net.stem.1.bias', 'base_net.stages.2.blocks.1.mlp.grn.weight']
    assert converted['base_net.stages.2.blocks.1.mlp.grn.weight'].tolist() == [3.0] * 8


def test_hrnet_names():
    names = (
        'layer1.0.conv1.weight',
        'backbone.layer1.0.bn1.bias',
        'stage3.2.fuse_layers.1.0.0.0.weight',
        'transition2.2.0.0.weight',
    )
    converted_adapter = convert_adapter({name: torch.ones(1) for name in names})
    assert list(converted_adapter) == [
        'stage1.0.conv1.weight',
        'stage1.0.bn1.bias',
        names[2],
        names[3],
    ]
