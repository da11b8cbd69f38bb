"""Tests of the fusion of layers for inference: outputs match, and the source is unchanged."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule, ConvWS2d
from mmcv.cnn.bricks import wrappers as mmcv_wrappers
from mmengine.registry import MODELS
from mmpose.models.heads import HeatmapHead
from mmpose.utils import register_all_modules
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.utils import parametrizations

from pose_backbones.models.layers import packed
from pose_backbones.models.layers.conv_norm import BasicBlock, Bottleneck, ConvNorm
from pose_backbones.models.layers.depthwise import depth_wise
from pose_backbones.models.layers.fuse import (
    can_fold,
    fuse,
    fuse_conv_norm,
    has_fixed_statistics,
    scale_and_shift,
)
from pose_backbones.models.layers.mspn import BiasedConvNorm
from tests.helpers.hrcomer_cases import ARCH
from tests.helpers.random_weights import randomize

BN = dict(type='BN')


def with_statistics(module: nn.Module) -> nn.Module:
    """Set random weights and statistics, and the evaluation mode."""
    randomize(module).eval()
    return module


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


def test_norms_with_activation_are_not_folded():
    """Only norms that are affine, and convolutions whose weight is used as it is, are folded."""
    conv, norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
    assert can_fold(conv, norm)
    assert can_fold(mmcv_wrappers.Conv2d(4, 4, 1), nn.SyncBatchNorm(4))
    assert not can_fold(conv, BatchNormAct2d(4))
    assert not can_fold(conv, nn.BatchNorm2d(5))
    assert not can_fold(ConvWS2d(4, 4, 1), norm)
    assert not can_fold(parametrizations.weight_norm(nn.Conv2d(4, 4, 1)), norm)
    assert not can_fold(nn.ConvTranspose2d(4, 4, 2, groups=2), norm)
    model = nn.Sequential(conv, BatchNormAct2d(4))
    assert fuse(model) is model


@pytest.mark.parametrize(
    ('layers', 'types'),
    [
        ((nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU()), 'PackedConv2d Identity Identity'),
        (
            (nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.GELU('tanh')),
            'PackedConvTranspose2d Identity GELU',
        ),
        (
            (nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.SiLU()),
            'BatchNorm2d PackedConv2d Identity Identity SiLU',
        ),
    ],
)
def test_sequences(layers, types):
    model = with_statistics(nn.Sequential(*layers))
    fused = fuse(model)
    assert ' '.join(type(layer).__name__ for layer in fused) == types
    x = torch.randn(2, 8, 6, 5)
    with torch.no_grad():
        assert_equal_maps(fused(x), model(x))


def assert_equal_maps(maps, expected, tolerance: float = 1e-4) -> None:
    """Assert that maps are as equal as the fusion promises, relative to their range."""
    maps, expected = ([x] if isinstance(x, torch.Tensor) else x for x in (maps, expected))
    for values, reference in zip(maps, expected, strict=True):
        assert values.shape == reference.shape
        difference = (values - reference).abs().max() / (reference.max() - reference.min())
        assert difference <= tolerance


def hrnet(width: int) -> dict:
    """Return the argument `extra` of a shallow HRNet."""
    widths = [width * 2**branch for branch in range(4)]
    return {
        f'stage{stage}': dict(
            num_modules=1,
            num_branches=stage,
            block='BASIC' if stage > 1 else 'BOTTLENECK',
            num_blocks=(1,) * stage,
            num_channels=widths[:stage],
        )
        for stage in range(1, 5)
    }


WIDTHS = (8, 16, 24, 32)
#: backbone → arguments and whether its maps have channels first in memory
BACKBONES = {
    'pose_backbones.MogaNet': dict(
        arch=dict(embed_dims=WIDTHS, depths=(1, 2, 1, 1), ffn_ratios=(8, 8, 4, 4))
    ),
    'pose_backbones.UniFormer': dict(
        arch=dict(embed_dims=WIDTHS, depths=(1, 2, 4, 1), conv_stem=False),
        head_dim=8,
        layer_scale_init_value=1.0,
        attention='hybrid',
        window_size=3,
    ),
    'UniFormer, stem': dict(
        arch=dict(embed_dims=WIDTHS, depths=(1, 1, 1, 1), conv_stem=True), head_dim=8
    ),
    'pose_backbones.ConvNeXt': dict(
        arch=dict(embed_dims=WIDTHS, depths=(1, 2, 1, 1), use_grn=False)
    ),
    'ConvNeXt, V2': dict(arch=dict(embed_dims=WIDTHS, depths=(1, 2, 1, 1), use_grn=True)),
    'pose_backbones.MSPN': dict(
        stages=2, num_blocks=(1, 2, 1, 1), base_channels=8, unit_channels=16
    ),
    'pose_backbones.HRCoMer': dict(arch=ARCH),
    'mmpose.ResNet': dict(depth=18, stem_channels=8, base_channels=8, out_indices=(0, 3)),
    'ResNet, 50': dict(depth=50, stem_channels=8, base_channels=8, deep_stem=True),
    'mmpose.HRNet': dict(extra=hrnet(8)),
    'mmpose.CSPNeXt': dict(
        deepen_factor=0.167, widen_factor=0.125, out_indices=(3, 4), act_cfg=dict(type='SiLU'),
        norm_cfg=BN,
    ),
}  # yapf: disable
KINDS = {'UniFormer': 'pose_backbones.', 'ConvNeXt': 'pose_backbones.', 'ResNet': 'mmpose.'}
each_backbone = pytest.mark.parametrize('name', BACKBONES)


def backbone(name: str) -> nn.Module:
    """Return a small backbone in evaluation mode, with random weights and statistics."""
    register_all_modules()
    kind = name.split(',')[0]
    net = MODELS.build(dict(BACKBONES[name], type=KINDS.get(kind, '') + kind))
    with_statistics(net)
    return net


@each_backbone
def test_backbones_match(name):
    """For several sizes, batches and layouts, in turns; the source is not changed."""
    net = backbone(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fused = fuse(net)
    copied = copy.deepcopy(fused)
    with torch.no_grad():
        for batch, size in ((1, (64, 96)), (3, (128, 64)), (2, (64, 96))):
            x = torch.randn(batch, 3, *size)
            expected = net(x)
            for model in (fused, copied):
                assert_equal_maps(model(x), expected)
            assert_equal_maps(fused(x.contiguous(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match=r'(Missing|Unexpected) key|does not match'):
        fused.load_state_dict(before)


@each_backbone
def test_large_batches_match(name, monkeypatch):
    """Images that do not fit into the cache together are computed one after the other."""
    monkeypatch.setattr(packed, '_CACHED', 1)
    net, x = backbone(name), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        assert_equal_maps(fuse(net)(x), net(x))


@each_backbone
def test_backbones_match_in_mixed_precision(name):
    net, x = backbone(name), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast('cpu', torch.bfloat16):
            unfused, fused = net(x), fuse(net)(x)
    for half, reference, values in zip(fused, expected, unfused):
        scale = reference.abs().max()
        bound = max(3 * (values - reference).abs().max() / scale, 0.05)
        assert (half - reference).abs().max() / scale < bound


@pytest.mark.filterwarnings('ignore')  # of the tracers
@each_backbone
def test_traces_and_exported_programs_have_any_batch(name):
    net = backbone(name)
    fused, x = fuse(net), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        traced = torch.jit.trace(fused, x, check_trace=False)
        batch = torch.export.Dim('batch', min=1, max=8)
        exported = torch.export.export(fused, (x,), dynamic_shapes=({0: batch},)).module()
        for count in (3, 5):
            x = torch.randn(count, 3, 64, 64)
            for graph in (traced, exported):
                assert_equal_maps(graph(x), net(x))


@pytest.mark.filterwarnings('ignore')  # of the compiler
@pytest.mark.parametrize(
    'name', ['pose_backbones.MogaNet', 'pose_backbones.ConvNeXt', 'mmpose.ResNet']
)
def test_fused_backbones_compile_to_one_graph(name):
    net, x = backbone(name), torch.randn(2, 3, 64, 64)
    torch.compiler.reset()
    compiled = torch.compile(fuse(net), backend='eager', fullgraph=True)
    with torch.no_grad():
        assert_equal_maps(compiled(x), net(x))


@pytest.mark.parametrize('deconv', [(), (16, 8)])
def test_heatmap_head(deconv):
    """The heatmaps have channels first in memory, as NumPy and OpenCV expect."""
    head = with_statistics(
        HeatmapHead(
            32, 5, deconv, (4,) * len(deconv), conv_out_channels=(8,), conv_kernel_sizes=(3,)
        )
    )
    fused, x = fuse(head), torch.randn(2, 32, 8, 6)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        maps = fused((x,))
        assert_equal_maps(maps, head((x,)))
    assert maps.is_contiguous()


def test_heads_with_another_forward_are_not_fused():
    class Other(HeatmapHead):
        def forward(self, feats):
            return super().forward(feats)

    head = with_statistics(Other(8, 5, None, None))
    assert fuse(head) is head


@pytest.mark.parametrize('activation', ['ReLU', 'SiLU', None])
@pytest.mark.parametrize('conv', [None, dict(type='deconv')])
def test_conv_module(conv, activation):
    layer = with_statistics(
        ConvModule(
            8,
            6,
            3,
            padding=1,
            conv_cfg=conv,
            norm_cfg=BN,
            act_cfg=activation and dict(type=activation),
        )
    )
    fused, x = fuse(layer), torch.randn(2, 8, 5, 6)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        assert_equal_maps(fused(x), layer(x))
    before = ConvModule(8, 8, 3, norm_cfg=BN, order=('norm', 'conv', 'act'))
    assert fuse(before) is before


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
