"""Tests of the Swin configs with files like those of the configs and the model zoo."""

import copy
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.model.weight_init import PretrainedInit
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

from pose_backbones.checkpoints.loading import load_weights
from pose_backbones.errors import CheckpointError
from tests.helpers.tools import ROOT

LEAVES = sorted(path.name for path in (ROOT / 'configs/swin').glob('*.py'))


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()


def small(leaf: str, **backbone):
    """Return the config of a model with an eighth of the width and one block per stage."""
    model = Config.fromfile(str(ROOT / 'configs/swin' / leaf)).model
    model.backbone.update(
        embed_dims=model.backbone.embed_dims // 8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 4)
    )
    model.backbone.update(backbone)
    model.head.in_channels //= 8
    return model


def filled(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Return the module with random weights."""
    generator = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        value.data.normal_(generator=generator)
    return module


@pytest.mark.parametrize('leaf', LEAVES)
def test_pose_release_of_mmpose_0x_loads(leaf):
    """The release was trained with the norms of all four maps."""
    backbone = dict(init_cfg=None, out_indices=(0, 1, 2, 3))
    released = filled(MODELS.build(small(leaf, **backbone)), 1).state_dict()
    old = {re.sub('^head', 'keypoint_head', name): value for name, value in released.items()}
    model = filled(MODELS.build(small(leaf, init_cfg=None)), 2)
    load_weights(model, dict(old), 'release.pth')
    for name, value in model.state_dict().items():
        assert torch.equal(value, released[name]), name
    del old['backbone.norm3.weight']
    with pytest.raises(CheckpointError, match=r'1 missing key: backbone\.norm3\.weight$'):
        load_weights(model, old, 'release.pth')


@pytest.mark.parametrize('leaf', LEAVES)
def test_init_cfg_loads_windows_of_the_configured_file(leaf, tmp_path):
    config = small(leaf)
    named = int(re.search(r'window(\d+)', config.backbone.init_cfg.checkpoint)[1])
    source = copy.deepcopy(config.backbone)
    source.update(init_cfg=None, window_size=named)
    source = filled(MODELS.build(source), 1).state_dict()
    path = tmp_path / 'imagenet.pth'
    torch.save({'model': source}, path)
    config.backbone.init_cfg.checkpoint = str(path)
    net = filled(MODELS.build(config.backbone), 2)
    net.init_weights()
    for name, value in net.state_dict().items():
        if value.shape == source[name].shape:
            assert torch.equal(value, source[name]), name
            continue
        assert 'relative_position' in name
        if name.endswith('table'):  # the bias of a cell to itself, and shape
            middle = len(value) // 2
            expected = source[name][len(source[name]) // 2]
            torch.testing.assert_close(value[middle], expected)
    same_window = config.backbone.window_size == named
    assert same_window == (
        net.state_dict().keys() == source.keys()
        and all(value.shape == source[name].shape for name, value in net.state_dict().items())
    )


@pytest.mark.parametrize('kind', ['Pretrained', PretrainedInit])
def test_original_names_are_converted_by_default(tmp_path, kind):
    from tests.helpers.releases import original_swin

    _, weights = original_swin()
    torch.save({'model': weights}, tmp_path / 'original.pth')
    net = MODELS.build(
        dict(
            type='pose_backbones.SwinTransformer',
            embed_dims=16,
            depths=(2, 2),
            num_heads=(2, 4),
            window_size=4,
            strides=(4, 2),
            out_indices=(1,),
            init_cfg=dict(type=kind, checkpoint=str(tmp_path / 'original.pth')),
        )
    )
    net.init_weights()
    assert torch.equal(net.patch_embed.projection.weight, weights['patch_embed.proj.weight'])
