"""Assignment of targets to queries (label assignment) and its costs."""

from .match_costs import BinaryFocalCost, JointL1Cost, LimbL1Cost
from .pose_hungarian_assigner import PoseHungarianAssigner

__all__ = ['BinaryFocalCost', 'JointL1Cost', 'LimbL1Cost', 'PoseHungarianAssigner']
