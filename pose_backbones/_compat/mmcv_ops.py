"""Stub of mmcv's compiled operators, for use with `mmcv-lite`.

MMPose and MMDetection import `mmcv.ops`, which requires the module `mmcv._ext`. If a full mmcv is
installed, its extension is used unchanged. Otherwise, this module replaces it: torchvision computes
the operators that inference needs, and any other operator raises an error with its name when it is
called (not when it is imported).
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch

__all__ = ['MissingOperatorError', 'install', 'is_stub_installed']

_NAME = 'mmcv._ext'


class MissingOperatorError(NotImplementedError):
    """An operator was called that requires mmcv's compiled extension."""


def nms(
    boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
) -> torch.Tensor:
    """Apply non-maximum suppression, with the signature of mmcv's operator.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2.
        scores: (N, ).
        iou_threshold: Boxes whose IoU with a box of higher score exceeds this value are dropped.
        offset: 0, or 1 for boxes whose width is x2 - x1 + 1.

    Returns:
        Indices of the remaining boxes, int64, in descending order of the scores.
    """
    from torchvision.ops import nms as torchvision_nms

    if offset:
        boxes = boxes.clone()
        boxes[:, 2:] += offset
    return torchvision_nms(boxes, scores, iou_threshold)


class _OperatorStub(ModuleType):
    """Module in which every public name is a callable."""

    nms = staticmethod(nms)

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(f'module {_NAME!r} has no attribute {name!r}')

        def missing(*args, **kwargs):
            raise MissingOperatorError(
                f"the operator '{name}' requires mmcv's compiled extension, which mmcv-lite does "
                'not have. Replace mmcv-lite by the full mmcv: pip uninstall mmcv-lite, then '
                "MMCV_WITH_OPS=1 pip install --no-build-isolation 'mmcv==2.1.0' (requires a "
                'compiler, takes about 10 minutes), or use a model without this operator.'
            )

        missing.__name__ = name
        return missing


def is_stub_installed() -> bool:
    """Return whether the stub replaces `mmcv._ext`."""
    return isinstance(sys.modules.get(_NAME), _OperatorStub)


def install() -> None:
    """Install the stub if, and only if, mmcv has no compiled extension."""
    if _NAME in sys.modules or importlib.util.find_spec('mmcv') is None:
        return
    if importlib.util.find_spec(_NAME) is not None:
        return
    module = _OperatorStub(_NAME, 'Stub of pose_backbones._compat.mmcv_ops.')
    # Without a loader, `mmcv.utils.check_ops_exist` returns False, as it should.
    module.__spec__ = ModuleSpec(_NAME, loader=None)
    sys.modules[_NAME] = module
    import mmcv

    mmcv._ext = module
