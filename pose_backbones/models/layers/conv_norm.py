"""Convolution and norm as one module, and residual blocks of convolutions and norms."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .fuse import can_fold, fuse, fuse_children, fuse_conv_norm, has_fixed_statistics
from .norm import build_norm
from .packed import PackedConv2d
from .replace_children import replace_children

#: channels of the output of a bottleneck / channels in its middle
EXPANSION = 4


class ConvNorm(nn.Sequential):
    """Convolution, norm and an optional ReLU.

    Args:
        in_channels, channels: Channels of input and output.
        norm_cfg: Config of the norm layer.
        kernel: Size of the kernel; the padding keeps the size of the map.
        stride: Stride of the convolution.
        relu: Whether a ReLU follows.
        bias: Whether the convolution has a bias.
        names: Names of convolution and norm in the state dict.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        norm_cfg: dict,
        kernel: int = 1,
        stride: int = 1,
        relu: bool = True,
        bias: bool = False,
        names: tuple[str, str] = ('0', '1'),
    ):
        conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=bias)
        super().__init__(OrderedDict(zip(names, (conv, build_norm(norm_cfg, channels)))))
        self.relu = relu

    @property
    def is_affine(self) -> bool:
        """Whether each output is an affine function of the inputs, the same at every pixel.

        That is the case for a batch norm with fixed statistics and no ReLU.
        """
        conv, norm = self
        if isinstance(conv, PackedConv2d):
            return conv.activation is None and not self.relu
        return has_fixed_statistics(norm) and not norm.training and not self.relu

    def fused(self) -> 'ConvNorm':
        """Fold norm and ReLU into the convolution, see `fuse`."""
        conv, norm = self
        if not can_fold(conv, norm):
            return self
        conv = fuse_conv_norm(conv, norm, 'relu' if self.relu else None)
        fused = replace_children(self, dict(zip(self._modules, (conv, nn.Identity()))))
        fused.relu = False
        return fused

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return F.relu(x, inplace=True) if self.relu else x


class Bottleneck(nn.Module):
    """Residual block of HRNet: 1x1 convolution to a quarter of the channels, 3x3, 1x1.

    Args:
        in_channels, channels: Channels of input and output.
        norm_cfg: Config of the norm layer.
    """

    def __init__(self, in_channels: int, channels: int, norm_cfg: dict):
        super().__init__()
        width = channels // EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = build_norm(norm_cfg, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = build_norm(norm_cfg, width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = build_norm(norm_cfg, channels)
        self.downsample = None
        if in_channels != channels:
            self.downsample = ConvNorm(in_channels, channels, norm_cfg, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out = out + (x if self.downsample is None else self.downsample(x))
        return F.relu(out, inplace=True)

    def fused(self) -> nn.Module:
        """Return an equivalent `FusedResidualBlock` if the norms can be folded, see `fuse`."""
        pairs = ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3))
        return fuse_residual_block(self, pairs, self.downsample)


class BasicBlock(nn.Module):
    """Residual block of HRNet: two 3x3 convolutions.

    Args:
        channels: Channels of input and output.
        norm_cfg: Config of the norm layer.
    """

    def __init__(self, channels: int, norm_cfg: dict):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = build_norm(norm_cfg, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = build_norm(norm_cfg, channels)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out)) + x
        return F.relu(out, inplace=True)

    def fused(self) -> nn.Module:
        """Return an equivalent `FusedResidualBlock` if the norms can be folded, see `fuse`."""
        return fuse_residual_block(self, ((self.conv1, self.bn1), (self.conv2, self.bn2)), None)


class FusedResidualBlock(nn.Module):
    """Residual block for inference: convolutions with ReLU, the last one after the sum.

    Args:
        convs: The convolutions, with folded norms and with the activation.
        shortcut: Module of the residual connection; None for the identity.
    """

    def __init__(self, convs: Sequence[PackedConv2d], shortcut: nn.Module | None):
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.shortcut is None else self.shortcut(x)
        *convs, last = self.convs
        for conv in convs:
            x = conv(x)
        return last(x, residual)


def fuse_residual_block(
    block: nn.Module, pairs: Iterable[tuple[nn.Module, nn.Module]], shortcut: nn.Module | None
) -> nn.Module:
    """Fuse a block that ends with the sum of its input and a convolution with norm, and a ReLU.

    Args:
        block: The block, of which only `pairs` and `shortcut` are computed. A ReLU follows each
            norm.
        pairs: Convolutions and their norms.
        shortcut: See `FusedResidualBlock`.

    Returns:
        A `FusedResidualBlock`; as `fuse_children(block)` if a norm cannot be folded.
    """
    pairs = tuple(pairs)
    if not all(isinstance(conv, nn.Conv2d) and can_fold(conv, norm) for conv, norm in pairs):
        return fuse_children(block)
    convs = [fuse_conv_norm(conv, norm, 'relu') for conv, norm in pairs]
    return FusedResidualBlock(convs, None if shortcut is None else fuse(shortcut)).eval()
