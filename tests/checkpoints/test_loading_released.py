"""Tests that released files load directly with every loader."""

import copy

import pytest
import torch

from pose_backbones.checkpoints.conversion import convert_state_dict
from pose_backbones.checkpoints.loading import load_weights
from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import ConvNeXt, MogaNet, UniFormer
from pose_backbones.models.backbones.swin import SwinTransformer
from tests.helpers.releases import (
    DEPTHS,
    DIMS,
    convnext_backbone,
    old_head,
    original_swin,
    uniformer_imagenet,
    with_prefix,
)

CONVNEXT = dict(embed_dims=DIMS, depths=DEPTHS, use_grn=True)
ESTIMATOR = f"""
default_scope = 'mmpose'
custom_imports = dict(imports=['pose_backbones'])
codec = dict(type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(3, 4),
             sigma=1)
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor'),
    backbone=dict(
        type='pose_backbones.ConvNeXt', arch={CONVNEXT},
        init_cfg=dict(type='Pretrained', checkpoint='not_there.pth')),
    head=dict(
        type='HeatmapHead', in_channels=32, out_channels=17,
        deconv_out_channels=(8, ), deconv_kernel_sizes=(4, ),
        conv_out_channels=(8, ), conv_kernel_sizes=(3, ),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=codec))
train_dataloader = dict(dataset=dict(type='CocoDataset'))
"""


@pytest.fixture
def config(tmp_path):
    """Return the config file of a tiny ConvNeXt V2 with a head."""
    path = tmp_path / 'estimator.py'
    path.write_text(ESTIMATOR)
    return path


@pytest.fixture
def estimator(config):
    """Return the model of the config, with random weights."""
    from mmengine.config import Config
    from mmpose.registry import MODELS
    from mmpose.utils import register_all_modules

    register_all_modules()
    torch.manual_seed(1)
    return MODELS.build(Config.fromfile(str(config)).model)


def pose_release(convs=1):
    """Return the content of a pose release of MMPose 0.x, which has the norms of all four maps."""
    weights = convnext_backbone('mmpretrain', v2=True)
    for stage, width in enumerate(DIMS):
        weights[f'norm{stage}.weight'] = torch.full((width,), 1.5)
        weights[f'norm{stage}.bias'] = torch.full((width,), 0.25)
    return {**with_prefix('backbone', weights), **old_head(32, convs)}


def save(path, weights, key='state_dict'):
    torch.save({key: weights, 'meta': {'epoch': 210}}, path)
    return str(path)


def maps_of(model, image):
    with torch.no_grad():
        return model.eval()(image, None, mode='tensor')


def test_init_model_of_mmpose_loads_a_0x_release(config, estimator, tmp_path):
    from mmpose.apis import init_model

    path = save(tmp_path / 'released.pth', pose_release())
    loaded = init_model(str(config), path, device='cpu')
    by_hand = copy.deepcopy(estimator)
    by_hand.load_state_dict(convert_state_dict(pose_release()), strict=True)
    image = torch.randn(2, 3, 64, 48)
    expected = maps_of(by_hand, image)
    assert torch.equal(maps_of(loaded, image), expected)
    assert not torch.allclose(maps_of(estimator, image), expected)


def test_init_model_raises_for_another_size(config, tmp_path):
    from mmpose.apis import init_model

    weights = pose_release()
    name = 'backbone.downsample_layers.1.1.bias'
    weights[name] = torch.ones(20)
    with pytest.raises(
        CheckpointError,
        match=(
            r'not a checkpoint of this model: 88 of 89 tensors fit; 1 of '
            r'another shape: backbone\.stages\.1\.downsample\.1\.bias is '
            r'\(20,\) in the file and '
            r'\(16,\) in the model'
        ),
    ):
        init_model(str(config), save(tmp_path / 'other.pth', weights), device='cpu')


def test_tools_load_a_0x_release_strictly(estimator):
    load_weights(estimator, pose_release(), 'released.pth')
    for name, value in convert_state_dict(pose_release()).items():
        assert torch.equal(estimator.state_dict()[name], value), name


def test_copied_model_converts_names():
    net = ConvNeXt(CONVNEXT)
    twin = copy.deepcopy(net)
    twin.load_state_dict(convnext_backbone('original', v2=True), strict=False)
    expected = convnext_backbone('original', v2=True)
    assert torch.equal(twin.stem[0].weight, expected['downsample_layers.0.0.weight'])
    assert not torch.equal(net.stem[0].weight, twin.stem[0].weight)


