"""Fused blocks of ConvNeXt and ConvNeXt V2 for inference."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.packed import (
    ChannelsLast,
    PackedConv2d,
    PackedLinear,
    channels_last,
    images_per_chunk,
    runs_eagerly_on_cpu,
    uses_packed_weights,
)
from ..layers.replace_children import replace_children

#: number of values of a map that fit into the cache (8 MB)
_PIECE = 2**21


def fuse_stem(stem: nn.Sequential) -> nn.Sequential:
    """Fuse timm's stem, a convolution and a norm; its output has channels last in memory."""
    conv, *others = stem
    return nn.Sequential(ChannelsLast(), PackedConv2d(conv), *others)


def fuse_stage(stage: nn.Module) -> nn.Module:
    """Fuse timm's stage: the downsampling layer and the blocks."""
    children = {}
    if isinstance(stage.downsample, nn.Sequential):
        norm, conv = stage.downsample
        children['downsample'] = nn.Sequential(norm, PackedConv2d(conv))
    if all(hasattr(block.mlp, 'grn') for block in stage.blocks):
        children['blocks'] = nn.Sequential(FusedBlocks(stage.blocks))
    else:
        children['blocks'] = nn.Sequential(*map(FusedBlock, stage.blocks))
    return replace_children(stage, children)


class FusedBlock(nn.Module):
    """timm's ConvNeXt block, without response norm, for inference.

    The layer scale is folded into the last layer.

    Args:
        block: The block. Later changes of its layer scale have no effect.
    """

    @torch.no_grad()
    def __init__(self, block: nn.Module):
        super().__init__()
        mlp = block.mlp
        weight, bias = mlp.fc2.weight, mlp.fc2.bias
        if block.gamma is not None:
            weight, bias = block.gamma[:, None] * weight, block.gamma * bias
        self.conv_dw = PackedConv2d(block.conv_dw)
        self.norm = block.norm
        self.fc1 = PackedLinear(mlp.fc1.weight, mlp.fc1.bias, 'gelu')
        self.fc2 = PackedLinear(weight, bias)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        y = self.conv_dw(channels_last(x)).permute(0, 2, 3, 1)
        x = x.permute(0, 2, 3, 1)
        count = images_per_chunk(x, self.fc1.out_features)
        if count is None or count >= len(x):
            return self._mix_channels(y, x).permute(0, 3, 1, 2)
        parts = [self._mix_channels(*pair) for pair in zip(y.split(count), x.split(count))]
        return torch.cat(parts).permute(0, 3, 1, 2)

    def _mix_channels(self, y: Tensor, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(self.norm(y)), x)


class FusedBlocks(nn.Module):
    """timm's ConvNeXt V2 blocks of one stage, for inference.

    On a CPU, they are computed with less memory traffic. The response norm multiplies each channel
    of an image by one factor, which is folded into the weights of the layer after it. The other
    operations on the widest map are done in pieces that fit into the cache, in one buffer for all
    blocks. On a GPU, in mixed precision and in graphs, the original blocks are used.

    Args:
        blocks: Blocks of one stage, without layer scale. Their weights are shared.
    """

    def __init__(self, blocks: nn.Sequential):
        super().__init__()
        self.blocks = blocks
        self.conv_dw = nn.ModuleList(PackedConv2d(block.conv_dw) for block in blocks)
        self.fc1 = nn.ModuleList(
            PackedLinear(block.mlp.fc1.weight, block.mlp.fc1.bias, 'gelu') for block in blocks
        )
        # Constants of a prediction: what the bias of the response norm adds to the output.
        self.biases = nn.ParameterList(
            nn.Parameter(
                F.linear(block.mlp.grn.bias, block.mlp.fc2.weight, block.mlp.fc2.bias).detach(),
                requires_grad=False,
            )
            for block in blocks
        )
        self.eval()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Compute the blocks.

        Args:
            x: (N, C, H, W).

        Returns:
            The same shape; on a CPU, channels last in memory.
        """
        if not runs_eagerly_on_cpu(x) or torch.is_autocast_enabled('cpu'):
            return self.blocks(x)
        x = x.contiguous(memory_format=torch.channels_last)
        height, width = x.shape[-2:]
        hidden = x.new_empty(height * width, self.blocks[0].mlp.fc1.out_features)
        for block, conv, fc1, bias in zip(self.blocks, self.conv_dw, self.fc1, self.biases):
            out = conv(x).contiguous(memory_format=torch.channels_last)
            for pixels in out.permute(0, 2, 3, 1):  # (H, W, C) of an image
                _mix_channels(block, fc1, bias, pixels.flatten(0, 1), hidden)
            x = out.add_(x)
        return x


def _mix_channels(
    block: nn.Module, fc1: PackedLinear, bias: Tensor, x: Tensor, hidden: Tensor
) -> None:
    """Compute the point-wise layers of a block, without the residual, in place.

    Args:
        block: ConvNeXt block of timm.
        fc1: Its first layer and activation.
        bias: Bias of the output.
        x: (HW, C), pixels of one image; overwritten.
        hidden: (HW, 4 C), a buffer.
    """
    mlp, grn = block.mlp, block.mlp.grn
    rows = max(1, _PIECE // hidden.shape[1])
    energy = hidden.new_zeros(hidden.shape[1])
    pieces = []
    for rows_of_input, wide in zip(x.split(rows), hidden.split(rows)):
        if uses_packed_weights(x):
            wide = fc1(block.norm(rows_of_input))
        else:
            torch.addmm(mlp.fc1.bias, block.norm(rows_of_input), mlp.fc1.weight.T, out=wide)
            torch.ops.aten.gelu_(wide)
        energy += wide.square().sum(0)
        pieces.append(wide)
    response = energy.sqrt()
    response /= response.mean() + grn.eps
    weight = mlp.fc2.weight * (1 + grn.weight * response)
    for rows_of_output, wide in zip(x.split(rows), pieces):
        torch.addmm(bias, wide, weight.T, out=rows_of_output)
