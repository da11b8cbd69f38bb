"""Patch MMPose's ED-Pose, whose weights cannot be initialized.

`EDPoseOutHead.init_weights` sets the last layer of each regression branch to zero as `branch[-1]`,
but a branch is an `FFN` of MMPose, which has no index: its layers are in `layers`.
"""

from mmpose.models.heads.transformer_heads.edpose_head import EDPoseOutHead
from torch import nn


def _init_weights(self: EDPoseOutHead) -> None:
    """Set the weights and biases of the last layers of the regression branches to zero."""
    for branch in (*self.bbox_embed, *self.pose_embed):
        last = branch.layers[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)


EDPoseOutHead.init_weights = _init_weights
