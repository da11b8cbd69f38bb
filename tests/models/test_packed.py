"""Tests of layers with packed weights: every path gives the values of PyTorch's layers."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pose_backbones.models.layers import packed
from pose_backbones.models.layers.depthwise import FusedDepthwise
from pose_backbones.models.layers.packed import (
    PackedConv2d,
    PackedConvTranspose2d,
    PackedLinear,
    channels_last,
    images_per_chunk,
    uses_packed_weights,
)

ACTIVATIONS = {None: lambda x: x, 'relu': F.relu, 'gelu': F.gelu, 'silu': F.silu}
each_activation = pytest.mark.parametrize('activation', ACTIVATIONS)
needs_onednn = pytest.mark.skipif(
    not packed._has_onednn(), reason="no x86 CPU, or a PyTorch without oneDNN's operators"
)


@each_activation
@pytest.mark.parametrize('with_residual', [False, True])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    'arguments',
    [
        dict(kernel_size=1),
        dict(kernel_size=1, stride=2),
        dict(kernel_size=3, padding=1, bias=False),
        dict(kernel_size=3, padding=2, dilation=2, groups=8),
        dict(kernel_size=(3, 5), padding='same'),
        dict(kernel_size=3, padding=1, padding_mode='reflect'),
    ],
)
def test_convolution(arguments, layout, with_residual, activation):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, **arguments)
    layer = PackedConv2d(conv, activation=activation)
    with torch.no_grad():
        for size in ((9, 7), (4, 6), (9, 7)):  # packed weights depend on the size
            x = torch.randn(2, 8, *size)
            expected = conv(x)
            residual = torch.randn_like(expected) if with_residual else None
            output = layer(x.contiguous(memory_format=layout), residual)
            expected = expected if residual is None else expected + residual
            torch.testing.assert_close(output, ACTIVATIONS[activation](expected))
            assert output.is_contiguous(memory_format=layout)


@each_activation
@pytest.mark.parametrize(
    'arguments',
    [
        dict(kernel_size=4, stride=2, padding=1),
        dict(kernel_size=3, stride=2, padding=1, output_padding=1),
        dict(kernel_size=2, stride=2, groups=2, bias=False),
    ],
)
def test_transposed_convolution(arguments, activation):
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(8, 6, **arguments)
    layer = PackedConvTranspose2d(conv, activation=activation)
    with torch.no_grad():
        for size in ((5, 4), (3, 3)):
            x = torch.randn(2, 8, *size)
            for layout in (torch.contiguous_format, torch.channels_last):
                output = layer(x.contiguous(memory_format=layout))
                torch.testing.assert_close(output, ACTIVATIONS[activation](conv(x)))


@each_activation
@pytest.mark.parametrize('bias', [True, False])
def test_linear(bias, activation):
    torch.manual_seed(0)
    linear = nn.Linear(8, 5, bias)
    layer = PackedLinear(linear.weight, linear.bias, activation)
    x, residual = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 4, 5)
    function = ACTIVATIONS[activation]
    with torch.no_grad():
        torch.testing.assert_close(layer(x), function(linear(x)))
        torch.testing.assert_close(layer(x, residual), function(linear(x) + residual))
        slices = torch.randn(4, 8, 3).transpose(1, 2)
        torch.testing.assert_close(layer(slices), function(linear(slices)))


@pytest.mark.parametrize('size', [(1, 1), (8, 6), (18, 18), (19, 4), (24, 18)])
@pytest.mark.parametrize(('kernel', 'dilation'), [(5, 1), (5, 2), (7, 3), (3, 4)])
def test_depthwise(size, kernel, dilation):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, kernel, padding=kernel // 2 * dilation, dilation=dilation, groups=8)
    layer, x = FusedDepthwise(conv), torch.randn(2, 8, *size)
    with torch.no_grad():
        torch.testing.assert_close(layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), conv(x))


def layers() -> list[tuple[nn.Module, torch.Tensor]]:
    """Return a layer of each class, and an input."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 4).contiguous(memory_format=torch.channels_last)
    return [
        (PackedConv2d(nn.Conv2d(8, 4, 3), activation='relu'), x),
        (PackedConvTranspose2d(nn.ConvTranspose2d(8, 4, 4, 2, 1)), x),
        (PackedLinear(torch.randn(4, 8), torch.randn(4), 'gelu'), x.permute(0, 2, 3, 1)),
    ]


