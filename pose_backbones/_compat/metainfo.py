"""Locate the dataset descriptions that MMPose ships, and ignore its warning about them.

MMPose's datasets refer to the descriptions by their path in its repository, such as
`configs/_base_/datasets/coco.py`. The installed package reads its own copy instead and issues a
warning in every run, although nothing is wrong. `install` ignores this warning and no other.
"""

import warnings
from pathlib import Path

_MESSAGE = (
    r'The metainfo config file "configs/_base_/datasets/\w+\.py" does '
    r'not exist\. A matched config file'
)


def shipped_metainfo(name: str) -> Path:
    """Return the path of a dataset description in the installed MMPose.

    Args:
        name: File name, such as `coco.py`.

    Returns:
        The path. The file may not exist.
    """
    import mmpose

    return Path(mmpose.__file__).parent / '.mim/configs/_base_/datasets' / name


def install() -> None:
    """Ignore the warning. Calling this function again has no effect."""
    warnings.filterwarnings('ignore', _MESSAGE, UserWarning)
