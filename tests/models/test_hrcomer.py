"""Tests of the backbone and head of HRCoMer."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import deform_conv2d

from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import ConvNeXt, HRCoMer
from pose_backbones.models.backbones.hrcomer import BaseNet
from pose_backbones.models.heads import HRCoMerHead
from pose_backbones.models.heads.hrcomer_branches import sample
from pose_backbones.models.layers.adaptive_conv import (
    AdaptiveActivationBlock,
    PointReader,
    deform,
    deform_by_operator,
)
from pose_backbones.models.layers.fuse import fuse
from tests.helpers import golden_values
from tests.helpers.hrcomer_cases import ARCH, DECODER, FLIP, SIGMAS
from tests.helpers.random_weights import randomize


def head(**kwargs) -> HRCoMerHead:
    """Return a small head for 5 joints; about every third query is a person."""
    settings = dict(
        in_channels=ARCH['embed_dims'],
        num_keypoints=5,
        confidence_channels=4,
        heatmap_channels=4,
        joint_channels=2,
        refine_channels=2,
        decoder=DECODER,
        limbs=[[0, 1], [1, 2]],
    )
    return randomize(HRCoMerHead(**{**settings, **kwargs})).eval()


def maps(count: int = 2, seed: int = 1) -> list[torch.Tensor]:
    """Return feature maps of strides 4 to 32, for images of 64x96."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(count, channels, 16 // 2**i, 24 // 2**i, generator=generator)
        for i, channels in enumerate(ARCH['embed_dims'])
    ]


@pytest.fixture(scope='module')
def golden() -> dict:
    """Return the recorded outputs of the original base model and their inputs."""
    record = golden_values.load('hrcomer_base_coco')
    weights = golden_values.weights(record)
    backbone, head = HRCoMer('base').eval(), HRCoMerHead().eval()
    part = 'backbone.'
    backbone.load_state_dict(
        {name.removeprefix(part): value for name, value in weights.items() if name.startswith(part)}
    )
    head.load_state_dict(
        {name: value for name, value in weights.items() if not name.startswith(part)}
    )
    with torch.no_grad():
        feats = backbone(golden_values.image(record))
        outputs = head(feats)
    count = sum(p.numel() for net in (backbone, head) for p in net.parameters())
    all_outputs = [
        *feats,
        *(logits.sigmoid() for logits in outputs['confidences']),
        *outputs['joints_refined'],
        outputs['heatmaps'],
    ]
    return dict(record=record, params=count, all_outputs=all_outputs)


def test_parameter_count_matches_original(golden):
    assert golden['params'] == golden['record']['params'] == 117044070


@pytest.mark.parametrize('index', range(11))
def test_outputs_match_original(golden, index):
    assert len(golden['all_outputs']) == len(golden['record']['outputs']) == 11
    output, expected = (golden['all_outputs'][index], golden['record']['outputs'][index])
    assert list(output.shape) == expected['shape']
    values = output.flatten()[expected['idx']].numpy()
    worst = np.abs(values - expected['values']).max()
    assert worst <= 1e-4 * expected['absmax']
    assert output.mean().item() == pytest.approx(expected['mean'], rel=1e-4)
    assert output.std(correction=0).item() == pytest.approx(expected['std'], rel=1e-4)


def test_deform_matches_torchvision():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 12, 7, 9), torch.randn(12, 4, 3, 3)
    affine = 3 * torch.randn(2, 3 * 6, 7, 9)
    taps = AdaptiveActivationBlock(12, 3, dict(type='BN')).regular_matrix
    # The affine map of each pixel and group displaces the taps of the kernel.
    offsets = torch.einsum('ngdahw,at->ngtdhw', affine.unflatten(1, (3, 2, 3)), taps)
    expected = deform_conv2d(x, offsets.flatten(1, 3), weight, padding=1)
    torch.testing.assert_close(deform(x, affine, taps, weight), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(deform_by_operator(x, affine, taps, weight), expected)


def test_initial_adaptive_block_is_a_residual_convolution():
    torch.manual_seed(0)
    block = AdaptiveActivationBlock(6, 3, dict(type='BN')).eval()
    x = torch.randn(1, 6, 5, 8)
    convolved = nn.functional.conv2d(x, block.adapt_conv.weight, padding=1, groups=3)
    expected = nn.functional.relu(convolved / (1 + 1e-5) ** 0.5 + x)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="'GN'.*expected a batch norm"):
        AdaptiveActivationBlock(6, 3, dict(type='GN', num_groups=3))


