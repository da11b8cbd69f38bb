"""Fused blocks of UniFormer for inference."""

import torch
from torch import Tensor, nn

from ..layers.fuse import has_fixed_statistics, scale_and_shift
from ..layers.packed import (
    ChannelsLast,
    PackedConv2d,
    PackedLinear,
    channels_last,
    images_per_chunk,
)
from ..layers.replace_children import replace_children


def fuse_embed(embed: nn.Module) -> nn.Module:
    """Fuse the convolution of a `PatchEmbed`, whose output has channels last in memory."""
    return replace_children(
        embed, {'proj': nn.Sequential(ChannelsLast(), PackedConv2d(embed.proj))}
    )


def can_fuse(block: nn.Module) -> bool:
    """Return whether the norms of a `ConvBlock` can be folded into other layers."""
    return has_fixed_statistics(block.norm1) and has_fixed_statistics(block.norm2)


class _FusedBlock(nn.Module):
    """Base class of fused blocks.

    The residual connection of the position embedding is the center of its kernel.
    """

    def __init__(self, block: nn.Module):
        super().__init__()
        weight = block.pos_embed.weight.clone()
        weight[:, :, 1, 1] += 1
        self.pos_embed = PackedConv2d(block.pos_embed, weight)

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Split (N, H, W, C) into images whose hidden maps fit into a CPU's cache."""
        count = images_per_chunk(x, self.fc1.out_features)
        return (x,) if count is None or count >= len(x) else x.split(count)


def _scaled(layer: nn.Module, gamma: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return weight (C_out, C_in) and bias of a point-wise layer and the layer scale after it."""
    weight, bias = layer.weight.flatten(1), layer.bias
    return (weight, bias) if gamma is None else (gamma.view(-1, 1) * weight, gamma.flatten() * bias)


def _normalized(norm: nn.Module, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight (C_out, C_in) and bias of a point-wise layer and the batch norm before it."""
    scale, shift = scale_and_shift(norm)
    weight = layer.weight.flatten(1)
    return weight * scale, layer.bias + weight @ shift


class FusedConvBlock(_FusedBlock):
    """`ConvBlock` in evaluation mode, on maps with channels last in memory.

    Norms and layer scales are folded into the adjacent point-wise layers.

    Args:
        block: A block for which `can_fuse` is true. Later changes of its weights have no effect.
    """

    @torch.no_grad()
    def __init__(self, block: nn.Module):
        super().__init__(block)
        self.conv1 = PackedLinear(*_normalized(block.norm1, block.conv1))
        self.attn = PackedConv2d(block.attn)
        self.conv2 = PackedLinear(*_scaled(block.conv2, block.gamma_1))
        self.fc1 = PackedLinear(*_normalized(block.norm2, block.mlp.fc1), 'gelu')
        self.fc2 = PackedLinear(*_scaled(block.mlp.fc2, block.gamma_2))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        x = self.pos_embed(channels_last(x)).permute(0, 2, 3, 1)
        y = self.attn(self.conv1(x).permute(0, 3, 1, 2))
        x = self.conv2(y.permute(0, 2, 3, 1), x)
        parts = [self.fc2(self.fc1(part), part) for part in self._split(x)]
        x = parts[0] if len(parts) == 1 else torch.cat(parts)
        return x.permute(0, 3, 1, 2)


class FusedAttentionBlock(_FusedBlock):
    """`AttentionBlock` in evaluation mode, on maps with channels last in memory.

    Layer scales are folded into the layers before them.

    Args:
        block: The block. Later changes of its weights have no effect.
    """

    @torch.no_grad()
    def __init__(self, block: nn.Module):
        super().__init__(block)
        attn = block.attn
        self.norm1, self.norm2 = block.norm1, block.norm2
        layers = {
            'qkv': PackedLinear(attn.qkv.weight, attn.qkv.bias),
            'proj': PackedLinear(*_scaled(attn.proj, block.gamma_1)),
        }
        self.attn = replace_children(attn, layers)
        self.fc1 = PackedLinear(block.mlp.fc1.weight, block.mlp.fc1.bias, 'gelu')
        self.fc2 = PackedLinear(*_scaled(block.mlp.fc2, block.gamma_2))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        x = self.pos_embed(channels_last(x)).permute(0, 2, 3, 1)
        x = x + self.attn(self.norm1(x))
        parts = [self.fc2(self.fc1(self.norm2(part)), part) for part in self._split(x)]
        x = parts[0] if len(parts) == 1 else torch.cat(parts)
        return x.permute(0, 3, 1, 2)
