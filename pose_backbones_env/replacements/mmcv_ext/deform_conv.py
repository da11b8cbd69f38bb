"""Deformable convolution (arXiv 1703.06211, 1811.11168) on `torchvision.ops.deform_conv2d`.

mmcv and torchvision have the same layout: offsets are (N, 2 · deformable_group · kH · kW, H, W)
with y before x, masks (N, deformable_group · kH · kW, H, W).
"""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from .autograd import gradients, widen


def _convolution(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    group: int,
    deformable_group: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    size: torch.Size | None = None,
) -> Callable[..., Tensor]:
    """Check the shapes; return a function of input, offset, weight, and of mask and bias, if any.

    torchvision derives the numbers of groups from the shapes. `size` is that of the output, for
    `_beginning`.
    """
    from torchvision.ops import deform_conv2d

    channels = 2 * deformable_group * weight.size(2) * weight.size(3)
    if offset.size(1) != channels:
        raise ValueError(
            f'the offset has {offset.size(1)} channels, expected {channels}: 2 x '
            f'{deformable_group} (deform_groups) x {weight.size(2)} x {weight.size(3)} (kernel)'
        )
    if input.size(1) != group * weight.size(1):
        raise ValueError(
            f'the input has {input.size(1)} channels, expected {group * weight.size(1)}: {group} '
            f'(groups) x {weight.size(1)} (size of the weight)'
        )

    def convolve(
        input: Tensor,
        offset: Tensor,
        weight: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        if mask is not None and size is not None:
            offset, mask = _beginning(offset, size), _beginning(mask, size)
        return deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)

    return convolve


def _beginning(maps: Tensor, size: torch.Size) -> Tensor:
    """Return maps of the size of the output, from the beginning of the memory of each image.

    mmcv does not compare the sizes, and reads larger maps in this way. DyHead (arXiv 2106.08322)
    passes the offsets and masks of a level to the convolution of the next level, which is smaller;
    released weights were trained with this behavior.
    """
    channels, numbers = maps.size(1), maps.size(1) * size.numel()
    if maps[0].numel() < numbers:
        raise ValueError(
            f'offset and mask are of size {tuple(maps.shape[2:])}, the output is of {tuple(size)}'
        )
    return maps.flatten(1)[:, :numbers].unflatten(1, (channels, *size))


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Compute a deformable convolution.

    Args:
        input: (N, C, H, W).
        weight: (C', C / group, kH, kW).
        offset: See the module.
        output: (N, C', H', W'), is overwritten.
        columns: Unused.
        ones: Unused.
        kW: Width of the kernel.
        kH: Height of the kernel.
        dW: Horizontal stride.
        dH: Vertical stride.
        padW: Horizontal padding.
        padH: Vertical padding.
        dilationW: Horizontal dilation.
        dilationH: Vertical dilation.
        group: Number of groups of channels.
        deformable_group: Number of groups of channels with the same offsets.
        im2col_step: Unused; images that mmcv computes at a time.
    """
    convolve = _convolution(
        input,
        weight,
        offset,
        group,
        deformable_group,
        (dH, dW),
        (padH, padW),
        (dilationH, dilationW),
    )
    output.copy_(convolve(widen(input), widen(offset), widen(weight)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Compute the gradients of `deform_conv_forward` for the input and the offset.

    torchvision computes the gradient of the weight at the same time. It is kept at `columns` for
    `deform_conv_backward_parameters`, to which mmcv passes the same object.
    """
    convolve = _convolution(
        input,
        weight,
        offset,
        group,
        deformable_group,
        (dH, dW),
        (padH, padW),
        (dilationH, dilationW),
    )
    for_input, for_offset, for_weight = gradients(convolve, (input, offset, weight), gradOutput)
    gradInput.copy_(for_input)
    gradOffset.copy_(for_offset)
    columns.computed = weakref.ref(gradOutput), for_weight  # type: ignore[attr-defined]


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add the gradient of `deform_conv_forward` for the weight, times `scale`, to `gradWeight`."""
    computed_for, for_weight = columns.__dict__.pop('computed', (lambda: None, None))
    if computed_for() is not gradOutput:
        convolve = _convolution(
            input,
            gradWeight,
            offset,
            group,
            deformable_group,
            (dH, dW),
            (padH, padW),
            (dilationH, dilationW),
        )
        # The gradient does not depend on the values of the weight.
        (for_weight,) = gradients(
            lambda weight: convolve(widen(input), widen(offset), weight), (gradWeight,), gradOutput
        )
    gradWeight.add_(for_weight.to(gradWeight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Compute a deformable convolution with a mask; arguments as in `deform_conv_forward`.

    Args:
        bias: (C', ), ignored unless `with_bias`.
        mask: See the module.
    """
    convolve = _convolution(
        input,
        weight,
        offset,
        group,
        deformable_group,
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        output.shape[2:],
    )
    tensors = [input, offset, weight, mask] + [bias] * with_bias
    output.copy_(convolve(*map(widen, tensors)))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the gradients of `modulated_deform_conv_forward` into the buffers `grad_…`."""
    convolve = _convolution(
        input,
        weight,
        offset,
        group,
        deformable_group,
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        grad_output.shape[2:],
    )
    tensors = [input, offset, weight, mask] + [bias] * with_bias
    buffers = [grad_input, grad_offset, grad_weight, grad_mask] + [grad_bias] * with_bias
    for buffer, gradient in zip(buffers, gradients(convolve, tensors, grad_output)):
        buffer.copy_(gradient)