def test_point_reader_matches_the_whole_map():
    blocks = [
        randomize(AdaptiveActivationBlock(6, 3, dict(type='BN')), seed).eval() for seed in (1, 2)
    ]
    x = torch.randn(2, 6, 7, 9, generator=torch.Generator().manual_seed(3))
    full_map = blocks[1](blocks[0](x)).unflatten(1, (3, 2))
    reader = PointReader(x, 3, blocks)
    y, x_ = (
        side.flatten() for side in torch.meshgrid(torch.arange(7), torch.arange(9), indexing='ij')
    )
    points = torch.stack((x_, y), -1).expand(2, 3, -1, 2)
    map_of_points = reader.at(points).transpose(2, 3).unflatten(3, (7, 9))
    torch.testing.assert_close(map_of_points, full_map, rtol=1e-4, atol=1e-4)
    outside = points[:, :, :4] - 8
    assert not reader.at(outside).any()
    between = torch.rand(2, 3, 50, 2) * torch.tensor((12.0, 10)) - 2
    torch.testing.assert_close(
        reader.sample(between),
        PointReader(full_map.flatten(1, 2), 3, []).sample(between),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize('use_grn', [True, False])
def test_fused_stages_match_timm(use_grn):
    arch = dict(ARCH['base_net'], use_grn=use_grn)
    net = randomize(BaseNet(arch, 0.0, False, False, None)).eval()
    fused = net.fused()
    x = torch.randn(2, 3, 64, 96)
    for index in range(4):
        assert fused.stages[index] is not net.stages[index]
        with torch.no_grad():
            expected = net.stage(x, index)
            torch.testing.assert_close(fused.stage(x, index), expected, rtol=1e-4, atol=1e-4)
        x = expected


def test_fused_backbone_and_head_match():
    """Outputs also match in mixed precision, and the fused backbone has no batch norm."""
    backbone, net = randomize(HRCoMer(ARCH)).eval(), head()
    fused, fused_head = fuse(backbone), fuse(net)
    norms = [name for name, module in fused.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert not norms
    remaining = [
        name for name, module in fused_head.named_modules() if isinstance(module, _BatchNorm)
    ]
    assert remaining
    assert all('.filter_block' in name for name in remaining)  # of adaptive blocks
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        feats = backbone(x)
        torch.testing.assert_close(fused(x), feats, rtol=1e-3, atol=1e-3)
        candidates, expected = fused_head.forward_candidates(feats), net.forward_candidates(feats)
        for name in expected:
            torch.testing.assert_close(candidates[name], expected[name], rtol=1e-3, atol=1e-3)
        with torch.autocast('cpu', torch.bfloat16):
            half = fused(x)
    for output, expected_output in zip(half, feats):
        assert (output - expected_output).abs().max() < 0.1 * expected_output.abs().max()


def test_drop_path_rate_rises_linearly():
    net = HRCoMer(ARCH, drop_path_rate=(0.1, 0.45)).base_net
    rates = [block.drop_path.drop_prob for stage in net.stages for block in stage.blocks]
    np.testing.assert_allclose(rates, np.linspace(0.1, 0.45, 8))
    assert [dropout.p for dropout in net.dropouts] == [0] * 4
    net = HRCoMer(ARCH, drop_path_rate=(0.1, 0.45), dropout_after_downsampling=True).base_net
    np.testing.assert_allclose([dropout.p for dropout in net.dropouts], [0.1, 0.15, 0.25, 0.4])
    x = torch.ones(1, 3, 64, 64)
    for block in net.stages[0].blocks:
        block.forward = lambda x: x
    zeros = (net.train().stage(x, 0) == 0).float().mean()
    assert 0.02 < zeros < 0.25
    assert (net.eval().stage(x, 0) != 0).all()
    for rate in ((0.1, 0.2, 0.3), 'half'):
        with pytest.raises(TypeError, match='drop_path_rate is'):
            HRCoMer(ARCH, drop_path_rate=rate)


def test_freeze_every_second_block():
    net = HRCoMer(ARCH, frozen_stages=2, freeze_every_second_block=True)
    net.train()
    blocks = [list(stage.blocks) for stage in net.base_net.stages]
    frozen = [
        [
            not any(p.requires_grad for p in block.parameters()) and not block.training
            for block in stage
        ]
        for stage in blocks
    ]
    assert frozen == [[False], [False, True], [False, True, False], [False, False]]
    assert all(p.requires_grad for p in net.base_net.stem.parameters())
    frozen_net = HRCoMer(ARCH, frozen_stages=2)
    assert not any(
        p.requires_grad
        for stage in range(3)
        for p in frozen_net.base_net.stages[stage].parameters()
    )
    assert not any(p.requires_grad for p in frozen_net.base_net.stem.parameters())
    assert all(p.requires_grad for p in frozen_net.hr_adapter.parameters())


def test_norm_cfg():
    parts = (
        HRCoMer(ARCH, norm_cfg=dict(type='SyncBN')).hr_adapter,
        head(norm_cfg=dict(type='SyncBN')),
    )
    for part in parts:
        norms = [m for m in part.modules() if isinstance(m, _BatchNorm)]
        assert norms
        assert all(isinstance(m, nn.SyncBatchNorm) for m in norms)


def test_invalid_image_size_raises():
    with pytest.raises(ValueError, match='64x80 .*multiples of 32'):
        HRCoMer(ARCH)(torch.zeros(1, 3, 64, 80))


@pytest.mark.parametrize('method', ['small', 'kaiming'])
def test_conv_init(method):
    torch.manual_seed(0)
    net = HRCoMer(ARCH, conv_init=method)
    net.init_weights()
    head = HRCoMerHead(ARCH['embed_dims'], 5, decoder=DECODER, limbs=[(0, 1)], conv_init=method)

    def expected(conv):
        if method == 'small' or conv.bias is not None:
            return 0.001
        return (2 / (conv.out_channels * conv.kernel_size[0] ** 2)) ** 0.5

    for conv in (
        net.hr_adapter.stage2[0].branches[1][0].conv1,
        net.hr_adapter.trans_b2h[3].conv[0],
        head.confidences_head.filter_blocks[0].conv2,
        head.joints_head.trans_blocks[1][0],
        head.joints_head.reg_layer,
    ):
        assert conv.weight.std().item() == pytest.approx(expected(conv), rel=0.2)
    for block in head.refine_head.filter_block:
        assert not block.transform_matrix_conv.weight.any()
    # The initial confidence is 0.01.
    assert head.confidences_head.cls_layer.bias.item() == pytest.approx(-np.log(99), rel=1e-5)


@pytest.mark.parametrize(
    'make', [lambda: HRCoMer(ARCH, conv_init='xavier'), lambda: HRCoMerHead(conv_init='xavier')]
)
def test_unknown_conv_init_raises(make):
    with pytest.raises(ValueError, match="conv_init is 'xavier': expected 'small' or 'kaiming'"):
        make()


def test_init_cfg_of_base_network_and_adapter(tmp_path, caplog):
    source = randomize(HRCoMer(ARCH), seed=3).eval()
    base = {f'norm.{leaf}': torch.ones(32) for leaf in ('weight', 'bias')}
    base.update({'head.weight': torch.ones(9, 32)}, **source.base_net.state_dict())
    hrnet = {
        f'layer1{name[6:]}' if name.startswith('stage1.') else name: value
        for name, value in source.hr_adapter.state_dict().items()
        if name.startswith(('stage1.0', 'stage2', 'stage3'))
    }
    hrnet.update({'transition1.0.0.weight': torch.ones(3), 'layer1.1.conv1.weight': torch.ones(3)})
    torch.save({'model': base}, tmp_path / 'base.pth')
    torch.save(hrnet, tmp_path / 'hrnet.pth')
    parts = dict(
        base_init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'base.pth')),
        adapter_init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'hrnet.pth')),
    )
    net = HRCoMer(ARCH, **parts)
    with caplog.at_level('INFO', 'mmengine'):
        net.init_weights()
    for name, value in source.base_net.state_dict().items():
        assert torch.equal(net.base_net.state_dict()[name], value)
    state = net.hr_adapter.state_dict()
    for name, value in source.hr_adapter.state_dict().items():
        equal = torch.equal(state[name], value)
        from_file = name.startswith(('stage1.0', 'stage2', 'stage3'))
        assert equal == from_file or value.ndim < 2, name
    assert 1e-4 < state['stage4.0.branches.0.0.conv1.weight'].std() < 2e-3
    wide = dict(ARCH, embed_dims=(8, 16, 32, 64))
    with pytest.raises(CheckpointError, match='width of this adapter.*shape'):
        HRCoMer(wide, **parts).init_weights()
    other = dict(type='Pretrained', checkpoint=str(tmp_path / 'other.pth'))
    torch.save(ConvNeXt('v2-femto').state_dict(), other['checkpoint'])
    with pytest.raises(
        CheckpointError,
        match=(
            r"other.pth is not .* appears to be BaseNet 'v2-femto', but the model is "
            "'v2-atto'"
        ),
    ):
        HRCoMer('atto', base_init_cfg=other).init_weights()
    with pytest.raises(CheckpointError, match='hrnet.pth is not a checkpoint.* missing keys: stem'):
        HRCoMer('atto', base_init_cfg=parts['adapter_init_cfg']).init_weights()
    with pytest.raises(ValueError, match='either it, or base_init_cfg'):
        HRCoMer(ARCH, init_cfg=parts['base_init_cfg'], **parts)
    with pytest.raises(ValueError, match='adapter is .*expected None or'):
        HRCoMer(ARCH, adapter_init_cfg=dict(type='Normal', layer='Conv2d'))


