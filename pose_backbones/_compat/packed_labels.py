"""Patch MMPose's `PackPoseInputs`, whose argument `extra_mapping_labels` only a config still has.

The config of YOLOX-Pose-tiny could not be built for training. MMPose's registry of transforms
imports this module when a name is looked up for the first time.
"""

from collections.abc import Mapping
from functools import wraps

from mmpose.datasets.transforms import PackPoseInputs

_original_init = PackPoseInputs.__init__


@wraps(_original_init)
def __init__(self, *args, extra_mapping_labels: Mapping[str, str] | None = None, **kwargs) -> None:
    """Create the transform.

    Args:
        self: The transform.
        args, kwargs: As in MMPose.
        extra_mapping_labels: Entry of the results → name in `gt_instance_labels`, in addition to
            `label_mapping_table`.
    """
    _original_init(self, *args, **kwargs)
    if extra_mapping_labels:
        self.label_mapping_table = {**self.label_mapping_table, **extra_mapping_labels}


PackPoseInputs.__init__ = __init__
