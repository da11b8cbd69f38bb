"""Fusion of MMCV's and MMPose's own layers, backbones and heads for inference."""

from collections import OrderedDict

from torch import Tensor, nn

from .conv_norm import fuse_residual_block
from .fuse import can_fold, fuse, fuse_children, fuse_conv_norm, fuses
from .packed import ChannelsFirst, ChannelsLast, PackedConv2d, channels_last
from .replace_children import replace_children


@fuses('mmcv.cnn.bricks.conv_module.ConvModule')
def fuse_conv_module(module: nn.Module) -> nn.Module:
    """Fold the batch norm of a `ConvModule` into its convolution."""
    if not module.with_norm or module.order[:2] != ('conv', 'norm'):
        return fuse_children(module)
    if module.with_spectral_norm or not can_fold(module.conv, module.norm):
        return fuse_children(module)
    conv = fuse_conv_norm(module.conv, module.norm)
    return fuse_children(module, {'conv': conv, module.norm_name: nn.Identity()})


@fuses('mmpose.models.backbones.resnet.BasicBlock', 'mmpose.models.backbones.resnet.Bottleneck')
def fuse_resnet_block(block: nn.Module) -> nn.Module:
    """Fuse a residual block of MMPose's ResNet and HRNet."""
    pairs = [(block.conv1, block.norm1), (block.conv2, block.norm2)]
    if hasattr(block, 'conv3'):
        pairs.append((block.conv3, block.norm3))
    return fuse_residual_block(block, pairs, block.downsample)


@fuses(
    'mmpose.models.backbones.cspnext.CSPNeXt',
    'mmpose.models.backbones.hrnet.HRNet',
    'mmpose.models.backbones.resnet.ResNet',
)
def fuse_backbone(backbone: nn.Module) -> nn.Module:
    """Fuse a backbone of MMPose; inside it, the channels of maps are last in memory."""
    children = {}
    for index in (1, 2):  # of the stem
        conv, name = getattr(backbone, f'conv{index}', None), f'norm{index}_name'
        if conv is not None and hasattr(backbone, name):
            norm = getattr(backbone, getattr(backbone, name))
            if can_fold(conv, norm):
                children[f'conv{index}'] = fuse_conv_norm(conv, norm)
                children[getattr(backbone, name)] = nn.Identity()
    fused = fuse_children(backbone, children)
    if fused is backbone:
        return backbone
    # The hooks of the original are not changed.
    fused._forward_pre_hooks = OrderedDict(fused._forward_pre_hooks)
    fused._forward_hooks = OrderedDict(fused._forward_hooks)
    fused.register_forward_pre_hook(_channels_last_input)
    fused.register_forward_hook(_channels_first_outputs)
    return fused


def _channels_last_input(_backbone: nn.Module, arguments: tuple) -> tuple:
    return channels_last(arguments[0]), *arguments[1:]


def _channels_first_outputs(_backbone: nn.Module, _arguments: tuple, maps: tuple) -> tuple:
    return tuple(x.contiguous() if isinstance(x, Tensor) else x for x in maps)


def fuse_final_layer(layer: nn.Module) -> nn.Module:
    """Fuse the last layer of a `HeatmapHead`; its heatmaps have channels first in memory."""
    if type(layer) is nn.Conv2d:
        layer = PackedConv2d(layer)
    return nn.Sequential(layer, ChannelsFirst())


@fuses('mmpose.models.heads.heatmap_heads.heatmap_head.HeatmapHead')
def fuse_heatmap_head(head: nn.Module) -> nn.Module:
    """Fuse a `HeatmapHead`; its heatmaps have channels first in memory."""
    layers = nn.Sequential(ChannelsLast(), fuse(head.deconv_layers))
    return replace_children(
        head,
        {
            'deconv_layers': layers,
            'conv_layers': fuse(head.conv_layers),
            'final_layer': fuse_final_layer(head.final_layer),
        },
    )
