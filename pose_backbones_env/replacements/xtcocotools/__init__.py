"""Replacement of xtcocotools, with the same modules and the same metrics.

MMPose reads annotations and evaluates keypoints with xtcocotools. Its last release (1.14.3, of
2023) is compiled for NumPy 1, and has no wheels for Python 3.12 and later.

- `coco`: index of an annotation file, based on pycocotools.
- `cocoeval`: metrics, computed by hotcoco or, if it is missing, by pycocotools.
- `mask`: run-length masks of pycocotools.
"""