@needs_onednn
@pytest.mark.parametrize(('layer', 'x'), layers())
def test_packed_weights_follow_the_weights(layer, x):
    """They are not in copies, pickles and the state dict, and new weights are packed again."""
    expected = layer(x)
    assert layer._packed is not None
    assert set(layer.state_dict()) == {'weight', 'bias'}
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other._packed is None
        torch.testing.assert_close(other(x), expected)
    doubled = {name: 2 * value for name, value in layer.state_dict().items()}
    layer.load_state_dict(doubled)
    with torch.no_grad():
        assert (layer(x) - expected).abs().max() > 0.1
        layer.double()
        torch.testing.assert_close(layer(x.double()).float(), layer.float()(x))
    with pytest.raises(RuntimeError, match='size mismatch for weight'):
        layer.load_state_dict({**doubled, 'weight': torch.zeros(1, 1)})


@pytest.mark.filterwarnings('ignore')  # of the tracer and of `torch.export`
@pytest.mark.parametrize(('layer', 'x'), layers())
def test_graphs_have_pytorchs_operators(layer, x):
    traced = torch.jit.trace(layer, x)
    exported = torch.export.export(
        layer, (x,), dynamic_shapes=({0: torch.export.Dim('batch', min=1)},)
    )
    assert 'mkldnn' not in str(traced.inlined_graph)
    assert 'mkldnn' not in str(exported.graph)
    wide = torch.cat((x, x, x))
    for graph in (traced, exported.module()):
        torch.testing.assert_close(graph(wide), layer(wide))


@pytest.mark.filterwarnings('ignore:TF32')  # PyTorch's, when oneDNN is disabled
@pytest.mark.parametrize(('layer', 'x'), layers())
def test_other_paths(layer, x):
    """Gradients, mixed precision, and PyTorch without oneDNN."""
    expected = layer(x)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not uses_packed_weights(x)
        torch.testing.assert_close(layer(x), expected)
    with torch.autocast('cpu', torch.bfloat16):
        half = layer(x)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.05, atol=0.05)
    with torch.inference_mode():
        torch.testing.assert_close(copy.deepcopy(layer)(x), expected)
    x = x.detach().requires_grad_()
    layer(x).sum().backward()
    assert x.grad.abs().max() > 0


@each_activation
@pytest.mark.parametrize('kind', range(3))
def test_nan_is_not_hidden(kind, activation):
    layer, x = layers()[kind]
    layer.activation = activation
    x[0, 1, 2, 3] = float('nan')
    assert torch.equal(layer(x).isnan(), layer.double()(x.double()).isnan())
    assert layer(x.double()).isnan().any()


def test_layout_is_changed_only_where_packed_weights_are_used():
    x = torch.randn(2, 8, 5, 4)
    expected = uses_packed_weights(x)
    assert channels_last(x).is_contiguous(memory_format=torch.channels_last) == expected
    assert channels_last(x.double()).is_contiguous()
    assert channels_last(x.to('meta')).is_contiguous()
    assert uses_packed_weights(x) == packed._has_onednn()
    assert not uses_packed_weights(x[:0])
    assert not uses_packed_weights(nn.Parameter(x))


def test_images_per_chunk():
    x = torch.zeros(4, 64, 32, 8)
    assert images_per_chunk(x, 512) == 1
    assert images_per_chunk(x, 256) == 3
    assert images_per_chunk(x, 10**6) == 1
    assert images_per_chunk(x.to('meta'), 512) is None


def test_unknown_activation():
    with pytest.raises(ValueError, match="'tanh': expected one of None, 'relu', 'gelu', 'silu'"):
        PackedLinear(torch.zeros(1, 1), None, 'tanh')
