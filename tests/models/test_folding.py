"""Layers folded into one another, and dilation without dilation."""

import pytest
import torch
from torch import nn

from pose_backbones.models.layers.folding import depth_wise, is_linear, point_wise, scale_and_shift


@pytest.mark.parametrize('affine', [True, False])
def test_scale_and_shift(affine):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6, affine=affine).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, 3, 4)
    scale, shift = scale_and_shift(norm)
    torch.testing.assert_close(x * scale[:, None, None] + shift[:, None, None], norm(x))


def test_what_is_linear():
    assert is_linear(nn.BatchNorm2d(3))
    assert not is_linear(nn.BatchNorm2d(3, track_running_stats=False))
    assert not is_linear(nn.GroupNorm(1, 3))


def test_point_wise():
    conv, x = nn.Conv2d(3, 5, 1), torch.randn(2, 3, 4, 4)
    weight, bias = point_wise(conv)
    torch.testing.assert_close(
        torch.einsum('oi,nihw->nohw', weight, x) + bias[:, None, None], conv(x)
    )


@pytest.mark.parametrize('size', [(8, 6), (9, 9), (7, 11), (1, 1), (2, 16)])
@pytest.mark.parametrize(('kernel', 'dilation'), [(5, 1), (5, 2), (7, 3), (3, 4)])
def test_depth_wise(size, kernel, dilation):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, kernel, padding=kernel // 2 * dilation, dilation=dilation, groups=4)
    x = torch.randn(2, 4, *size)
    with torch.no_grad():
        found = depth_wise(x.permute(0, 2, 3, 1), conv).permute(0, 3, 1, 2)
        torch.testing.assert_close(found, conv(x))
        if dilation > 1:  # not by the operator that is slow
            conv._conv_forward = None
            depth_wise(x.permute(0, 2, 3, 1), conv)
