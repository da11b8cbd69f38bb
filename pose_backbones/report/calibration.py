"""Calibration of scores: how well they predict the OKS of detections."""

from dataclasses import dataclass

import numpy as np

from .diagnosis import Diagnosis
from .poses import Poses

BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Relation of scores and OKS in B bins of scores.

    Args:
        score: (B,), mean score of the detections in each bin; NaN if the bin is empty.
        oks: (B,), mean OKS of the detections; NaN if the bin is empty.
        correct: (B,), share of the detections with an OKS of at least .5; NaN if the bin is empty.
        counts: (B,), number of detections.
        error: Expected calibration error: the mean of |score − OKS| over the bins, weighted by
            `counts`; NaN without detections.
        scale: Divisor that limits scores to 1.
        table: (B, B), number of detections by score (rows) and OKS (columns).
        threshold: Score threshold of the best F1 at an OKS of .5.
        precision: Precision at this threshold.
        recall: Recall at this threshold.
    """

    score: np.ndarray
    oks: np.ndarray
    correct: np.ndarray
    counts: np.ndarray
    error: float
    scale: float
    table: np.ndarray
    threshold: float
    precision: float
    recall: float


def calibrate(poses: Poses, diagnosis: Diagnosis) -> Calibration:
    """Compare scores with OKS, which is 0 for unmatched detections.

    Args:
        poses: People and detections.
        diagnosis: Their diagnosis.

    Returns:
        The comparison in ten bins of equal width from 0 to 1. If a score is above 1, all are
        divided by the highest; negative ones count as 0.
    """
    counted = diagnosis.counted
    scores = poses.detections.scores[counted]
    oks, correct = diagnosis.oks[counted], diagnosis.correct[counted]
    scale = max(1.0, float(scores.max(initial=0)))
    scaled = np.clip(scores / scale, 0, 1)
    row = np.minimum((scaled * BINS).astype(int), BINS - 1)
    counts = np.bincount(row, minlength=BINS)
    means = [_mean(row, values, counts) for values in (scaled, oks, correct)]
    error = float('nan')
    if len(scaled):
        gaps = np.abs(means[0] - means[1])[counts > 0]
        error = float(np.average(gaps, weights=counts[counts > 0]))
    column = np.minimum((oks * BINS).astype(int), BINS - 1)
    table = np.zeros((BINS, BINS), int)
    np.add.at(table, (row, column), 1)
    return Calibration(
        *means,
        counts,
        error,
        scale,
        table,
        *_working_point(scores, correct, int((~poses.people.ignored).sum())),
    )


def _mean(row: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    sums = np.bincount(row, weights=values, minlength=BINS)
    return np.divide(sums, counts, out=np.full(BINS, np.nan), where=counts > 0)


def _working_point(
    scores: np.ndarray, correct: np.ndarray, people: int
) -> tuple[float, float, float]:
    """Return the score threshold with the best F1, and its precision and recall."""
    if not correct.any():
        return float('nan'), float('nan'), 0.0
    order = np.argsort(-scores, kind='stable')
    num_correct = np.cumsum(correct[order])
    num_kept = np.arange(1, len(order) + 1)
    f1 = 2 * num_correct / (num_kept + people)
    # A threshold cannot separate detections with equal scores.
    ends = np.append(np.diff(scores[order]) != 0, True)
    best = np.where(ends, f1, -1).argmax()
    return (
        float(scores[order][best]),
        float(num_correct[best] / num_kept[best]),
        float(num_correct[best] / people),
    )
