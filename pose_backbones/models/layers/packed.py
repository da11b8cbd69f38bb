"""Convolutions and linear layers for inference, with weights in the order that oneDNN needs.

On an x86 CPU, PyTorch computes convolutions with oneDNN. Each call converts the weights, and the
maps too unless their channels are last in memory; with one thread and one image, 1x1 convolutions
use a slower implementation. These layers convert the weights once, and compute a GELU and the
sum with a residual in the same pass over the output.

Everywhere else (other devices, data types and layouts, mixed precision, gradients, traces and
compiled graphs), the layers call PyTorch's functions. Their outputs have the layout of the input.
"""

import platform
from collections.abc import Callable, Hashable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LAST = torch.channels_last
_CACHED = 6 << 20  # bytes of hidden maps
#: activation → function that may overwrite its input
_ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {
    None: lambda x: x,
    'relu': lambda x: F.relu(x, inplace=True),
    'gelu': F.gelu,
    'silu': lambda x: F.silu(x, inplace=True),
}
#: name and algorithm of the activation that oneDNN computes together with a layer. Its ReLU would
#: turn NaN into 0, and its SiLU is slower than PyTorch's.
_POST_OPS = {'gelu': ('gelu', 'none')}


@cache
def _has_onednn() -> bool:
    """Return whether this machine and PyTorch have oneDNN's operators for packed weights."""
    names = (
        '_convolution_pointwise',
        '_convolution_transpose_pointwise',
        '_linear_pointwise',
        '_reorder_convolution_weight',
        '_reorder_convolution_transpose_weight',
        '_reorder_linear_weight',
    )
    return (
        platform.machine().lower() in ('x86_64', 'amd64')
        and torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, name) for name in names)
    )


def runs_eagerly_on_cpu(x: Tensor) -> bool:
    """Return whether `x` is computed on a CPU, and not recorded in a trace or compiled graph."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return type(x) is Tensor and x.device.type == 'cpu' and x.numel() > 0


def images_per_chunk(x: Tensor, channels: int) -> int | None:
    """Return the number of images whose hidden maps fit into a CPU's cache; None for all.

    Args:
        x: (N, H, W, C).
        channels: Channels of the hidden map of the same size.
    """
    if not runs_eagerly_on_cpu(x):
        return None  # In a graph, the number of chunks would be fixed.
    each = x.shape[1] * x.shape[2] * channels * x.element_size()
    return max(1, _CACHED // each)


def uses_packed_weights(x: Tensor) -> bool:
    """Return whether layers of this module compute with packed weights for an input.

    Args:
        x: Any layout.
    """
    return (
        runs_eagerly_on_cpu(x)  # graphs contain PyTorch's own operators only
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled('cpu')
        and not (x.requires_grad and torch.is_grad_enabled())
        and torch.backends.mkldnn.enabled
        and _has_onednn()
    )


def channels_last(x: Tensor) -> Tensor:
    """Return a map (N, C, H, W) with channels last in memory, where packed weights are used."""
    return x.contiguous(memory_format=_LAST) if uses_packed_weights(x) else x


class ChannelsLast(nn.Module):
    """Module of `channels_last`."""

    def forward(self, x: Tensor) -> Tensor:
        return channels_last(x)


class ChannelsFirst(nn.Module):
    """Make a map contiguous, with channels first in memory, as heads can expect."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous()


class _Packed(nn.Module):
    """Base class of layers with packed weights, which are computed when they are first needed.

    Packed weights are not part of the state dict, of copies and of pickles. They depend on the size
    of the input; those of the last size are kept.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    activation: str | None
    _packed: tuple[Hashable, Tensor] | None

    def _set(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
        if activation not in _ACTIVATIONS:
            choices = ', '.join(map(repr, _ACTIVATIONS))
            raise ValueError(f'activation is {activation!r}: expected one of {choices}')
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.activation = activation
        self._packed = None
        self.eval()

    def _packed_weight(self, x: Tensor) -> Tensor:
        """Return the packed weight for an input."""
        size = self._size_key(x)
        packed = self._packed
        if packed is None or packed[0] != size:
            with torch.no_grad():
                packed = self._packed = size, self._pack(self.weight.detach(), x)
        return packed[1]

    def _size_key(self, x: Tensor) -> Hashable:
        """Return the part of the shape of an input on which the order of the weights depends."""
        return tuple(x.shape[-2:])

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _finish(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Add a residual and apply the activation, to the output of PyTorch's function."""
        return activate(x if residual is None else x + residual, self.activation)

    def _apply(self, *args, **kwargs):
        self._packed = None
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self._packed = None
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_packed': None}

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, activation={self.activation}'


def activate(x: Tensor, activation: str | None) -> Tensor:
    """Apply an activation, see `PackedConv2d`; `x` may be overwritten."""
    return _ACTIVATIONS[activation](x)


def _is_channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=_LAST)


