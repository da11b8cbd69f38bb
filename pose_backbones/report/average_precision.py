"""Average precision of any subset of the people, as COCO's evaluation computes it.

`coco_table` computes the metrics of all people with xtcocotools. For subsets and for repaired
detections, xtcocotools would need changed files. For all people, both give the same values.
faster-coco-eval was considered, but it has the same interface: it selects images and sizes, not
any subset of people, and it takes no matches of repaired detections.
"""

from dataclasses import dataclass

import numpy as np

from .matching import match
from .poses import Poses

#: OKS thresholds over which AP is the mean.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
#: Recalls at which the precision is sampled.
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision and recall of a subset of the people; NaN without people.

    Args:
        ap: AP, mean over the OKS thresholds.
        ap50: AP at an OKS threshold of .5.
        ap75: AP at an OKS threshold of .75.
        ar: Recall, mean over the OKS thresholds.
        people: Number of people in the subset.
        curves: (10, 101), precision by OKS threshold and recall (`RECALLS`).
    """

    ap: float
    ap50: float
    ap75: float
    ar: float
    people: int
    curves: np.ndarray


def average_precision(
    poses: Poses,
    oks: np.ndarray,
    ignored: np.ndarray | None = None,
    areas: tuple[float, float] | None = None,
    scores: np.ndarray | None = None,
    dropped: np.ndarray | None = None,
) -> AveragePrecision:
    """Compute COCO's average precision and recall for a subset of the people.

    Args:
        poses: N people and M detections.
        oks: (P,), OKS of the pairs in `poses.pairs`.
        ignored: (N,) bool, the people outside of the subset (default: as annotated).
        areas: Minimum and maximum area of the subset. Unmatched detections with another area are
            ignored.
        scores: (M,), scores to use instead of those of the detections.
        dropped: (M,) bool, detections to leave out.

    Returns:
        The mean over the categories that have people.
    """
    people, detections = poses.people, poses.detections
    ignored = people.ignored if ignored is None else ignored
    scores = detections.scores if scores is None else scores
    outside = np.zeros(len(scores), bool)
    if areas is not None:
        ignored = ignored | (people.areas < areas[0]) | (people.areas > areas[1])
        outside = (detections.areas < areas[0]) | (detections.areas > areas[1])
    if dropped is not None:
        oks = np.where(dropped[poses.pairs[0]], -1, oks)
        outside = outside | dropped
    matches = match(poses, oks, THRESHOLDS, ignored, scores)
    off = matches.ignored | ((matches.person < 0) & outside)
    rows = []
    for category in np.unique(poses.categories[people.group[~ignored]]):
        in_category = poses.categories[detections.group] == category
        total = int((~ignored & (poses.categories[people.group] == category)).sum())
        order = np.argsort(-scores[in_category], kind='stable')
        rows.append(
            _curve(
                (matches.person >= 0)[:, in_category][:, order],
                off[:, in_category][:, order],
                total,
            )
        )
    if not rows:
        nothing = np.full((len(THRESHOLDS), len(RECALLS)), np.nan)
        return AveragePrecision(*[float('nan')] * 4, 0, nothing)
    curves, recall = (np.mean(part, axis=0) for part in zip(*rows))
    precision = curves.mean(axis=1)
    return AveragePrecision(
        float(precision.mean()),
        float(precision[0]),
        float(precision[5]),
        float(recall.mean()),
        int((~ignored).sum()),
        curves,
    )


def _curve(matched: np.ndarray, off: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute (T, 101) precisions at `RECALLS` and (T,) the highest recall.

    Args:
        matched: (T, M) bool by threshold, the detections that match a person, sorted by score.
        off: (T, M) bool, the ignored detections.
        total: Number of people.
    """
    correct = np.cumsum(matched & ~off, axis=1, dtype=float)
    false = np.cumsum(~matched & ~off, axis=1, dtype=float)
    precision = correct / (correct + false + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([precision, np.zeros((len(precision), 1))], axis=1)
    recall = np.concatenate([np.zeros((len(correct), 1)), correct / total], axis=1)
    curves = [row[np.searchsorted(reached[1:], RECALLS)] for row, reached in zip(padded, recall)]
    return np.array(curves), recall[:, -1]
