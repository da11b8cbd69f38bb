"""What is linear in a net in evaluation mode, as factors and summands."""

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def is_linear(norm: nn.Module) -> bool:
    """Whether a norm in evaluation mode does the same to every input."""
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """What a batch norm in evaluation mode multiplies with and adds.

    Args:
        norm: With `is_linear`.

    Returns:
        (C,) and (C,).
    """
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def point_wise(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """The matrix (C_out, C_in) and the bias (C_out,) of a 1x1 convolution."""
    return conv.weight[:, :, 0, 0], conv.bias


def depth_wise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A depth-wise convolution that keeps the size, channels last.

    On a CPU, one that is dilated d times is computed as one that is not, of
    the d x d grids of pixels that do not see each other, since there is no
    fast kernel for it.

    Args:
        x: (N, H, W, C).
        conv: Of stride 1, with as many groups as channels.

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
