"""Estimate the poses of people in images and videos: `PoseInferencer`, detectors and results."""

from .boxes import BatchDetector, BoxesLike, Detector
from .detection import ModelDetector
from .detector import DETECTORS, PersonDetector, load_detector
from .inferencer import PoseInferencer
from .inputs import ImageSource
from .pose_result import PoseResult
from .prediction_stream import Results
from .torchvision_detector import TorchvisionDetector

__all__ = [
    'DETECTORS',
    'BatchDetector',
    'BoxesLike',
    'Detector',
    'ImageSource',
    'ModelDetector',
    'PersonDetector',
    'PoseInferencer',
    'PoseResult',
    'Results',
    'TorchvisionDetector',
    'load_detector',
]
