"""Replacement of `mmcv._ext`, the compiled operators of mmcv, for use with `mmcv-lite`.

MMPose and MMDetection import `mmcv.ops`, which requires `mmcv._ext`. Here, torchvision computes the
operators that inference needs. Any other operator raises an error with its name when it is called
(not when it is imported).
"""

from importlib.machinery import ModuleSpec

import torch

__all__ = ['MissingOperatorError', 'nms']

# Without a loader, `mmcv.utils.check_ops_exist` returns False, as it should.
__spec__ = ModuleSpec(__name__, loader=None)


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


def __getattr__(name: str):
    """Return a function that raises, since `mmcv.ops` asks for all operators."""
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args, **kwargs):
        raise MissingOperatorError(
            f"the operator '{name}' requires mmcv's compiled extension, which mmcv-lite does "
            'not have. Replace mmcv-lite by the full mmcv: pip uninstall mmcv-lite, then '
            "MMCV_WITH_OPS=1 pip install --no-build-isolation 'mmcv==2.1.0' (requires a "
            'compiler, takes about 10 minutes), or use a model without this operator.'
        )

    missing.__name__ = name
    return missing
