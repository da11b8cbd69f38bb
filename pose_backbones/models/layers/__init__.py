"""Layers and functions that several models share.

`adaptive_conv`, `depthwise` and `mspn` contain layers of a single family.
"""

from .activation_checkpoint import checkpointed, record_statistics_once, watch_saved_tensors
from .conv_norm import EXPANSION, BasicBlock, Bottleneck, ConvNorm, fuse_residual_block
from .drop_path import DropPath, drop_path_rates
from .fuse import can_fold, fuse, fuse_children, fuse_conv_norm
from .fuse_mmpose import fuse_final_layer
from .initialization import MetaDeviceInit, check_conv_init, init_conv_fan_out, init_convolution
from .norm import build_norm
from .packed import ChannelsFirst, ChannelsLast, PackedConv2d, PackedLinear, channels_last
from .precision import at_least_float32, full_precision
from .replace_children import replace_children

__all__ = [
    'EXPANSION',
    'BasicBlock',
    'Bottleneck',
    'ChannelsFirst',
    'ChannelsLast',
    'ConvNorm',
    'DropPath',
    'MetaDeviceInit',
    'PackedConv2d',
    'PackedLinear',
    'at_least_float32',
    'build_norm',
    'can_fold',
    'channels_last',
    'check_conv_init',
    'checkpointed',
    'drop_path_rates',
    'full_precision',
    'fuse',
    'fuse_children',
    'fuse_conv_norm',
    'fuse_final_layer',
    'fuse_residual_block',
    'init_conv_fan_out',
    'init_convolution',
    'record_statistics_once',
    'replace_children',
    'watch_saved_tensors',
]
