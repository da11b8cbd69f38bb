"""Poses of a user's pictures and videos, and what is done with them."""

from .detector import DETECTORS, PersonDetector, load_detector
from .inferencer import PoseInferencer
from .pose_result import PoseResult
from .prediction_stream import Results

__all__ = [
    'DETECTORS',
    'PersonDetector',
    'PoseInferencer',
    'PoseResult',
    'Results',
    'load_detector',
]
