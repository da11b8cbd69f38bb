"""Tests of the module versions in a state dict, which MMPose's heads use to convert old names."""

from collections import OrderedDict

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from safetensors.torch import save_file
from torch import nn

from pose_backbones.checkpoints.loading import get_weights, load_weights, read_checkpoint

LOSS = dict(type='KeypointMSELoss', use_target_weight=True)
NUM_KEYPOINTS = 5
TOPDOWN = {
    'HeatmapHead': dict(
        type='HeatmapHead',
        in_channels=64,
        out_channels=NUM_KEYPOINTS,
        deconv_out_channels=(8,),
        deconv_kernel_sizes=(4,),
        conv_out_channels=(8, 8),
        conv_kernel_sizes=(3, 3),
        loss=LOSS,
    ),
    'CPMHead': dict(
        type='CPMHead',
        in_channels=64,
        out_channels=NUM_KEYPOINTS,
        num_stages=1,
        deconv_out_channels=None,
        loss=LOSS,
    ),
    'ViPNASHead': dict(
        type='ViPNASHead',
        in_channels=64,
        out_channels=NUM_KEYPOINTS,
        deconv_out_channels=(16,),
        deconv_kernel_sizes=(4,),
        deconv_num_groups=(16,),
        conv_out_channels=(8,),
        conv_kernel_sizes=(3,),
        loss=LOSS,
    ),
    'SimCCHead': dict(
        type='SimCCHead',
        in_channels=64,
        out_channels=NUM_KEYPOINTS,
        input_size=(64, 64),
        in_featuremap_size=(2, 2),
        deconv_out_channels=(8,),
        deconv_kernel_sizes=(4,),
        deconv_num_groups=(1,),
        loss=dict(type='KLDiscretLoss'),
    ),
    'RTMCCHead': dict(
        type='RTMCCHead',
        in_channels=64,
        out_channels=NUM_KEYPOINTS,
        input_size=(64, 64),
        in_featuremap_size=(2, 2),
        simcc_split_ratio=2.0,
        final_layer_kernel_size=1,
        gau_cfg=dict(
            hidden_dims=16,
            s=8,
            expansion_factor=2,
            dropout_rate=0.0,
            drop_path=0.0,
            act_fn='SiLU',
            use_rel_bias=False,
            pos_enc=False,
        ),
        loss=dict(type='KLDiscretLoss'),
    ),
    'RegressionHead': dict(
        type='RegressionHead',
        in_channels=64,
        num_joints=NUM_KEYPOINTS,
        loss=dict(type='SmoothL1Loss'),
    ),
    'RLEHead': dict(
        type='RLEHead', in_channels=64, num_joints=NUM_KEYPOINTS, loss=dict(type='RLELoss')
    ),
    'IntegralRegressionHead': dict(
        type='IntegralRegressionHead',
        in_channels=64,
        num_joints=NUM_KEYPOINTS,
        in_featuremap_size=(2, 2),
        deconv_out_channels=(8,),
        deconv_kernel_sizes=(4,),
        loss=dict(type='SmoothL1Loss'),
    ),
    'DSNTHead': dict(
        type='DSNTHead',
        in_channels=64,
        num_joints=NUM_KEYPOINTS,
        in_featuremap_size=(2, 2),
        deconv_out_channels=(8,),
        deconv_kernel_sizes=(4,),
        loss=dict(type='MultipleLossWrapper', losses=[dict(type='SmoothL1Loss'), LOSS]),
    ),
}
RESCORE = dict(in_channels=74, norm_indexes=(0, 1))
BOTTOMUP = {
    'DEKRHead': dict(
        type='DEKRHead',
        in_channels=64,
        num_keypoints=NUM_KEYPOINTS,
        heatmap_loss=LOSS,
        displacement_loss=dict(type='SoftWeightSmoothL1Loss'),
    ),
    'DEKRHead with rescoring': dict(
        type='DEKRHead',
        in_channels=64,
        num_keypoints=NUM_KEYPOINTS,
        heatmap_loss=LOSS,
        displacement_loss=dict(type='SoftWeightSmoothL1Loss'),
        rescore_cfg=RESCORE,
    ),
    'CIDHead': dict(
        type='CIDHead',
        in_channels=64,
        gfd_channels=8,
        num_keypoints=NUM_KEYPOINTS,
        coupled_heatmap_loss=dict(type='FocalHeatmapLoss'),
        decoupled_heatmap_loss=dict(type='FocalHeatmapLoss'),
        contrastive_loss=dict(type='InfoNCELoss'),
    ),
}
HEADS = {**TOPDOWN, **BOTTOMUP}


