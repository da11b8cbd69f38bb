"""Losses."""

from .heatmap_loss import HardKeypointsMSELoss, VisibleKeypointsMSELoss

__all__ = ['HardKeypointsMSELoss', 'VisibleKeypointsMSELoss']
