"""Depth-wise convolution of maps whose channels are last in memory."""

import torch
from torch import Tensor, nn

from .packed import PackedConv2d, uses_packed_weights


class FusedDepthwise(nn.Module):
    """Depth-wise convolution that keeps the size of the map, for inference.

    oneDNN is fast for dilations 1 and 2. Larger ones are computed on maps that are smaller than the
    kernel as one kernel without dilation, and on larger maps as in `depth_wise`.

    Args:
        conv: With stride 1 and as many groups as channels. Its weights are shared.
    """

    @torch.no_grad()
    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        (step,) = set(conv.dilation)
        self.conv = PackedConv2d(conv)
        self.dense = None
        self.extent = (max(conv.kernel_size) - 1) * step + 1
        if step > 2:
            height, width = ((side - 1) * step + 1 for side in conv.kernel_size)
            weight = conv.weight.new_zeros(len(conv.weight), 1, height, width)
            weight[:, :, ::step, ::step] = conv.weight
            self.dense = PackedConv2d(self.conv, weight, dilation=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) → (N, H, W, C)."""
        if not uses_packed_weights(x):
            return depth_wise(x, self.conv)
        conv = self.conv
        if self.dense is not None:
            if max(x.shape[1:3]) >= self.extent:
                return depth_wise(x, self.conv)
            conv = self.dense
        return conv(x.contiguous().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def depth_wise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a depth-wise convolution that keeps the size of the map.

    PyTorch has no fast kernel for dilated ones on a CPU. There, a convolution with dilation d is
    computed as one without dilation on each of the d x d grids of pixels that do not interact.

    Args:
        x: (N, H, W, C).
        conv: With stride 1 and as many groups as channels.

    Returns:
        (N, H, W, C).
    """
    (step,) = set(conv.dilation)
    if step == 1 or x.device.type != 'cpu':
        return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    count, height, width, channels = x.shape
    rows, columns = -(-height // step), -(-width // step)
    if (rows * step, columns * step) != (height, width):
        x = nn.functional.pad(x, (0, 0, 0, columns * step - width, 0, rows * step - height))
    grids = (
        x.view(count, rows, step, columns, step, channels)
        .permute(0, 2, 4, 1, 3, 5)
        .reshape(-1, rows, columns, channels)
    )
    grids = nn.functional.conv2d(
        grids.permute(0, 3, 1, 2),
        conv.weight,
        conv.bias,
        padding=tuple(side // 2 for side in conv.kernel_size),
        groups=channels,
    ).permute(0, 2, 3, 1)
    x = (
        grids.reshape(count, step, step, rows, columns, channels)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(count, rows * step, columns * step, channels)
    )
    return x[:, :height, :width]
