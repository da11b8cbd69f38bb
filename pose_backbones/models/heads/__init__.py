"""Heads; they stand on MMPose's."""

from .mspn_head import MSPNHead

__all__ = ['MSPNHead']
