"""The dataset descriptions that MMPose ships.

MMPose's data sets name them by a path in its repository, `configs/_base_/datasets/coco.py`. The
installed package reads its own copy instead, and warns about that in every run, although nothing is
wrong. `install` ignores this warning and no other.
"""

import warnings
from pathlib import Path

_MESSAGE = (
    r'The metainfo config file "configs/_base_/datasets/\w+\.py" does '
    r'not exist\. A matched config file'
)


def shipped_metainfo(name: str) -> Path:
    """Get the path of a description in the installed MMPose.

    Args:
        name: Name of the file, such as `coco.py`.

    Returns:
        Its path; whether the file exists is not checked.
    """
    import mmpose

    return Path(mmpose.__file__).parent / '.mim/configs/_base_/datasets' / name


def install() -> None:
    """Ignore the warning. Calling this again changes nothing."""
    warnings.filterwarnings('ignore', _MESSAGE, UserWarning)