def test_mismatched_weights_are_listed(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'pose_backbones.checkpoints.loading.print_log', lambda text, **_: lines.append(text)
    )
    adapter = HRCoMer(ARCH).hr_adapter
    weights = {
        'layer1.0.conv1.weight': torch.ones_like(adapter.stage1[0].conv1.weight),
        'transition1.0.0.weight': torch.ones(3),
    }
    torch.save(weights, tmp_path / 'hrnet.pth')
    adapter = HRCoMer(
        ARCH, adapter_init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'hrnet.pth'))
    ).hr_adapter
    adapter.init_weights()
    assert (adapter.stage1[0].conv1.weight == 1).all()
    assert 'unexpected key: transition1.0.0.weight' in lines[0]
    assert 'missing key: stage1.0.conv2.weight' in lines[0]
    assert 'missing key: stage1.0.conv1.weight' not in lines[0]


def test_joints_are_offsets_from_the_query_center():
    net = head()
    net.joints_head.reg_layer.weight.data.zero_()
    bias = torch.tensor((0.25, -1.0)).repeat(5)
    net.joints_head.reg_layer.bias.data = bias
    with torch.no_grad():
        joints = net(maps())['joints']
    for level, level_joints in enumerate(joints):
        assert level_joints.shape == (2, 8 // 2**level, 12 // 2**level, 5, 2)
        cell = 2 ** (level + 1)
        expected = ((3 // 2**level + 0.75) * cell, (1 - 0.5) * cell)
        assert level_joints[0, 1, 3 // 2**level, 2].tolist() == pytest.approx(expected, abs=1e-5)


def test_refinement_matches_original_loop():
    """The original samples the offsets of each joint separately."""
    net, feats = head(), maps()
    with torch.no_grad():
        outputs, short = net(feats), net.refine_head(feats[0])
    for joints, refined in zip(outputs['joints'], outputs['joints_refined']):
        for k in range(5):
            place = joints[:, :, :, k] / torch.tensor((24.0, 16.0)) * 2 - 1
            offsets = nn.functional.grid_sample(
                short[:, k], place, padding_mode='border', align_corners=False
            )
            torch.testing.assert_close(
                refined[:, :, :, k],
                joints[:, :, :, k] + offsets.permute(0, 2, 3, 1),
                rtol=1e-4,
                atol=1e-4,
            )


def test_refinement_at_nan_is_nan():
    """PyTorch's grid_sample returns numbers and its gradient writes to arbitrary addresses."""
    offsets = torch.randn(2, 3, 2, 4, 6, requires_grad=True)
    joints = torch.rand(2, 5, 3, 2) * 4
    expected = sample(offsets, joints).detach()
    joints[0, 1, 2] = torch.nan
    joints[1, 3, 0, 1] = torch.nan
    is_nan = joints.isnan().any(-1)
    values = sample(offsets, joints)
    assert values[is_nan].isnan().all()
    assert torch.equal(values[~is_nan], expected[~is_nan])
    values[~is_nan].sum().backward()
    assert offsets.grad.isfinite().all()


def test_refinement_has_no_gradient_for_joints():
    net = head().train()
    outputs = net(maps())
    sum(level_joints.sum() for level_joints in outputs['joints_refined']).backward()
    assert net.refine_head.reg_layer.weight.grad.any()
    assert net.joints_head.reg_layer.weight.grad is None


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('flip', [None, FLIP])
def test_forward_candidates_matches_forward(flip, half):
    """Positions are float32 also in mixed precision."""
    net = head()
    feats = maps(4 if flip else 2)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=half):
        everything, chosen = net(feats, flip), net.forward_candidates(feats, flip)
    everything['joints'] = everything['joints_refined']
    expected = net.decoder.decode([everything])
    decoded = net.decoder.decode([chosen])
    assert [len(poses) for poses, _ in decoded] == [6, 6]
    for actual_pair, expected_pair in zip(decoded, expected):
        if half:  # queries of the same confidence have any order
            actual_pair, expected_pair = (
                [values[poses[:, 0, 0].argsort()] for values in (poses, scores)]
                for poses, scores in (actual_pair, expected_pair)
            )
        torch.testing.assert_close(actual_pair[0], expected_pair[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(actual_pair[1], expected_pair[1], rtol=1e-3, atol=1e-4)


def test_only_confident_queries_are_computed():
    net = head()
    feats = maps()
    with torch.no_grad():
        values = net.forward_candidates(feats)['confidences'][0].sigmoid().flatten(1)
        net.decoder.score_threshold = values[:, 2].max().item()
        few = net.forward_candidates(feats)
        net.decoder.score_threshold = 0.9999
        none = net.forward_candidates(feats)
    expected = (values > values[:, 2].max()).sum(1)
    assert few['joints'][0].shape == (2, 1, expected.max(), 5, 2)
    assert none['joints'][0].shape == (2, 1, 0, 5, 2)
    assert [len(poses) for poses, _ in net.decoder.decode([none])] == [0, 0]


def test_flip_test_averages_mirrored_images():
    """For mirrored feature maps, a symmetric head predicts the same in both halves."""
    net, (first, *others) = head(), maps(1)
    other = maps(1, seed=9)[0]
    with torch.no_grad():
        unflipped, mirrored = net([first, *others]), net([other, *others])
        both = net([torch.cat((first, other)), *(torch.cat((x, x)) for x in others)], FLIP)
        shorts = [net.refine_head(x) for x in (first, other)]
    maps_ = mirrored['heatmaps'].flip(-1)[:, FLIP]
    torch.testing.assert_close(both['heatmaps'], (unflipped['heatmaps'] + maps_) / 2)
    back = shorts[1].flip(-1)[:, FLIP] * torch.tensor((-1.0, 1)).view(2, 1, 1)
    mean = (shorts[0] + back) / 2
    joints = unflipped['joints'][0]
    torch.testing.assert_close(both['joints'][0], joints)
    torch.testing.assert_close(
        both['joints_refined'][0].flatten(1, 2),
        joints.flatten(1, 2) + sample(mean, joints.flatten(1, 2)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_outputs_are_float32_in_mixed_precision():
    net, feats = head(), maps()
    with torch.no_grad():
        expected = net(feats)
        with torch.autocast('cpu', torch.bfloat16):
            outputs = net(feats)
    for name in ('confidences', 'joints', 'joints_refined'):
        for output, expected_output in zip(outputs[name], expected[name]):
            assert output.dtype == torch.float32
            error = (output - expected_output).abs().mean()
            assert 0 < error < 0.02 * expected_output.abs().max(), name
    assert outputs['heatmaps'].dtype == torch.float32


def values(net: HRCoMerHead, feats: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return all outputs of `forward` and `forward_candidates`, and the losses, as one list."""
    outputs, candidates = net(feats), net.forward_candidates(feats)
    heatmaps, mask = torch.zeros(2, 5, 16, 24), torch.ones(2, 16, 24)
    losses = net.compute_losses(outputs, targets(), heatmaps, mask)
    tensors = list(losses.values())
    for some in (outputs, candidates):
        for value in some.values():
            tensors += [value] if torch.is_tensor(value) else value
    return tensors


def test_double_precision_is_kept():
    net = head()
    expected = values(net, maps())
    actual = values(net.double(), [x.double() for x in maps()])
    assert {x.dtype for x in actual} == {torch.float64}
    torch.testing.assert_close([x.float() for x in actual], expected, rtol=1e-3, atol=1e-3)


def test_head_compiles_to_one_graph():
    net = head()
    with torch.no_grad():
        expected = net(maps())
        outputs = torch.compile(net, backend='eager', fullgraph=True)(maps())
    torch._dynamo.reset()
    torch.testing.assert_close(outputs, expected)


def targets() -> dict:
    """Return targets (2, 3, …) of two people in the first image and none in the second."""
    joints = torch.zeros(2, 3, 5, 3)
    joints[0, 0] = torch.tensor((5.0, 4, 1))
    joints[0, 1] = torch.tensor((17.0, 9, 1))
    joints[0, 1, 3] = 0
    areas = torch.tensor([[30.0, 60, 0], [0, 0, 0]])
    return dict(joints=joints, areas=areas, sizes=areas.sqrt())


def test_losses_use_assigned_queries():
    net = head().train()
    feats, goal = maps(), targets()
    outputs = net(feats)
    heatmaps, mask = torch.zeros(2, 5, 16, 24), torch.ones(2, 16, 24)
    heatmaps[0, :, 4, 5] = 1
    mask[1, :, 12:] = 0
    losses = net.compute_losses(outputs, goal, heatmaps, mask)
    assert set(losses) == {'loss_confidence', 'loss_joint', 'loss_limb', 'loss_oks', 'loss_heatmap'}
    joints = torch.cat([x.flatten(1, 2) for x in outputs['joints']], 1)
    refined = torch.cat([x.flatten(1, 2) for x in outputs['joints_refined']], 1)
    logits = torch.cat([x.flatten(1) for x in outputs['confidences']], 1)
    valid = torch.ones_like(logits)
    for start, (h, w) in zip((0, 96, 120), ((8, 12), (4, 6), (2, 3))):
        valid[1, start : start + h * w].view(h, w)[:, (w + 1) // 2 :] = 0
    image, query, person = net.assigner(
        dict(confidences=logits[..., None], joints=joints), [(8, 12), (4, 6), (2, 3)], goal, valid
    )
    assert image.tolist() == [0, 0]
    assert len(set(query.tolist())) == 2
    area = goal['areas'][image, person]
    labels = goal['joints'][image, person]
    distance = (joints[image, query] - labels[..., :2]).abs().sum(-1)
    distance = distance / area.sqrt()[:, None] * labels[..., 2]
    torch.testing.assert_close(losses['loss_joint'], 2e-3 * distance.sum() / 9, rtol=1e-3, atol=0)
    square = (refined[image, query] - labels[..., :2]).square().sum(-1)
    oks = torch.exp(-square / (2 * area[:, None] * 4 * torch.tensor(SIGMAS) ** 2)) * labels[..., 2]
    torch.testing.assert_close(
        losses['loss_oks'],
        1e-3 * (1 - (oks.sum(1) / labels[..., 2].sum(1)).mean()),
        rtol=1e-3,
        atol=0,
    )
    confidence = logits.sigmoid()
    person = torch.zeros_like(confidence)
    person[image, query] = 1
    focal_loss = -(
        0.25 * person * (1 - confidence) ** 2 * confidence.log()
        + 0.75 * (1 - person) * confidence**2 * (1 - confidence).log()
    )
    torch.testing.assert_close(losses['loss_confidence'], 0.5625 * focal_loss[valid > 0].mean())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_losses_are_selected_by_name():
    net = head(losses=dict(oks=dict(type='pose_backbones.OKSLoss', loss_weight=2.0)))
    losses = net.compute_losses(
        net(maps()), targets(), torch.zeros(2, 5, 16, 24), torch.ones(2, 16, 24)
    )
    assert set(losses) == {'loss_oks'}
    assert losses['loss_oks'] > 0.1
    assert net.loss_modules['oks'].sigmas.tolist() == pytest.approx(list(SIGMAS))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(losses=dict(box=dict())), 'losses has the names box: expected'),
        (dict(num_keypoints=7), 'num_keypoints is 7: expected 5'),
        (dict(in_channels=(8, 16)), r'in_channels is \(8, 16\)'),
        (dict(joint_channels=0), 'joint_channels is 0'),
        (dict(norm_cfg=dict(type='GN', num_groups=2)), 'expected a batch norm'),
    ],
)
def test_invalid_head_arguments_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        head(**settings)


def test_invalid_feature_maps_raise():
    with pytest.raises(ValueError, match=r'\(12, 16, 24\).*expected \(8,'):
        head()(maps()[1:])
