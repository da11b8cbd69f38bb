"""Do scores say how good detections are?"""

from dataclasses import dataclass

import numpy as np

from .diagnosis import Diagnosis
from .poses import Poses

BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Scores held against OKS.

    Args:
        score: (B,), mean score of the detections of each bin, NaN if empty.
        oks: (B,), their mean OKS.
        right: (B,), the share of them with OKS .5 or better.
        counts: (B,), how many there are.
        error: Expected calibration error: the mean of |score − OKS| of the
            bins, by their counts; NaN without detections.
        scale: What scores were divided by to be at most 1.
        table: (B, B), detections by score (rows) and OKS (columns).
        threshold: The score from which F1 is best.
        precision, recall: There, at OKS .5.
    """

    score: np.ndarray
    oks: np.ndarray
    right: np.ndarray
    counts: np.ndarray
    error: float
    scale: float
    table: np.ndarray
    threshold: float
    precision: float
    recall: float


def calibrate(poses: Poses, diagnosis: Diagnosis) -> Calibration:
    """Hold scores against OKS, 0 for a detection that stands for nobody.

    Args:
        poses: Of the run.
        diagnosis: Of them.

    Returns:
        Ten bins of equal width from 0 to 1; scores above 1 are divided by
        the greatest, negative ones count as 0.
    """
    counted = diagnosis.counted
    scores = poses.detections.scores[counted]
    oks, right = diagnosis.oks[counted], diagnosis.right[counted]
    scale = max(1.0, float(scores.max(initial=0)))
    shown = np.clip(scores / scale, 0, 1)
    place = np.minimum((shown * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    means = [_mean(place, values, counts) for values in (shown, oks, right)]
    error = float('nan')
    if len(shown):
        gaps = np.abs(means[0] - means[1])[counts > 0]
        error = float(np.average(gaps, weights=counts[counts > 0]))
    column = np.minimum((oks * BINS).astype(int), BINS - 1)
    table = np.zeros((BINS, BINS), int)
    np.add.at(table, (place, column), 1)
    return Calibration(
        *means,
        counts,
        error,
        scale,
        table,
        *_working_point(scores, right, int((~poses.people.ignored).sum())),
    )


def _mean(place: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    sums = np.bincount(place, weights=values, minlength=BINS)
    return np.divide(sums, counts, out=np.full(BINS, np.nan), where=counts > 0)


def _working_point(
    scores: np.ndarray, right: np.ndarray, people: int
) -> tuple[float, float, float]:
    """Score, precision and recall where F1 is best."""
    if not right.any():
        return float('nan'), float('nan'), 0.0
    order = np.argsort(-scores, kind='stable')
    found = np.cumsum(right[order])
    number = np.arange(1, len(order) + 1)
    f1 = 2 * found / (number + people)
    # A threshold takes all detections of one score.
    ends = np.append(np.diff(scores[order]) != 0, True)
    best = np.where(ends, f1, -1).argmax()
    return (
        float(scores[order][best]),
        float(found[best] / number[best]),
        float(found[best] / people),
    )