class PackedConv2d(_Packed, nn.Conv2d):
    """Convolution, then optionally a sum with a residual and an activation.

    Args:
        conv: Its attributes are used.
        weight, bias: Replace those of `conv`; None keeps them.
        activation: `'relu'`, `'gelu'`, `'silu'` or None.
        dilation: Replaces that of `conv`; None keeps it.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        activation: str | None = None,
        dilation: int | None = None,
    ):
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size if weight is None else tuple(weight.shape[2:]),  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation if dilation is None else dilation,  # type: ignore[arg-type]
            conv.groups,
            padding_mode=conv.padding_mode,
            device='meta',
        )
        self._set(
            conv.weight if weight is None else weight,
            conv.bias if bias is None else bias,
            activation,
        )
        self._can_pack = conv.padding_mode == 'zeros' and not isinstance(conv.padding, str)
        sizes = (self.kernel_size, self.stride, self.padding, (self.groups,))
        #: whether the layer is linear in each pixel
        self._is_linear = sizes == ((1, 1), (1, 1), (0, 0), (1,))

    def _size_key(self, x: Tensor) -> Hashable:
        return None if self._is_linear else super()._size_key(x)

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        if self._is_linear:
            return torch.ops.mkldnn._reorder_linear_weight.default(weight.flatten(1).contiguous())
        options = (self.padding, self.stride, self.dilation, self.groups)
        # The order does not depend on the number of images.
        size = (1, *x.shape[1:])
        return torch.ops.mkldnn._reorder_convolution_weight.default(
            weight.contiguous(), *options, size
        )

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute the layer.

        Args:
            x: (N, C_in, H, W). Packed weights are used if its channels are last in memory.
            residual: Has the shape of the output.

        Returns:
            (N, C_out, H_out, W_out).
        """
        if not (self._can_pack and uses_packed_weights(x) and _is_channels_last(x)):
            return self._finish(self._conv_forward(x, self.weight, self.bias), residual)
        weight = self._packed_weight(x)
        if self._is_linear:
            pixels = x.permute(0, 2, 3, 1)
            other = None if residual is None else residual.permute(0, 2, 3, 1)
            return _linear(pixels, weight, self.bias, self.activation, other).permute(0, 3, 1, 2)
        options = (self.padding, self.stride, self.dilation, self.groups)
        convolution = torch.ops.mkldnn._convolution_pointwise
        if residual is None:
            name, algorithm = _POST_OPS.get(self.activation, ('none', ''))
            out = convolution.default(x, weight, self.bias, *options, name, [], algorithm)
            return out if self.activation in _POST_OPS else activate(out, self.activation)
        residual = residual.contiguous(memory_format=_LAST)
        out = convolution.binary(x, residual, weight, self.bias, *options, 'add', 1.0, None, [], '')
        return activate(out, self.activation)


class PackedConvTranspose2d(_Packed, nn.ConvTranspose2d):
    """Transposed convolution, then optionally an activation.

    Args:
        conv, weight, bias, activation: See `PackedConv2d`.
    """

    def __init__(
        self,
        conv: nn.ConvTranspose2d,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        activation: str | None = None,
    ):
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.output_padding,  # type: ignore[arg-type]
            conv.groups,
            dilation=conv.dilation,  # type: ignore[arg-type]
            device='meta',
        )
        self._set(
            conv.weight if weight is None else weight,
            conv.bias if bias is None else bias,
            activation,
        )
        # oneDNN has no output padding that is as large as the stride.
        self._can_pack = conv.groups == 1 and not any(
            p >= s for p, s in zip(conv.output_padding, conv.stride)
        )

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        options = (self.padding, self.output_padding, self.stride, self.dilation, self.groups)
        size = (1, *x.shape[1:])
        return torch.ops.mkldnn._reorder_convolution_transpose_weight.default(
            weight.contiguous(), *options, size
        )

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Compute the layer: (N, C_in, H, W) → (N, C_out, H_out, W_out)."""
        if not (self._can_pack and uses_packed_weights(x) and _is_channels_last(x)):
            return self._finish(super().forward(x), None)
        name, algorithm = _POST_OPS.get(self.activation, ('none', ''))
        out = torch.ops.mkldnn._convolution_transpose_pointwise.default(
            x,
            self._packed_weight(x),
            self.bias,
            self.padding,
            self.output_padding,
            self.stride,
            self.dilation,
            self.groups,
            name,
            [],
            algorithm,
        )
        return out if self.activation in _POST_OPS else activate(out, self.activation)


class PackedLinear(_Packed, nn.Linear):
    """Linear layer, then optionally a sum with a residual and an activation.

    Args:
        weight: (C_out, C_in).
        bias: (C_out,), or None.
        activation: See `PackedConv2d`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None = None):
        super().__init__(*weight.shape[::-1], device='meta')
        self._set(weight, bias, activation)

    def _size_key(self, x: Tensor) -> Hashable:
        return None

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight.default(weight.contiguous())

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute the layer.

        Args:
            x: (..., C_in).
            residual: Has the shape of the output.

        Returns:
            (..., C_out).
        """
        if not uses_packed_weights(x):
            return self._finish(F.linear(x, self.weight, self.bias), residual)
        return _linear(x, self._packed_weight(x), self.bias, self.activation, residual)


def _linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, residual: Tensor | None
) -> Tensor:
    """Compute a linear layer with packed weight: (..., C_in) → (..., C_out)."""
    linear = torch.ops.mkldnn._linear_pointwise
    if residual is None:
        name, algorithm = _POST_OPS.get(activation, ('none', ''))
        out = linear.default(x, weight, bias, name, [], algorithm)
        return out if activation in _POST_OPS else activate(out, activation)
    return activate(linear.binary(x, residual.contiguous(), weight, bias, 'add'), activation)
