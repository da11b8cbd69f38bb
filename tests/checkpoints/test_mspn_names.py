"""Tests of the parameter names of MSPN: of the original, of MMPose and of ImageNet."""

import re
from types import MappingProxyType

import pytest
import torch
from mmpose.apis import init_model
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones.checkpoints.conversion import convert_state_dict
from pose_backbones.checkpoints.loading import get_weights, load_weights, read_checkpoint
from pose_backbones.checkpoints.names.mspn import convert_estimator
from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import MSPN
from tests.helpers import golden_values
from tests.helpers.mspn_names import to_mmpose, to_original

#: MMPose's has this width at the start of a stage, whatever the config says
BLOCKS, WIDTH = (1, 2, 1, 1), 16
SIZE = dict(num_blocks=BLOCKS, unit_channels=WIDTH)


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()


def mspn_config(stages=2, **kwargs) -> dict:
    """Return a config of `MSPNEstimator`."""
    return dict(
        type='pose_backbones.MSPNEstimator',
        backbone=dict(type='pose_backbones.MSPN', stages=stages, **SIZE, **kwargs),
        head=dict(
            type='pose_backbones.MSPNHead', stages=stages, out_shape=(16, 12), unit_channels=WIDTH
        ),
    )


def hosts(stages=2) -> dict:
    """Return the same config for MMPose's classes."""
    return dict(
        type='TopdownPoseEstimator',
        backbone=dict(type='MSPN', num_stages=stages, num_blocks=list(BLOCKS), unit_channels=WIDTH),
        head=dict(
            type='MSPNHead',
            num_stages=stages,
            out_shape=(16, 12),
            unit_channels=WIDTH,
            level_indices=[0] * 4 * stages,
            loss=dict(type='KeypointMSELoss'),
        ),
    )


def build(config: dict, seed: int = 0):
    """Return a model in which every weight affects the output."""
    torch.manual_seed(seed)
    model = MODELS.build(config).eval()
    for name, value in model.state_dict().items():
        if 'running_var' in name:
            value.uniform_(1, 3)
        elif name.endswith(('bias', 'running_mean')):
            value.normal_(std=0.1)
    return model


def units_of(model) -> list[torch.Tensor]:
    """Return the heatmaps of every unit."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        feats = model.extract_feat(torch.randn(1, 3, 64, 48, generator=generator))
        head = model.head
        return head.unit_maps(feats) if hasattr(head, 'unit_maps') else head(feats)


def assert_same(found, expected) -> None:
    assert len(found) == len(expected) == 8
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope='module')
def original() -> tuple[list[torch.Tensor], MappingProxyType]:
    """The heatmaps of a model, and its weights in the names of the original."""
    model = build(mspn_config())
    return units_of(model), MappingProxyType(to_original(model.state_dict()))


@pytest.fixture(scope='module')
def source():
    """MMPose's model, which no test changes."""
    return build(hosts())


def test_original_names_match_golden_file():
    """All names and shapes are converted in both directions."""
    record = golden_values.load('mspn_2stg_256x192')
    names = {name: tuple(shape) for name, shape in record['state']}
    config = mspn_config()
    for part in ('backbone', 'head'):
        config[part].pop('unit_channels')
    del config['backbone']['num_blocks']
    with torch.device('meta'):
        today = MODELS.build(config).state_dict()
        weights = {name: torch.empty(shape) for name, shape in names.items()}
    there = convert_estimator(weights)
    assert {name: value.shape for name, value in there.items()} == {
        name: value.shape for name, value in today.items()
    }
    back = to_original(there)
    assert {name: tuple(v.shape) for name, v in back.items()} == names


LOADERS = {
    'load_state_dict': lambda model, path: model.load_state_dict(
        get_weights(read_checkpoint(path)), strict=True
    ),
    'the file itself': lambda model, path: model.load_state_dict(torch.load(path), strict=True),
    'the tools': lambda model, path: load_weights(model, get_weights(read_checkpoint(path)), path),
}


@pytest.mark.parametrize('loader', LOADERS)
def test_original_checkpoints_load_strictly(loader, original, tmp_path):
    expected, weights = original[0], dict(original[1])
    path = str(tmp_path / 'iter-96000.pth')
    torch.save(dict(model=weights), path)
    model = build(mspn_config(), seed=1)
    LOADERS[loader](model, path)
    assert_same(units_of(model), expected)

    missing = next(name for name in weights if 'res_conv2.conv.w' in name)
    del weights[missing]
    torch.save(dict(model=weights), path)
    with pytest.raises(RuntimeError, match=r'predict_layers\.0\.conv_layers\.1\.conv\.w'):
        LOADERS[loader](model, path)


@pytest.mark.parametrize('naming', ['original', 'MMPose 0.x', 'MMPose 1.x'])
def test_init_model_loads_every_release(naming, original, source, tmp_path):
    expected, weights = original[0], dict(original[1])
    content = dict(model=weights)
    if naming != 'original':
        expected, weights = units_of(source), source.state_dict()
        if naming == 'MMPose 0.x':
            weights = {
                re.sub('^head', 'keypoint_head', name): value for name, value in weights.items()
            }
        content = dict(state_dict=weights, meta={})
    path, config = tmp_path / 'weights.pth', tmp_path / 'config.py'
    torch.save(content, path)
    config.write_text(
        f'model = {mspn_config()}\n'
        "test_dataloader = dict(dataset=dict(type='Coco'))\n"
        "default_scope = 'mmpose'\n"
    )
    model = init_model(str(config), str(path), device='cpu')
    assert_same(units_of(model), expected)
    biases = [value for name, value in model.state_dict().items() if name.endswith('conv.bias')]
    assert len(biases) > 50
    assert any(b.any() for b in biases) == (naming == 'original')


