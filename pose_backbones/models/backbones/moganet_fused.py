"""Fused blocks of MogaNet for inference."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.depthwise import depth_wise
from ..layers.fuse import has_fixed_statistics, scale_and_shift

_CACHED = 6 << 20  # bytes of hidden maps


def can_fuse(block: nn.Module) -> bool:
    """Return whether the norms of a `MogaBlock` can be folded into other layers."""
    return has_fixed_statistics(block.norm1) and has_fixed_statistics(block.norm2)


def _point_wise(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return the matrix (C_out, C_in) and the bias (C_out,) of a 1x1 convolution."""
    return conv.weight[:, :, 0, 0], conv.bias


class ChannelsFirst(nn.Module):
    """Make a map contiguous, with channels first in memory, as heads can expect."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous()


class FusedMogaBlock(nn.Module):
    """`MogaBlock` in evaluation mode, on maps with channels last in memory.

    Operations that are the same for each pixel are folded into the adjacent point-wise layer:
    norms, layer scales, and the factors that amplify differences. The amplification of the hidden
    maps h of the feed-forward network, h + sigma * (h - gelu(d)) with d = D h, is not linear.
    There, the last layer V has the additional output d, and V (sigma * gelu(d)) is subtracted.

    Args:
        block: A block for which `can_fuse` is true. Later changes of its weights have no effect.
    """

    @torch.no_grad()
    def __init__(self, block: nn.Module):
        super().__init__()
        self._fuse_aggregation(
            block.attn, *scale_and_shift(block.norm1), block.layer_scale_1.flatten()
        )
        self._fuse_ffn(block.mlp, *scale_and_shift(block.norm2), block.layer_scale_2.flatten())

    def _set(self, **layers: tuple[Tensor, Tensor]) -> None:
        """Register weights and biases of point-wise layers as buffers."""
        for name, (weight, bias) in layers.items():
            self.register_buffer(f'{name}_weight', weight.contiguous())
            self.register_buffer(f'{name}_bias', bias)

    def _fuse_aggregation(
        self, attn: nn.Module, scale: Tensor, shift: Tensor, layer_scale: Tensor
    ) -> None:
        weight, bias = _point_wise(attn.proj_1)
        weight, bias = weight * scale, bias + weight @ shift
        sigma = attn.sigma.scale.flatten()
        last, last_bias = _point_wise(attn.proj_2)
        self._set(
            proj_1=((1 + sigma)[:, None] * weight, (1 + sigma) * bias),
            mean=(sigma[:, None] * weight, sigma * bias),
            gate=_point_wise(attn.gate),
            mix=_point_wise(attn.value.PW_conv),
            proj_2=(layer_scale[:, None] * last, layer_scale * (last_bias + shift)),
        )
        # Factor of the two residuals: of the block, and of the normalized map within it.
        self.register_buffer('residual', 1 + layer_scale * scale)
        self.value = attn.value

    def _fuse_ffn(self, mlp: nn.Module, scale: Tensor, shift: Tensor, layer_scale: Tensor) -> None:
        weight, bias = _point_wise(mlp.fc1)
        last, last_bias = _point_wise(mlp.fc2)
        summary, summary_bias = _point_wise(mlp.decompose)
        sigma = mlp.sigma.scale.flatten()
        last = layer_scale[:, None] * last
        self._set(
            fc1=(weight * scale, bias + weight @ shift),
            fc2=(
                torch.cat((last * (1 + sigma), summary)),
                torch.cat((layer_scale * last_bias, summary_bias)),
            ),
        )
        self.register_buffer('summary_weight', last @ sigma)
        self.dwconv = mlp.dwconv

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, getattr(self, f'{name}_weight'), getattr(self, f'{name}_bias'))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Compute the block.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C, H, W), channels last in memory.
        """
        x = x.permute(0, 2, 3, 1).contiguous()
        x = self._aggregate(x)
        size = self._chunk_size(x)
        for part in (x,) if size is None else x.split(size):
            self._feed_forward(part)
        return x.permute(0, 3, 1, 2)

    def _aggregate(self, x: Tensor) -> Tensor:
        y = self._linear('proj_1', x)
        y -= self._linear('mean', x.mean((1, 2)))[:, None, None]
        y = F.silu(y, inplace=True)
        small, middle, large = depth_wise(y, self.value.DW_conv0).split(self.value.split, -1)
        value = self._linear(
            'mix',
            torch.cat(
                (
                    small,
                    depth_wise(middle, self.value.DW_conv1),
                    depth_wise(large, self.value.DW_conv2),
                ),
                -1,
            ),
        )
        gate = F.silu(self._linear('gate', y), inplace=True)
        gate *= F.silu(value, inplace=True)
        return torch.addcmul(self._linear('proj_2', gate), x, self.residual)

    def _feed_forward(self, x: Tensor) -> None:
        """Add the output of the feed-forward network to a map (N, H, W, C), in place."""
        hidden = F.gelu(depth_wise(self._linear('fc1', x), self.dwconv))
        out, summary = self._linear('fc2', hidden).split((x.shape[-1], 1), -1)
        x += out
        x.addcmul_(F.gelu(summary), self.summary_weight, value=-1)

    def _chunk_size(self, x: Tensor) -> int | None:
        """Return the number of images whose hidden maps fit into a CPU's cache; None for all."""
        # In a trace or a compiled graph, the number of chunks would be fixed.
        if x.device.type != 'cpu' or torch.jit.is_tracing() or torch.compiler.is_compiling():
            return None
        height, width = x.shape[1:3]
        each = height * width * self.dwconv.in_channels * x.element_size()
        return max(1, _CACHED // each)
