"""Check predictions for NaN and infinity, with which comparisons give arbitrary results."""

import numpy as np
import torch
from mmengine.structures import InstanceData

_FIELDS = ('keypoints', 'keypoint_scores', 'bboxes', 'bbox_scores')


def non_finite_field(instances: InstanceData | None) -> str | None:
    """Return the name of the first field with a number that is NaN or infinite.

    Args:
        instances: MMPose's predicted instances of an image or a person. Fields that are missing or
            neither tensors nor arrays are not checked.

    Returns:
        `'keypoints'`, `'keypoint_scores'`, `'bboxes'` or `'bbox_scores'`; None if all numbers are
        finite.
    """
    for name in _FIELDS:
        values = getattr(instances, name, None)
        if isinstance(values, torch.Tensor):
            values = values.detach().float().cpu().numpy()
        if isinstance(values, np.ndarray) and not np.isfinite(values).all():
            return name
    return None
