"""Pose heads, based on MMPose's `BaseHead`."""

from .hrcomer_head import HRCoMerHead
from .mspn_head import MSPNHead
from .multi_level_heatmap_head import MultiLevelHeatmapHead

__all__ = ['HRCoMerHead', 'MSPNHead', 'MultiLevelHeatmapHead']
