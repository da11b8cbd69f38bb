"""Tests of the fusion of layers for inference: outputs match, and the source is unchanged."""

import pytest
import torch
from torch import nn

from pose_backbones.models.layers.conv_norm import BasicBlock, Bottleneck, ConvNorm
from pose_backbones.models.layers.depthwise import depth_wise
from pose_backbones.models.layers.fuse import (
    fuse,
    fuse_conv_norm,
    has_fixed_statistics,
    scale_and_shift,
)
from pose_backbones.models.layers.mspn import BiasedConvNorm
from tests.helpers.random_weights import randomize

BN = dict(type='BN')


@pytest.mark.parametrize('affine', [True, False])
def test_scale_and_shift(affine):
    norm = randomize(nn.BatchNorm2d(6, affine=affine)).eval()
    x = torch.randn(2, 6, 3, 4)
    scale, shift = scale_and_shift(norm)
    torch.testing.assert_close(x * scale[:, None, None] + shift[:, None, None], norm(x))


def test_has_fixed_statistics():
    assert has_fixed_statistics(nn.BatchNorm2d(3))
    assert has_fixed_statistics(nn.SyncBatchNorm(3))
    assert not has_fixed_statistics(nn.BatchNorm2d(3, track_running_stats=False))
    assert not has_fixed_statistics(nn.GroupNorm(1, 3))


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('affine', [True, False])
def test_fuse_conv_norm(bias, affine):
    conv = randomize(nn.Conv2d(4, 6, 3, 2, 1, dilation=2, groups=2, bias=bias)).eval()
    norm = randomize(nn.BatchNorm2d(6, affine=affine)).eval()
    x = torch.randn(2, 4, 9, 8)
    fused = fuse_conv_norm(conv, norm)
    torch.testing.assert_close(fused(x), norm(conv(x)), rtol=1e-4, atol=1e-5)
    assert not any(value.requires_grad for value in fused.parameters())


@pytest.mark.parametrize(
    ('build', 'count'),
    [
        (lambda norm: ConvNorm(8, 8, norm), 1),
        (lambda norm: ConvNorm(8, 8, norm, kernel=3, relu=False), 1),
        (lambda norm: BiasedConvNorm(8, 8, norm), 1),
        (lambda norm: BasicBlock(8, norm), 2),
        (lambda norm: Bottleneck(8, 8, norm), 3),
        (lambda norm: Bottleneck(8, 16, norm), 4),
        (lambda norm: nn.ModuleDict(dict(a=nn.Sequential(ConvNorm(8, 8, norm))))['a'], 1),
    ],
)
def test_fused_blocks_match(build, count):
    """Every batch norm is folded, other norms stay, and the block keeps its weights."""
    block = randomize(build(BN)).eval()
    before = {name: value.clone() for name, value in block.state_dict().items()}
    x = torch.randn(2, 8, 5, 6)
    fused = fuse(block)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in block.modules()) == count
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        torch.testing.assert_close(fused(x), block(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dict(block.state_dict()), before, rtol=0, atol=0)
    other = build(dict(type='GN', num_groups=2))
    assert fuse(other) is other


def test_other_children_are_shared():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), randomize(ConvNorm(8, 8, BN)).eval(), nn.Linear(4, 4))
    fused = fuse(model)
    assert fused is not model
    assert fused[0] is model[0]
    assert fused[1] is not model[1]
    assert fused[2] is model[2]
    assert list(model[1].state_dict()) == list(ConvNorm(8, 8, BN).state_dict())


def test_is_affine_before_and_after_fusing():
    """`MSPN` moves such layers in front of an interpolation."""
    layer = BiasedConvNorm(4, 4, BN, relu=False).eval()
    assert layer.is_affine
    assert fuse(layer).is_affine
    assert not layer.train().is_affine
    assert not BiasedConvNorm(4, 4, BN).eval().is_affine
    assert not fuse(BiasedConvNorm(4, 4, BN)).is_affine
    assert not BiasedConvNorm(4, 4, dict(type='GN', num_groups=2), relu=False).eval().is_affine


@pytest.mark.parametrize('size', [(8, 6), (9, 9), (7, 11), (1, 1), (2, 16)])
@pytest.mark.parametrize(('kernel', 'dilation'), [(5, 1), (5, 2), (7, 3), (3, 4)])
def test_depth_wise_matches_conv2d(size, kernel, dilation):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, kernel, padding=kernel // 2 * dilation, dilation=dilation, groups=4)
    x = torch.randn(2, 4, *size)
    with torch.no_grad():
        output = depth_wise(x.permute(0, 2, 3, 1), conv).permute(0, 3, 1, 2)
        torch.testing.assert_close(output, conv(x))
        if dilation > 1:  # the slow operator is not called
            conv._conv_forward = None
            depth_wise(x.permute(0, 2, 3, 1), conv)
