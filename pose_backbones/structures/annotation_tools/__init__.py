"""Read exports of annotation tools, and write them as COCO keypoint datasets.

YOLO, Label Studio, CVAT, DeepLabCut and SLEAP. A reader converts the content of a file to
`LabelledDataset`; `write_dataset` compares it with the images and writes it.
"""

from .labelled import LabelledDataset, LabelledImage, LabelledObject
from .reading import read_export
from .writing import Conversion, write_dataset

__all__ = [
    'Conversion',
    'LabelledDataset',
    'LabelledImage',
    'LabelledObject',
    'read_export',
    'write_dataset',
]
