"""Tests of `TopdownPoseEstimator`, which reads channels from its backbone."""

import pytest
import torch
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones.models.backbones import ConvNeXt
from pose_backbones.models.pose_estimators import TopdownPoseEstimator

ARCH = dict(embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), use_grn=False)
HEAD = dict(
    type='HeatmapHead',
    out_channels=3,
    deconv_out_channels=(8,),
    deconv_kernel_sizes=(4,),
    loss=dict(type='KeypointMSELoss', use_target_weight=True),
)
SIMCC = dict(
    type='RTMCCHead',
    out_channels=3,
    input_size=(64, 64),
    in_featuremap_size=(2, 2),
    decoder=dict(type='SimCCLabel', input_size=(64, 64), sigma=2.0),
)


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()


def estimator(backbone=None, **kwargs) -> TopdownPoseEstimator:
    """Build the estimator; `backbone` has arguments of ConvNeXt, or another type."""
    backbone = backbone or {}
    if 'type' not in backbone:
        backbone = dict(backbone, type='pose_backbones.ConvNeXt', arch=ARCH)
    return MODELS.build(
        dict(type='pose_backbones.TopdownPoseEstimator', backbone=backbone, **kwargs)
    )


@pytest.mark.parametrize(('indices', 'channels'), [((3,), 32), ((0, 1), 16), ((0, 1, 2, 3), 32)])
@pytest.mark.parametrize('given', [{}, dict(in_channels=None)])
def test_head_gets_channels_of_the_last_map(indices, channels, given):
    head = {**HEAD, **given}
    model = estimator(dict(out_indices=indices), head=head)
    assert model.head.in_channels == channels
    assert model.head.deconv_layers[0].in_channels == channels
    assert head == {**HEAD, **given}
    side = 64 // model.backbone.strides[indices[-1]] * 2
    assert model(torch.randn(1, 3, 64, 64), None).shape == (1, 3, side, side)


def test_any_head_gets_channels():
    model = estimator(dict(out_indices=(2,)), head={**SIMCC, 'in_featuremap_size': (4, 4)})
    assert model.head.in_channels == 24


def test_timm_model_by_name():
    model = estimator(
        dict(type='pose_backbones.TimmBackbone', model_name='resnet10t', out_indices=(3,)),
        head=HEAD,
    )
    assert model.head.in_channels == 256
    assert model(torch.randn(1, 3, 64, 64), None).shape == (1, 3, 8, 8)


def test_neck_gets_channels_of_all_maps():
    neck = dict(type='FPN', out_channels=8, num_outs=2)
    model = estimator(dict(out_indices=(1, 3)), neck=neck, head=dict(HEAD, in_channels=8))
    assert model.neck.in_channels == [16, 32]
    assert model(torch.randn(1, 3, 64, 64), None).shape == (1, 3, 4, 4)
    # This head has no argument in_channels.
    neck = dict(type='FeatureMapProcessor', concat=True)
    model = estimator(dict(out_indices=(0, 1)), neck=neck, head=dict(HEAD, in_channels=24))
    assert model(torch.randn(1, 3, 64, 64), None).shape == (1, 3, 32, 32)


def test_head_on_all_maps_gets_their_channels():
    head = dict(type='pose_backbones.MultiLevelHeatmapHead', out_channels=5)
    model = estimator(dict(out_indices=(1, 3)), head=head)
    assert model.head.map_channels == (16, 32)
    assert model(torch.randn(1, 3, 64, 64), None).shape == (1, 5, 8, 8)
    for wrong in ((16, 48), 32):
        with pytest.raises(ValueError, match=r'in_channels is .*: .* have \[16, 32\] channels'):
            estimator(dict(out_indices=(1, 3)), head=dict(head, in_channels=wrong))
    model = estimator(dict(out_indices=(3,)), head=dict(head, in_channels=32))
    assert model.head.map_channels == (32,)


def test_otherwise_equals_mmpose_estimator():
    own_estimator = estimator(head=HEAD, test_cfg=dict(flip_test=False))
    mmpose_estimator = MODELS.build(
        dict(
            type='TopdownPoseEstimator',
            backbone=dict(type='pose_backbones.ConvNeXt', arch=ARCH),
            head=dict(HEAD, in_channels=32),
            test_cfg=dict(flip_test=False),
        )
    )
    assert isinstance(own_estimator, type(mmpose_estimator))
    assert type(own_estimator) is TopdownPoseEstimator is not type(mmpose_estimator)
    assert isinstance(own_estimator.backbone, ConvNeXt)
    assert own_estimator.head.test_cfg == dict(flip_test=False)
    own_estimator.load_state_dict(mmpose_estimator.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(own_estimator.eval()(image, None), mmpose_estimator.eval()(image, None))


def test_names_of_mmpose_0x_are_converted():
    source = estimator(head=HEAD)
    old = {
        name.replace('head.', 'keypoint_head.'): value
        for name, value in source.state_dict().items()
    }
    other = estimator(head=HEAD)
    other.load_state_dict(old, strict=True)
    assert torch.equal(other.head.final_layer.weight, source.head.final_layer.weight)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            dict(head=dict(HEAD, in_channels=64)),
            r'head.in_channels is 64: maps \(0, 1, 2, 3\) of ConvNeXt have 32',
        ),
        (
            dict(head=dict(HEAD, in_channels=(8, 16))),
            r'head.in_channels is \(8, 16\): .*have \[8, 16, 24, 32\]',
        ),
        (
            dict(
                neck=dict(type='FPN', in_channels=[8, 16], out_channels=8, num_outs=2),
                head=dict(HEAD, in_channels=8),
            ),
            r'neck.in_channels is \[8, 16\]: .*have \[8, 16, 24, 32\]',
        ),
        (
            dict(neck=dict(type='FeatureMapProcessor', concat=True), head=HEAD),
            'head.in_channels is missing: with a neck',
        ),
        (
            dict(backbone=dict(type='mmpose.ResNet', depth=18), head=HEAD),
            'head.in_channels is missing: .*but not from ResNet',
        ),
    ],
)
def test_mismatched_channels_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimator(**arguments)
