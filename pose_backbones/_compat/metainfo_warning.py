"""Filter a warning of MMPose about the descriptions of its data sets.

MMPose's data sets name their descriptions by a path in its repository, such as
`configs/_base_/datasets/coco.py`. When MMPose is installed as a package, it uses the copy that it
ships and issues a warning in every run. This filter ignores that warning and no other.
"""

import warnings

_MESSAGE = (
    r'The metainfo config file "configs/_base_/datasets/\w+\.py" does '
    r'not exist\. A matched config file'
)


def install() -> None:
    """Install the filter; calling it again changes nothing."""
    warnings.filterwarnings('ignore', _MESSAGE, UserWarning)
