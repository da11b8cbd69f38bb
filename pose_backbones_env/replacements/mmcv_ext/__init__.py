"""Replacement of `mmcv._ext`, the compiled operators of mmcv, for use with `mmcv-lite`.

MMPose, MMDetection and MMSegmentation import `mmcv.ops`, which requires `mmcv._ext`. This package
has the operators that their models for images use, on torchvision and PyTorch, for tensors on any
device. Any other operator raises `MissingOperatorError` when it is called (not when it is
imported); docs/operators.md lists both.

The functions have the signatures of the compiled ones, which `mmcv/ops/*.py` calls: results are
written into buffers that the caller allocates. Half-precision tensors (float16, bfloat16) are
computed in float32, the results are rounded to the dtype of the buffers.
"""

from collections.abc import Callable

from .carafe import carafe_backward, carafe_forward, carafe_naive_backward, carafe_naive_forward
from .compiler import get_compiler_version, get_compiling_cuda_version
from .deform_attention import ms_deform_attn_backward, ms_deform_attn_forward
from .deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .deform_roi_pool import deform_roi_pool_backward, deform_roi_pool_forward
from .focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from .masked_conv import masked_col2im_forward, masked_im2col_forward
from .overlaps import bbox_overlaps, box_iou_quadri, box_iou_rotated
from .psa_mask import psamask_backward, psamask_forward
from .roi_align import roi_align_backward, roi_align_forward
from .roi_pool import roi_pool_backward, roi_pool_forward
from .suppression import nms, nms_match, nms_quadri, nms_rotated, softnms
from .sync_bn import (
    sync_bn_backward_data,
    sync_bn_backward_param,
    sync_bn_forward_mean,
    sync_bn_forward_output,
    sync_bn_forward_var,
)

#: the operators
__all__ = [
    'bbox_overlaps',
    'box_iou_quadri',
    'box_iou_rotated',
    'carafe_backward',
    'carafe_forward',
    'carafe_naive_backward',
    'carafe_naive_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'deform_roi_pool_backward',
    'deform_roi_pool_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'nms_quadri',
    'nms_rotated',
    'psamask_backward',
    'psamask_forward',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
    'sync_bn_backward_data',
    'sync_bn_backward_param',
    'sync_bn_forward_mean',
    'sync_bn_forward_output',
    'sync_bn_forward_var',
]


class MissingOperatorError(NotImplementedError):
    """An operator was called that requires mmcv's compiled extension."""


def __getattr__(name: str) -> Callable:
    """Return a function that raises, since `mmcv.ops` asks for all operators."""
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args: object, **kwargs: object) -> None:
        raise MissingOperatorError(
            f"the operator '{name}' requires mmcv's compiled extension, which mmcv-lite does "
            "not have. Replace mmcv-lite by the full mmcv: pip install 'setuptools<81' ninja && "
            'pip uninstall -y mmcv-lite && MMCV_WITH_OPS=1 pip install --no-deps '
            '--no-build-isolation mmcv==2.1.0 (requires a compiler, takes about 10 minutes), or '
            'use a model without this operator.'
        )

    missing.__name__ = name
    return missing
