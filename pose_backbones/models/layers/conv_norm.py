"""Convolution and norm as one module, and residual blocks of convolutions and norms."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from .fuse import FusesConvNorm, has_fixed_statistics
from .norm import build_norm

#: channels of the output of a bottleneck / channels in its middle
EXPANSION = 4


class ConvNorm(nn.Sequential, FusesConvNorm):
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
        self.conv_norm_pairs = (names,)

    @property
    def is_affine(self) -> bool:
        """Whether each output is an affine function of the inputs, the same at every pixel.

        That is the case for a batch norm with fixed statistics and no ReLU.
        """
        norm = self[1]
        fixed = has_fixed_statistics(norm) and not norm.training
        return (fixed or isinstance(norm, nn.Identity)) and not self.relu

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return F.relu(x, inplace=True) if self.relu else x


class Bottleneck(FusesConvNorm):
    """Residual block of HRNet: 1x1 convolution to a quarter of the channels, 3x3, 1x1.

    Args:
        in_channels, channels: Channels of input and output.
        norm_cfg: Config of the norm layer.
    """

    conv_norm_pairs = (('conv1', 'bn1'), ('conv2', 'bn2'), ('conv3', 'bn3'))

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


class BasicBlock(FusesConvNorm):
    """Residual block of HRNet: two 3x3 convolutions.

    Args:
        channels: Channels of input and output.
        norm_cfg: Config of the norm layer.
    """

    conv_norm_pairs = (('conv1', 'bn1'), ('conv2', 'bn2'))

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