def test_mmpose_weights_round_trip(source):
    """Biases of the original are subtracted from running means."""
    model = build(mspn_config(), seed=1)
    model.load_state_dict(source.state_dict(), strict=True)
    assert_same(units_of(model), units_of(source))

    other = build(mspn_config(), seed=2)
    back = build(hosts(), seed=3)
    assert any(
        value.any() for name, value in other.state_dict().items() if name.endswith('conv.bias')
    )
    back.load_state_dict(to_mmpose(other.state_dict()), strict=True)
    assert_same(units_of(back), units_of(other))


def test_bias_without_batch_norm_cannot_be_converted_to_mmpose():
    model = MODELS.build(mspn_config(norm_cfg=dict(type='GN', num_groups=4)))
    with pytest.raises(
        ValueError, match=(r"backbone\.top\.conv\.conv\.bias has no place in MMPose's")
    ):
        to_mmpose(model.state_dict())


def test_backbone_and_head_in_mmpose_estimator(source):
    model = build(dict(mspn_config(), type='TopdownPoseEstimator'), seed=1)
    model.load_state_dict(source.state_dict(), strict=True)
    assert_same(units_of(model), units_of(source))


def test_converted_release_of_mmpose(source):
    weights = convert_state_dict(dict(state_dict=source.state_dict()))
    model = build(mspn_config(), seed=1)
    model.load_state_dict(weights, strict=True)
    assert_same(units_of(model), units_of(source))


def resnet(naming: str) -> dict[str, torch.Tensor]:
    """Return the weights of a ResNet with one block per layer and a classifier."""
    from torchvision.models.resnet import Bottleneck, ResNet

    torch.manual_seed(4)
    weights = ResNet(Bottleneck, (1, 1, 1, 1), num_classes=3).state_dict()
    if naming == 'torchvision':
        return weights
    renamed = {}
    for name, value in weights.items():
        for old, new in (
            (r'^conv1\.', 'conv.conv.'),
            (r'^bn1\.', 'conv.bn.'),
            (r'\.(conv|bn)(\d)\.', r'.conv_bn_relu\2.\1.'),
            ('downsample.0', 'downsample.conv'),
            ('downsample.1', 'downsample.bn'),
        ):
            name = re.sub(old, new, name)
        if naming == 'with the stage':
            name = re.sub('^layer', 'stage0.downsample.layer', name)
            name = re.sub('^conv', 'top.conv', name)
        renamed[name] = value
    return renamed


@pytest.mark.parametrize('naming', ['torchvision', 'renamed', 'with the stage'])
def test_imagenet_weights_are_loaded_into_every_stage(naming, tmp_path):
    path = str(tmp_path / 'resnet.pth')
    torch.save(resnet(naming), path)
    net = MSPN(
        3,
        num_blocks=(1, 1, 1, 1),
        unit_channels=8,
        init_cfg=dict(type='Pretrained', checkpoint=path),
    )
    net.init_weights()
    resnet_weights, own = resnet('torchvision'), net.state_dict()
    assert torch.equal(own['top.conv.conv.weight'], resnet_weights['conv1.weight'])
    assert torch.equal(own['top.conv.bn.running_var'], resnet_weights['bn1.running_var'])
    for stage in range(3):
        for layer in range(1, 5):
            block = f'stage{stage}.downsample.layer{layer}.0'
            given = f'layer{layer}.0'
            for name, source in (
                ('conv_bn_relu2.conv.weight', 'conv2.weight'),
                ('conv_bn_relu3.bn.bias', 'bn3.bias'),
                ('downsample.conv.weight', 'downsample.0.weight'),
                ('downsample.bn.running_mean', 'downsample.1.running_mean'),
            ):
                assert torch.equal(own[f'{block}.{name}'], resnet_weights[f'{given}.{source}'])
            assert not own[f'{block}.conv_bn_relu1.conv.bias'].any()


def test_imagenet_weights_of_another_depth_raise(tmp_path):
    path = str(tmp_path / 'resnet.pth')
    torch.save(resnet('torchvision'), path)
    net = MSPN(2, unit_channels=8, init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(CheckpointError, match='missing in the file: stage0'):
        net.init_weights()


def test_init_cfg_loads_backbone_of_checkpoint(original, tmp_path):
    weights = dict(original[1])
    path = str(tmp_path / 'iter.pth')
    torch.save(dict(model=weights), path)
    net = MSPN(2, **SIZE, init_cfg=dict(type='Pretrained', checkpoint=path))
    net.init_weights()
    for name, value in net.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_error_names_another_number_of_stages():
    weights = to_original(build(mspn_config(1)).state_dict())
    with pytest.raises(
        CheckpointError,
        match=(
            'other.pth is not a checkpoint of this model: .*'
            'The file looks like an MSPN of 1 stage, the model has 2 stages'
        ),
    ):
        load_weights(build(mspn_config(2)), weights, 'other.pth')
