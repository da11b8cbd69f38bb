"""Depth-wise convolution of maps whose channels are last in memory."""

from torch import Tensor, nn


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