def test_another_kind_of_head_raises(estimator):
    """MMPose's hook raises an `AssertionError` without a message."""
    estimator.head.conv_layers = torch.nn.Identity()
    with pytest.raises(
        CheckpointError,
        match=(
            r'^released\.pth is not a checkpoint of this model: the part '
            r"under 'head\.' is of another kind than the model's "
            r'HeatmapHead$'
        ),
    ):
        load_weights(estimator, pose_release(convs=2), 'released.pth')


@pytest.mark.parametrize('key', ['state_dict', 'model'])
@pytest.mark.parametrize(
    ('build', 'weights'),
    [
        (lambda **kw: ConvNeXt(CONVNEXT, **kw), lambda: convnext_backbone('original', v2=True)),
        (lambda **kw: ConvNeXt(CONVNEXT, **kw), lambda: convnext_backbone('timm', v2=True)),
        (
            lambda **kw: ConvNeXt(CONVNEXT, **kw),
            lambda: {
                **with_prefix('backbone', convnext_backbone('mmpretrain', True)),
                'head.fc.weight': torch.ones(10, 32),
            },
        ),
        (lambda **kw: ConvNeXt(CONVNEXT, **kw), pose_release),
        (
            lambda **kw: UniFormer(
                dict(embed_dims=DIMS, depths=DEPTHS, conv_stem=False), head_dim=8, **kw
            ),
            lambda: uniformer_imagenet(token_labels=True),
        ),
    ],
    ids=['original', 'timm', 'mmpretrain', 'pose', 'uniformer'],
)
def test_init_cfg_loads_every_release(tmp_path, build, weights, key):
    path = save(tmp_path / 'released.pth', weights(), key)
    net = build(init_cfg=dict(type='Pretrained', checkpoint=path))
    net.init_weights()
    done = convert_state_dict(weights())
    loaded = with_prefix('backbone', net.state_dict())
    assert len(done.keys() & loaded.keys()) > 50
    for name in done.keys() & loaded.keys():
        assert torch.equal(loaded[name], done[name]), name


def test_norms_missing_in_classifiers_keep_initial_values(tmp_path):
    path = save(tmp_path / 'net.pth', convnext_backbone('original', v2=True))
    net = ConvNeXt(CONVNEXT, init_cfg=dict(type='Pretrained', checkpoint=path))
    net.init_weights()
    assert (net.norm2.weight == 1).all()
    assert torch.equal(net.norm3.weight, convnext_backbone('original', v2=True)['norm.weight'])


