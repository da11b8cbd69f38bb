"""CARAFE (arXiv 1905.02188): upsampling with a kernel for each output pixel.

features are (N, C, H, W), masks (N, group_size · kernel_size², H · scale_factor, W · scale_factor).
`mmcv.ops.carafe_naive` computes the same; its backward pass requires a GPU in mmcv's own code.
"""

import torch.nn.functional as F
from torch import Tensor

from .autograd import gradients, widen


def _reassemble(features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int) -> Tensor:
    """Sum the shifted maps, times their masks, one element of the kernel at a time."""
    n, channels, height, width = features.shape
    padded = F.pad(features, [kernel // 2] * 4)
    padded = padded.view(n, groups, channels // groups, *padded.shape[2:])
    masks = masks.view(n, groups, 1, kernel * kernel, height, scale, width, scale)
    output = features.new_zeros(n, groups, channels // groups, height, scale, width, scale)
    for index in range(kernel * kernel):
        top, left = divmod(index, kernel)
        shifted = padded[..., top : top + height, left : left + width]
        output = output + shifted[..., :, None, :, None] * masks[:, :, :, index]
    return output.view(n, channels, height * scale, width * scale)


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Upsample a map.

    Args:
        features: See the module.
        masks: See the module.
        output: (N, C, H · scale_factor, W · scale_factor), is overwritten.
        kernel_size: Odd size of the kernels.
        group_size: Number of groups of channels that share their kernels.
        scale_factor: Factor of the size.
    """
    output.copy_(_reassemble(widen(features), widen(masks), kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of `carafe_naive_forward` into `bottom_grad` and `mask_grad`."""
    computed = gradients(
        lambda features, masks: _reassemble(features, masks, kernel_size, group_size, scale_factor),
        (features, masks),
        top_grad,
    )
    for buffer, gradient in zip([bottom_grad, mask_grad], computed):
        buffer.copy_(gradient)


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Upsample a map; arguments as in `carafe_naive_forward`.

    Args:
        rfeatures: Shape of `features`, receives a copy, which mmcv passes to the backward pass.
        routput: Unused.
        rmasks: Unused.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of `carafe_forward` into `bottom_grad` and `mask_grad`.

    Args:
        rfeatures: What `carafe_forward` has written.
        rtop_grad: Unused, like the other buffers with names in r.
    """
    carafe_naive_backward(
        top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor
    )
