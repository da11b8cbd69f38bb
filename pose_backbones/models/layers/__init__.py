"""Layers and functions that several models share.

`adaptive_conv`, `depthwise` and `mspn` contain layers of a single family.
"""

from .activation_checkpoint import checkpointed, record_statistics_once, watch_saved_tensors
from .conv_norm import EXPANSION, BasicBlock, Bottleneck, ConvNorm
from .drop_path import drop_path_rates
from .fuse import fuse, fuse_children
from .initialization import MetaDeviceInit, check_conv_init, init_conv_fan_out, init_convolution
from .norm import build_norm
from .precision import at_least_float32, full_precision
from .replace_children import replace_children

__all__ = [
    'EXPANSION',
    'BasicBlock',
    'Bottleneck',
    'ConvNorm',
    'MetaDeviceInit',
    'at_least_float32',
    'build_norm',
    'check_conv_init',
    'checkpointed',
    'drop_path_rates',
    'full_precision',
    'fuse',
    'fuse_children',
    'init_conv_fan_out',
    'init_convolution',
    'record_statistics_once',
    'replace_children',
    'watch_saved_tensors',
]
