"""Patch MMPose's conversion of tensors to NumPy arrays: bfloat16 becomes float32.

NumPy has no bfloat16. MMPose's heads convert their outputs to decode them and, in training, to
compute the accuracy, which would raise an error in mixed precision.

MMPose's model registry imports this module when a model is looked up for the first time. The heads,
whose modules contain the function as an attribute, have been imported by then.
"""

import sys
from typing import Any

import torch
from mmengine.utils import apply_to
from mmpose.utils import tensor_utils

_original = tensor_utils.to_numpy


def to_numpy(x: Any, return_device: bool = False, unzip: bool = False) -> Any:
    """Convert tensors as MMPose does, those in bfloat16 to float32."""
    return _original(apply_to(x, _is_bfloat16, torch.Tensor.float), return_device, unzip)


def _is_bfloat16(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype == torch.bfloat16


def install() -> None:
    """Replace the function in all modules of MMPose that have been imported."""
    for name, module in list(sys.modules.items()):
        if name.startswith('mmpose.') and getattr(module, 'to_numpy', None) is _original:
            module.to_numpy = to_numpy  # type: ignore[attr-defined]


install()
