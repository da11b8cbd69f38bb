"""Check predictions for NaN and infinity, with which comparisons give arbitrary results."""

import numpy as np
import torch
from mmengine.structures import InstanceData

_FIELDS = ('keypoints', 'keypoint_scores', 'bboxes', 'bbox_scores')
#: coordinate in pixels that is far from every keypoint of an image
_FAR = -1e5


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
        values = _array(getattr(instances, name, None))
        if values is not None and not np.isfinite(values).all():
            return name
    return None


def replace_non_finite(instances: InstanceData | None) -> str | None:
    """Replace numbers that are NaN or infinite, so that metrics count the keypoints as wrong.

    A keypoint with such a coordinate or score is moved far out of the image and gets the score 0;
    so are all keypoints of an instance with such a bounding box or score of its box. Other such
    numbers become 0.

    Args:
        instances: See `non_finite_field`; changed in place.

    Returns:
        See `non_finite_field`, before the change.
    """
    found = non_finite_field(instances)
    if found is None or instances is None:
        return None
    fields = {name: _array(getattr(instances, name, None)) for name in _FIELDS}
    arrays = {name: values.copy() for name, values in fields.items() if values is not None}
    keypoints = arrays.get('keypoints')
    if keypoints is not None:
        wrong = ~np.isfinite(keypoints).all(-1)
        for name in _FIELDS[1:]:
            if name in arrays:
                finite = np.isfinite(arrays[name]).reshape(len(wrong), -1)
                wrong |= ~(finite if name == 'keypoint_scores' else finite.all(1, keepdims=True))
        keypoints[wrong] = _FAR
        if 'keypoint_scores' in arrays:
            arrays['keypoint_scores'][wrong] = 0
    for name, values in arrays.items():
        values[~np.isfinite(values)] = 0
        old = getattr(instances, name)
        if isinstance(old, torch.Tensor):
            setattr(instances, name, torch.as_tensor(values, dtype=old.dtype, device=old.device))
        else:
            setattr(instances, name, values)
    return found


def _array(values: object) -> np.ndarray | None:
    if isinstance(values, torch.Tensor):
        return values.detach().float().cpu().numpy()
    return values if isinstance(values, np.ndarray) else None
