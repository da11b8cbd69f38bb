"""Tests of weights of EfficientNet-PyTorch in timm's models.

The original model is computed here from its weights, by the names and the definition of
EfficientNet-PyTorch, and compared with the feature maps of timm's model.
"""

import math

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from pose_backbones.checkpoints.names.efficientnet import convert_to_timm
from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import TimmBackbone

#: stages of EfficientNet-B0 and Lite0: blocks, kernel, stride, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
#: index of the last stage of each of timm's maps
LAST_STAGES = (0, 1, 2, 4, 6)


def original_weights(has_attention: bool) -> dict[str, Tensor]:
    """Return random weights with the names and shapes of EfficientNet-PyTorch."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def conv(name: str, out: int, into: int, kernel: int, bias: bool = False) -> None:
        weights[f'{name}.weight'] = torch.randn(
            (out, into, kernel, kernel), generator=generator
        ) / math.sqrt(into * kernel**2)
        if bias:
            weights[f'{name}.bias'] = torch.randn(out, generator=generator)

    def norm(name: str, channels: int) -> None:
        for part in ('weight', 'running_var'):
            weights[f'{name}.{part}'] = 0.5 + torch.rand(channels, generator=generator)
        for part in ('bias', 'running_mean'):
            weights[f'{name}.{part}'] = 0.1 * torch.randn(channels, generator=generator)
        weights[f'{name}.num_batches_tracked'] = torch.tensor(1)

    conv('_conv_stem', 32, 3, 3)
    norm('_bn0', 32)
    number, into = 0, 32
    for blocks, kernel, _, expansion, channels in STAGES:
        for _ in range(blocks):
            block, wide = f'_blocks.{number}', into * expansion
            if expansion > 1:
                conv(f'{block}._expand_conv', wide, into, 1)
                norm(f'{block}._bn0', wide)
            conv(f'{block}._depthwise_conv', wide, 1, kernel)
            norm(f'{block}._bn1', wide)
            if has_attention:
                conv(f'{block}._se_reduce', into // 4, wide, 1, bias=True)
                conv(f'{block}._se_expand', wide, into // 4, 1, bias=True)
            conv(f'{block}._project_conv', channels, wide, 1)
            norm(f'{block}._bn2', channels)
            number, into = number + 1, channels
    conv('_conv_head', 1280, 320, 1)
    norm('_bn1', 1280)
    weights['_fc.weight'] = torch.randn((1000, 1280), generator=generator)
    weights['_fc.bias'] = torch.randn(1000, generator=generator)
    return weights


def original_maps(x: Tensor, weights: dict[str, Tensor], has_attention: bool) -> list[Tensor]:
    """Compute the maps of the last block of each of `LAST_STAGES`."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = weights[f'{name}.weight'], weights.get(f'{name}.bias')
        kernel, groups = weight.shape[-1], x.shape[1] // weight.shape[1]
        padding: list[int] = []  # that of TensorFlow, more at the right and at the bottom
        for side in (x.shape[-1], x.shape[-2]):
            total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            padding += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, padding), weight, bias, stride, groups=groups)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            weights[f'{name}.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    act = F.silu if has_attention else F.relu6
    x = act(norm(conv(x, '_conv_stem', 2), '_bn0'))
    maps, number = [], 0
    for stage, (blocks, _, stride, expansion, _) in enumerate(STAGES):
        for index in range(blocks):
            block, start = f'_blocks.{number}', x
            if expansion > 1:
                x = act(norm(conv(x, f'{block}._expand_conv'), f'{block}._bn0'))
            step = stride if index == 0 else 1
            x = act(norm(conv(x, f'{block}._depthwise_conv', step), f'{block}._bn1'))
            if has_attention:
                squeezed = act(conv(x.mean((2, 3), keepdim=True), f'{block}._se_reduce'))
                x = x * conv(squeezed, f'{block}._se_expand').sigmoid()
            x = norm(conv(x, f'{block}._project_conv'), f'{block}._bn2')
            x = x + start if index > 0 else x
            number += 1
        if stage in LAST_STAGES:
            maps.append(x)
    return maps


@pytest.mark.parametrize('name', ['tf_efficientnet_lite0', 'tf_efficientnet_b0'])
def test_maps_are_those_of_the_original_model(name: str, tmp_path) -> None:
    has_attention = name == 'tf_efficientnet_b0'
    weights = original_weights(has_attention)
    torch.save(weights, tmp_path / 'original.pth')
    backbone = TimmBackbone(
        name, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'original.pth'))
    )
    backbone.init_weights()
    backbone.eval()
    x = torch.randn(2, 3, 65, 98, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        outputs = backbone(x)
        expected = original_maps(x, weights, has_attention)
    assert [tuple(y.shape) for y in outputs] == [tuple(y.shape) for y in expected]
    for output, target in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, target, atol=1e-4, rtol=1e-4)


def test_names_are_those_of_the_classifier_of_timm() -> None:
    model = timm.create_model('tf_efficientnet_lite0')
    converted = convert_to_timm(original_weights(has_attention=False))
    assert sorted(converted) == sorted(model.state_dict())
    model.load_state_dict(converted, strict=True)


def test_weights_that_do_not_belong_to_the_model_are_reported(tmp_path) -> None:
    weights = original_weights(has_attention=False)
    weights['_blocks.16._depthwise_conv.weight'] = torch.zeros(320, 1, 3, 3)
    torch.save(weights, tmp_path / 'original.pth')
    backbone = TimmBackbone(
        'tf_efficientnet_lite0',
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'original.pth')),
    )
    with pytest.raises(CheckpointError, match='blocks'):
        backbone.init_weights()


def test_model_with_another_padding(tmp_path) -> None:
    """timm's `efficientnet_lite0` has the same names and shapes, but computes other maps."""
    torch.save(original_weights(has_attention=False), tmp_path / 'original.pth')
    backbone = TimmBackbone(
        'efficientnet_lite0',
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'original.pth')),
    )
    with pytest.raises(CheckpointError, match='efficientnet_lite0 does not have: .*tf_efficient'):
        backbone.init_weights()


def test_other_weights_are_unchanged() -> None:
    weights = {'conv_stem.weight': torch.zeros(1)}
    assert convert_to_timm(weights) is weights
