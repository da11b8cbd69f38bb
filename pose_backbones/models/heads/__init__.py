"""Heads; they stand on MMPose's."""

from .hrcomer_head import HRCoMerHead
from .mspn_head import MSPNHead

__all__ = ['HRCoMerHead', 'MSPNHead']