@pytest.mark.parametrize('missing', ['stages.1.1.dwconv.bias', 'downsample_layers.0.0.weight'])
def test_other_missing_keys_raise(tmp_path, missing):
    weights = convnext_backbone('original', v2=True)
    del weights[missing]
    path = save(tmp_path / 'net.pth', weights)
    net = ConvNeXt(CONVNEXT, init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(CheckpointError, match='1 missing in the file: st'):
        net.init_weights()


@pytest.mark.parametrize(
    ('build', 'file_arch', 'model_arch'),
    [
        (MogaNet, 'x-tiny', 'tiny'),
        (MogaNet, 'tiny', 'x-tiny'),
        (UniFormer, 'base', 'small'),
        (ConvNeXt, 'v2-atto', 'v2-femto'),
    ],
)
def test_error_names_another_size(build, file_arch, model_arch):
    with torch.device('meta'):
        weights, net = build(file_arch).state_dict(), build(model_arch)
    with pytest.raises(CheckpointError) as caught:
        load_weights(net, weights, 'other.pth')
    kind = build.__name__
    assert str(caught.value).endswith(
        f". The file looks like {kind} '{file_arch}', the model is '{model_arch}'"
    )


def test_error_for_a_custom_architecture():
    small = dict(embed_dims=DIMS, depths=DEPTHS, ffn_ratios=(2, 2, 2, 2))
    with torch.device('meta'):
        weights = MogaNet('x-tiny').state_dict()
    with pytest.raises(
        CheckpointError, match=("looks like MogaNet 'x-tiny', the model is of no named size$")
    ):
        load_weights(MogaNet(small), weights, 'other.pth')
    with torch.device('meta'):
        weights = MogaNet({**small, 'depths': (1, 1, 1, 1)}).state_dict()
    with pytest.raises(CheckpointError) as caught:
        load_weights(MogaNet(small), weights, 'other.pth')
    assert 'looks like' not in str(caught.value)


def test_backbone_weights_do_not_load_as_pose_model(estimator):
    weights = convnext_backbone('original', v2=True)
    before = {k: v.clone() for k, v in estimator.state_dict().items()}
    with pytest.raises(
        CheckpointError,
        match=(
            r'net\.pth is not a checkpoint of this model: .*missing in the '
            r'file: .*It holds a backbone alone; to start training from it: '
            r'--cfg-options model\.backbone\.init_cfg\.type=Pretrained '
            r'model\.backbone\.init_cfg\.checkpoint=net\.pth'
        ),
    ):
        load_weights(estimator, weights, 'net.pth')
    for name, value in estimator.state_dict().items():
        assert torch.equal(value, before[name])

    load_weights(estimator, weights, 'net.pth', strict=False)
    done = convert_state_dict(weights)
    for name, value in estimator.state_dict().items():
        assert torch.equal(value, done.get(name, before[name])), name


def test_swin_loads_the_original_release(tmp_path):
    """MMPose's class loads no weight of it."""
    _, weights = original_swin()
    path = save(tmp_path / 'swin.pth', weights, 'model')
    settings = dict(
        embed_dims=16,
        depths=(2, 2),
        num_heads=(2, 4),
        window_size=4,
        strides=(4, 2),
        convert_weights=True,
        init_cfg=dict(type='Pretrained', checkpoint=path),
    )
    done = convert_state_dict(weights)
    for out_indices in ((1,), (0, 1), (0,)):
        net = SwinTransformer(out_indices=out_indices, **settings)
        net.init_weights()
        for name, value in net.state_dict().items():
            if name.startswith('norm0'):
                assert (value == name.endswith('weight')).all()
            else:
                assert torch.equal(value, done[f'backbone.{name}']), name

    other = SwinTransformer(out_indices=(1,), **{**settings, 'depths': (2, 1)})
    with pytest.raises(CheckpointError, match='unknown to the model: stages'):
        other.init_weights()
    plain = SwinTransformer(
        out_indices=(1,), **{**settings, 'init_cfg': dict(type='Constant', val=3.0, layer='Conv2d')}
    )
    plain.init_weights()
    assert (plain.patch_embed.projection.weight == 3).all()


def test_norms_of_unused_maps_may_be_missing(estimator):
    """Such files are saved by mmpretrain's ConvNeXt with one output map."""
    weights = {
        name: value + 1
        for name, value in estimator.state_dict().items()
        if not name.startswith('backbone.norm') or name.startswith('backbone.norm3')
    }
    with pytest.raises(CheckpointError, match=r'backbone\.norm0\.weight'):
        load_weights(estimator, dict(weights), 'release.pth')
    estimator.backbone.out_indices = (3,)
    load_weights(estimator, dict(weights), 'release.pth')
    for name, value in weights.items():
        assert torch.equal(estimator.state_dict()[name], value), name


@pytest.mark.parametrize(
    ('build', 'other'),
    [
        (
            lambda depth: UniFormer(
                dict(embed_dims=DIMS, depths=(1, 1, depth, 1), conv_stem=False), head_dim=8
            ),
            'blocks3.1',
        ),
        (
            lambda depth: ConvNeXt(dict(embed_dims=DIMS, depths=(1, 1, depth, 1), use_grn=False)),
            'stages.2.blocks.1',
        ),
    ],
)
def test_mmengine_loader_raises_for_another_depth(tmp_path, build, other):
    """MMEngine would load the matching weights and keep random values for the others."""
    from mmengine.runner import load_checkpoint

    first_model, other_model = build(1), build(2)
    torch.save(first_model.state_dict(), tmp_path / 'one.pth')
    torch.save(other_model.state_dict(), tmp_path / 'two.pth')
    with pytest.raises(CheckpointError, match=f'missing in the file: .*{other}'):
        load_checkpoint(other_model, str(tmp_path / 'one.pth'), strict=False)
    with pytest.raises(CheckpointError, match=f'unknown to the model: .*{other}'):
        load_checkpoint(first_model, str(tmp_path / 'two.pth'), strict=False)
    # Loading a part must be requested explicitly.
    load_weights(other_model, first_model.state_dict(), 'one.pth', strict=False)
    for name, value in first_model.state_dict().items():
        assert torch.equal(other_model.state_dict()[name], value)
