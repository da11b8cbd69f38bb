"""MMPose's descriptions of its data sets, found where it ships them.

Its data sets name them as `configs/_base_/datasets/coco.py`, a file of its
repository. Installed as a package it takes the copy that it brings along, and
warns of that in every run, though nobody has named a file and nothing is
wrong. That warning, and no other, is left out.
"""

import warnings

__all__ = ['install']

_MESSAGE = (
    r'The metainfo config file "configs/_base_/datasets/\w+\.py" does '
    r'not exist\. A matched config file'
)


def install() -> None:
    """Leave the warning out; calling it again changes nothing."""
    warnings.filterwarnings('ignore', _MESSAGE, UserWarning)
