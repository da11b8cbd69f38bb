"""Patch MMPose's training of UDP models with offsets, which raises an error.

Such a model (`heatmap_type='combined'`) predicts three maps for each keypoint: the heatmap, and the
offsets in x and y. To log the accuracy, `HeatmapHead.loss` takes a mask of the keypoints for all
maps, of which there are three times as many. With the patch, the accuracy is that of the heatmaps.
"""

from functools import wraps

import numpy as np
from mmpose.models.heads.heatmap_heads import heatmap_head

_original = heatmap_head.pose_pck_accuracy


@wraps(_original)
def pose_pck_accuracy(output: np.ndarray, target: np.ndarray, mask: np.ndarray, *args, **kwargs):
    """Compute the accuracy of maps (N, K, H, W), or (N, 3 K, H, W), with a mask (N, K)."""
    if output.shape[1] == 3 * mask.shape[1]:
        output, target = output[:, ::3], target[:, ::3]
    return _original(output, target, mask, *args, **kwargs)


heatmap_head.pose_pck_accuracy = pose_pck_accuracy
