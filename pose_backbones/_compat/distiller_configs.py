"""Patch MMPose's DWPose, which does not find the configs of its teacher and its student.

Its configs name both by their paths in MMPose's repository, such as
`configs/wholebody_2d_keypoint/rtmpose/…`, which exist only in its root. With the patch, paths that
do not exist are looked up in `mmpose/.mim`, where MMPose installs its configs.
"""

from functools import wraps
from pathlib import Path

import mmpose
from mmpose.models.distillers import DWPoseDistiller

_original = DWPoseDistiller.__init__


def _find(path: str) -> str:
    """Return the path of a config of the installed MMPose, or the path itself if there is none."""
    shipped = Path(mmpose.__file__).parent / '.mim' / path
    return str(shipped) if shipped.is_file() and not Path(path).is_file() else path


@wraps(_original)
def _init(self: DWPoseDistiller, teacher_cfg: str, student_cfg: str, *args, **kwargs) -> None:
    _original(self, _find(teacher_cfg), _find(student_cfg), *args, **kwargs)


DWPoseDistiller.__init__ = _init
