"""Multi-scale deformable attention (arXiv 2010.04159) for tensors on a GPU.

For tensors on a CPU, mmcv calls its own function in PyTorch, which is called here, too.
"""

from torch import Tensor

from .autograd import gradients, widen


def _attend(shapes: Tensor, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(value, shapes.tolist(), locations, weights)


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Return the weighted sum of values at the sampling locations.

    Args:
        value: (B, sum of H · W of the levels, heads, channels).
        value_spatial_shapes: (levels, 2), height and width.
        value_level_start_index: Unused; follows from the shapes.
        sampling_locations: (B, queries, heads, levels, points, 2), x and y from 0 to 1.
        attention_weights: (B, queries, heads, levels, points).
        im2col_step: Unused; images that mmcv computes at a time.

    Returns:
        (B, queries, heads · channels), with the dtype of `value`.
    """
    tensors = map(widen, (value, sampling_locations, attention_weights))
    return _attend(value_spatial_shapes, *tensors).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of `ms_deform_attn_forward` into the buffers `grad_…`."""
    computed = gradients(
        lambda *tensors: _attend(value_spatial_shapes, *tensors),
        (value, sampling_locations, attention_weights),
        grad_output,
    )
    for buffer, gradient in zip([grad_value, grad_sampling_loc, grad_attn_weight], computed):
        buffer.copy_(gradient)
