"""Ensembles of top-down models, which average heatmaps."""

from .ensemble import HeatmapEnsemble
from .heatmap_grid import SamplingGrid, crop_grid, map_grid, resample_crops, resample_maps
from .members import EnsembleMembers
from .pipeline_geometry import Crop, common_metainfo, compare_metainfo, read_crop

__all__ = [
    'Crop',
    'EnsembleMembers',
    'HeatmapEnsemble',
    'SamplingGrid',
    'common_metainfo',
    'compare_metainfo',
    'crop_grid',
    'map_grid',
    'read_crop',
    'resample_crops',
    'resample_maps',
]
