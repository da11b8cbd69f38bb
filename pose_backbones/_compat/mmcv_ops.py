"""A stand-in for mmcv's compiled operators, for use with `mmcv-lite`.

`import mmcv.ops`, which MMPose and MMDetection do, needs a module
`mmcv._ext`. Where a full mmcv is installed it is there and stays untouched.
Where it is not, this module takes its place: the operators that inference
needs are computed by torchvision, every other one raises an error that names
it as soon as it is called (not when it is imported).
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch

__all__ = ['MissingOperatorError', 'install', 'is_stand_in']

_NAME = 'mmcv._ext'


class MissingOperatorError(NotImplementedError):
    """An operator was called that only a compiled mmcv has."""


def nms(
    boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
) -> torch.Tensor:
    """Non-maximum suppression with the signature of mmcv's operator.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2.
        scores: (N, ).
        iou_threshold: Boxes that overlap a better one by more are dropped.
        offset: 0, or 1 for boxes whose width is x2 - x1 + 1.

    Returns:
        Indices of the boxes kept, int64, best score first.
    """
    from torchvision.ops import nms as torchvision_nms

    if offset:
        boxes = boxes.clone()
        boxes[:, 2:] += offset
    return torchvision_nms(boxes, scores, iou_threshold)


class _StandIn(ModuleType):
    """A module that has a callable of every name."""

    nms = staticmethod(nms)

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(f'module {_NAME!r} has no {name!r}')

        def missing(*args, **kwargs):
            raise MissingOperatorError(
                f"the operator '{name}' needs mmcv's compiled extension, "
                'which mmcv-lite does not have. Install full mmcv in its '
                'place: pip uninstall mmcv-lite, then MMCV_WITH_OPS=1 pip '
                "install --no-build-isolation 'mmcv==2.1.0' (needs a "
                'compiler, about 10 minutes), or use a model without this '
                'operator.'
            )

        missing.__name__ = name
        return missing


def is_stand_in() -> bool:
    """Whether `mmcv._ext` is the stand-in and not mmcv's own extension."""
    return isinstance(sys.modules.get(_NAME), _StandIn)


def install() -> None:
    """Put the stand-in in place if, and only if, mmcv has no extension."""
    if _NAME in sys.modules or importlib.util.find_spec('mmcv') is None:
        return
    if importlib.util.find_spec(_NAME) is not None:
        return
    module = _StandIn(_NAME, 'Stand-in of pose_backbones._compat.mmcv_ops.')
    # Without a loader, `mmcv.utils.check_ops_exist` rightly says no.
    module.__spec__ = ModuleSpec(_NAME, loader=None)
    sys.modules[_NAME] = module
    import mmcv

    mmcv._ext = module
