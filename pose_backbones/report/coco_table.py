"""COCO's and CrowdPose's metrics, computed by xtcocotools."""

import contextlib
import io
from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
from xtcocotools import cocoeval
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from pose_backbones_env import finder

from ..structures.coco_index import make_index

#: metric → its meaning, in the order in which the evaluator returns them
COCO_ROWS = {
    'AP': 'mean AP over the OKS thresholds .50, .55, …, .95: the primary metric',
    'AP .5': 'AP at an OKS threshold of .50',
    'AP .75': 'AP at an OKS threshold of .75',
    'AP (M)': 'AP of medium people: area from 32² to 96² pixels',
    'AP (L)': 'AP of large people: area above 96² pixels',
    'AR': 'share of people found, mean over the thresholds',
    'AR .5': 'share of people found at an OKS threshold of .50',
    'AR .75': 'share of people found at an OKS threshold of .75',
    'AR (M)': 'share of medium people found',
    'AR (L)': 'share of large people found',
}
CROWD_ROWS = {
    **{name: COCO_ROWS[name] for name in ('AP', 'AP .5', 'AP .75', 'AR', 'AR .5', 'AR .75')},
    'AP (E)': 'easy images: crowd index below .2',
    'AP (M)': 'medium images: crowd index from .2 to .8',
    'AP (H)': 'hard images: crowd index of .8 or more',
}


def evaluator_version() -> str:
    """Return the name and the version of the package that computes the metrics."""
    if 'xtcocotools' not in finder.active():
        return f'xtcocotools {version("xtcocotools")}'
    name = cocoeval.evaluator.__name__
    return f'{name} {version(name)} (instead of xtcocotools)'


def load_results(truth: dict, results: list[dict], ann_file: str) -> tuple[COCO, COCO]:
    """Load annotations and results into xtcocotools, which adds `area` and `id` to the results.

    Args:
        truth: Annotations in COCO's format.
        results: Results in COCO's format.
        ann_file: Path of the annotations. CrowdPose's evaluation reads the crowd indices from it.

    Returns:
        xtcocotools' objects of the annotations and of the results.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        coco = make_index(truth, ann_file)
        return coco, coco.loadRes(results)


def coco_table(
    coco: COCO, detected: COCO, sigmas: np.ndarray, iou_type: str, use_area: bool
) -> Mapping[str, float]:
    """Compute the metrics that an evaluation prints.

    Args:
        coco: Annotations, from `load_results`.
        detected: Results, from `load_results`.
        sigmas: (K,), standard deviation of each keypoint's labels.
        iou_type: `'keypoints'` or `'keypoints_crowd'`.
        use_area: Scale distances by the annotated `area`; else by .53 of the area of the box.

    Returns:
        Metric → value, for each of `COCO_ROWS` or `CROWD_ROWS`; NaN without people.
    """
    rows = CROWD_ROWS if iou_type == 'keypoints_crowd' else COCO_ROWS
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, detected, iou_type, sigmas, use_area)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {
        name: float(value) if value >= 0 else float('nan')
        for name, value in zip(rows, evaluation.stats)
    }
