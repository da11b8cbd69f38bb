"""Tests of the heatmap head on several feature maps, against MMPose's neck and head."""

import pytest
import torch
from mmpose.registry import MODELS

from pose_backbones.models.heads import MultiLevelHeatmapHead
from pose_backbones.models.layers import fuse
from tests.helpers.random_weights import randomize

CHANNELS = (8, 12, 20)


def maps(batch_size: int = 2) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    sizes = ((16, 12), (8, 6), (3, 2))
    return tuple(
        torch.randn(batch_size, channels, *size)
        for channels, size in zip(CHANNELS, sizes, strict=True)
    )


def test_equals_concatenation_and_heatmap_head():
    """Outputs, gradients and the names of the state dict, in double precision."""
    head = randomize(MultiLevelHeatmapHead(CHANNELS, 5, conv_out_channels=(16, 10))).double()
    neck = MODELS.build(dict(type='mmpose.FeatureMapProcessor', concat=True))
    expected_head = MODELS.build(
        dict(
            type='mmpose.HeatmapHead',
            in_channels=sum(CHANNELS),
            out_channels=5,
            deconv_out_channels=None,
            conv_out_channels=(16, 10),
            conv_kernel_sizes=(1, 1),
        )
    ).double()
    expected_head.load_state_dict(head.state_dict(), strict=True)
    results = []
    for forward in (head, lambda feats: expected_head(neck(feats))):
        feats = [feature_map.double().requires_grad_() for feature_map in maps()]
        output = forward(feats)
        output.square().sum().backward()
        results.append((output, [feature_map.grad for feature_map in feats]))
    assert results[0][0].shape == (2, 5, 16, 12)
    torch.testing.assert_close(results[0], results[1])
    for value, expected in zip(head.parameters(), expected_head.parameters(), strict=True):
        torch.testing.assert_close(value.grad, expected.grad)


@pytest.mark.parametrize('conv_out_channels', [(16,), (16, 10)])
def test_fused_head(conv_out_channels):
    head = randomize(MultiLevelHeatmapHead(CHANNELS, 5, conv_out_channels)).eval()
    fused = fuse(head)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    feats = [x.contiguous(memory_format=torch.channels_last) for x in maps()]
    with torch.no_grad():
        output = fused(feats)
        torch.testing.assert_close(output, head(maps()), rtol=1e-4, atol=1e-5)
    assert output.is_contiguous()  # with channels first


def test_single_map():
    head = randomize(MultiLevelHeatmapHead(8, 5)).eval()
    with torch.no_grad():
        expected = head.final_layer(head.conv_layers(maps()[0]))
        torch.testing.assert_close(head(maps()[:1]), expected)


def test_norm_that_cannot_be_folded():
    head = randomize(MultiLevelHeatmapHead(CHANNELS, 5)).eval()
    head.conv_layers[1] = torch.nn.GroupNorm(4, 128)
    with torch.no_grad():
        torch.testing.assert_close(fuse(head)(maps()), head(maps()))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(in_channels=()), 'in_channels is empty: expected'),
        (dict(in_channels=(8, 4), conv_out_channels=()), r'conv_out_channels is \(\): expected'),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiLevelHeatmapHead(out_channels=5, **arguments)


def test_another_number_of_maps():
    head = MultiLevelHeatmapHead(CHANNELS, 5)
    with pytest.raises(ValueError, match=r'got 2 feature maps, but in_channels is \(8, 12, 20\)'):
        head(maps()[:2])
