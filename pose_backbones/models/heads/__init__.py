"""Pose heads, based on MMPose's `BaseHead`."""

from .hrcomer_head import HRCoMerHead
from .mspn_head import MSPNHead

__all__ = ['HRCoMerHead', 'MSPNHead']
