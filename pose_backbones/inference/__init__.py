"""Estimate the poses of people in images and videos: `PoseInferencer`, detectors and results."""

from .boxes import BoxesLike, Detector
from .detector import DETECTORS, PersonDetector, load_detector
from .inferencer import PoseInferencer
from .inputs import ImageSource
from .pose_result import PoseResult
from .prediction_stream import Results

__all__ = [
    'DETECTORS',
    'BoxesLike',
    'Detector',
    'ImageSource',
    'PersonDetector',
    'PoseInferencer',
    'PoseResult',
    'Results',
    'load_detector',
]
