"""COCO's and CrowdPose's tables, by xtcocotools itself."""

import contextlib
import io
from collections.abc import Mapping

import numpy as np
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

#: metric → what it says, in the evaluator's order
COCO_ROWS = {
    'AP': 'mean of AP over OKS thresholds .50, .55, …, .95: the main figure',
    'AP .5': 'a detection is right from OKS .50 on',
    'AP .75': 'a detection is right from OKS .75 on',
    'AP (M)': 'people of medium size: area of 32² to 96² pixels',
    'AP (L)': 'large people: area above 96² pixels',
    'AR': 'share of people found, mean over the thresholds',
    'AR .5': 'share of people found with OKS .50 or better',
    'AR .75': 'share of people found with OKS .75 or better',
    'AR (M)': 'share of people of medium size found',
    'AR (L)': 'share of large people found',
}
CROWD_ROWS = {
    **{name: COCO_ROWS[name] for name in ('AP', 'AP .5', 'AP .75', 'AR', 'AR .5', 'AR .75')},
    'AP (E)': 'easy images: crowd index below .2',
    'AP (M)': 'images of a crowd index from .2 to .8',
    'AP (H)': 'hard images: crowd index of .8 and more',
}


def load_results(truth: dict, results: list[dict], ann_file: str) -> tuple[COCO, COCO]:
    """Hand both to xtcocotools; it adds `area` and `id` to the results.

    Args:
        truth: COCO's annotations.
        results: COCO's results.
        ann_file: The file of `truth`, which CrowdPose's levels are read
            from once more.

    Returns:
        Its two objects.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset, coco.anno_file = truth, [ann_file]
        coco.createIndex()
        return coco, coco.loadRes(results)


def coco_table(
    coco: COCO, detected: COCO, sigmas: np.ndarray, iou_type: str, use_area: bool
) -> Mapping[str, float]:
    """The table that a test prints.

    Args:
        coco, detected: From `load_results`.
        sigmas: (K,).
        iou_type: `'keypoints'` or `'keypoints_crowd'`.
        use_area: Measure distances by `area`, or else by .53 of the box.

    Returns:
        A value for each of `COCO_ROWS` or `CROWD_ROWS`; NaN where there is
        nobody to find.
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