def build_estimator(name: str) -> nn.Module:
    """Build a pose estimator with a head and random weights."""
    init_default_scope('mmpose')
    kind = 'TopdownPoseEstimator' if name in TOPDOWN else ('BottomupPoseEstimator')
    pool = (
        dict(neck=dict(type='GlobalAveragePooling'))
        if name in ('RegressionHead', 'RLEHead')
        else {}
    )
    model = MODELS.build(
        dict(
            type=kind,
            backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
            **pool,
            head=HEADS[name],
            data_preprocessor=dict(type='PoseDataPreprocessor'),
        )
    )
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.1, 1)
    return model


@pytest.fixture(scope='module')
def get_models():
    """Return a function that returns two models for a head."""
    cache = {}

    def get(name: str) -> tuple[nn.Module, nn.Module]:
        """Return a model to save and another one to load into."""
        if name not in cache:
            cache[name] = build_estimator(name), build_estimator(name)
        return cache[name]

    return get


def _save_variants(model: nn.Module, folder):
    """Save the same weights in the formats of several tools; yield the file names."""
    state = model.state_dict()
    torch.save({'state_dict': state, 'meta': {}}, folder / 'mmengine.pth')
    yield 'mmengine.pth'
    torch.save(read_checkpoint(folder / 'mmengine.pth'), folder / 'read and saved.pth')
    yield 'read and saved.pth'
    torch.save(dict(state), folder / 'without versions.pth')
    yield 'without versions.pth'
    wrapped = nn.Sequential()
    wrapped.module = model
    torch.save({'state_dict': wrapped.state_dict()}, folder / 'parallel.pth')
    yield 'parallel.pth'
    torch.save({'model': state}, folder / 'old format.pth', _use_new_zipfile_serialization=False)
    yield 'old format.pth'
    save_file(
        {name: value.contiguous() for name, value in state.items()}, folder / 'plain.safetensors'
    )
    yield 'plain.safetensors'


@pytest.mark.parametrize('name', HEADS)
def test_saved_weights_are_loaded_unchanged(get_models, tmp_path, name):
    model, other = get_models(name)
    expected = model.state_dict()
    for file_name in _save_variants(model, tmp_path):
        with torch.no_grad():
            for value in other.state_dict().values():
                value.zero_()
        weights = get_weights(read_checkpoint(tmp_path / file_name))
        load_weights(other, weights, file_name)
        loaded = other.state_dict()
        for key, value in expected.items():
            assert torch.equal(loaded[key], value), (file_name, key)


def test_mmpose_0x_weights_are_converted_once(get_models):
    """DEKR's displacements have the opposite sign, and its centre heatmap is the first."""
    model, other = get_models('DEKRHead')
    old = OrderedDict()
    for key, value in model.state_dict().items():
        if 'displacement_conv_layers.3.' in key:
            value = -value
        if 'heatmap_conv_layers.2' in key:
            value = torch.cat((value[-1:], value[:-1]))
        key = key.replace('displacement_conv_layers', 'offset_conv_layers')
        old[key.replace('head.', 'keypoint_head.', 1)] = value
    old._metadata = OrderedDict({'': {'version': 1}})
    load_weights(other, old, 'old.pth')
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
