"""Fused blocks of MogaNet for inference."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.depthwise import FusedDepthwise
from ..layers.fuse import has_fixed_statistics, scale_and_shift
from ..layers.packed import PackedConv2d, PackedLinear, images_per_chunk


def can_fuse(block: nn.Module) -> bool:
    """Return whether the norms of a `MogaBlock` can be folded into other layers."""
    return has_fixed_statistics(block.norm1) and has_fixed_statistics(block.norm2)


def _point_wise(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return the matrix (C_out, C_in) and the bias (C_out,) of a 1x1 convolution."""
    return conv.weight[:, :, 0, 0], conv.bias


class FusedMogaBlock(nn.Module):
    """`MogaBlock` in evaluation mode, on maps with channels last in memory.

    Operations that are the same for each pixel are folded into the adjacent point-wise layer:
    norms, layer scales, and the factors that amplify differences. The amplification of the hidden
    maps h of the feed-forward network, h + sigma * (h - gelu(d)) with d = D h, is not linear.
    There, V (sigma * gelu(d)) is subtracted from the output of the last layer V.

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
        self.eval()

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
        value = attn.value
        self.split = value.split
        self.depthwise = nn.ModuleList(
            map(FusedDepthwise, (value.DW_conv0, value.DW_conv1, value.DW_conv2))
        )

    def _fuse_ffn(self, mlp: nn.Module, scale: Tensor, shift: Tensor, layer_scale: Tensor) -> None:
        weight, bias = _point_wise(mlp.fc1)
        last, last_bias = _point_wise(mlp.fc2)
        summary, summary_bias = _point_wise(mlp.decompose)
        sigma = mlp.sigma.scale.flatten()
        last = layer_scale[:, None] * last
        self.fc1 = PackedLinear(weight * scale, bias + weight @ shift)
        self.dwconv = PackedConv2d(mlp.dwconv, activation='gelu')
        self.fc2 = PackedLinear(last * (1 + sigma), layer_scale * last_bias)
        self._set(summary=(summary, summary_bias))
        self.register_buffer('amplified', last @ sigma)

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
        count = images_per_chunk(x, self.fc1.out_features)
        parts = (x,) if count is None or count >= len(x) else x.split(count)
        parts = [self._feed_forward(part) for part in parts]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).permute(0, 3, 1, 2)

    def _aggregate(self, x: Tensor) -> Tensor:
        y = self._linear('proj_1', x)
        y -= self._linear('mean', x.mean((1, 2)))[:, None, None]
        y = F.silu(y, inplace=True)
        first, second, third = self.depthwise
        small, middle, large = first(y).split(self.split, -1)
        value = self._linear('mix', torch.cat((small, second(middle), third(large)), -1))
        gate = F.silu(self._linear('gate', y), inplace=True)
        gate *= F.silu(value, inplace=True)
        return torch.addcmul(self._linear('proj_2', gate), x, self.residual)

    def _feed_forward(self, x: Tensor) -> Tensor:
        """Add the output of the feed-forward network to a map (N, H, W, C)."""
        hidden = self.dwconv(self.fc1(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out = self.fc2(hidden, x)
        return out.addcmul_(F.gelu(self._linear('summary', hidden)), self.amplified, value=-1)
