"""Object keypoint similarity (OKS) and matching of detections to people, as in COCO's evaluation.

All images are processed at once, since the report computes the average precision of many subsets.
xtcocotools matches one image at a time in a Python loop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..structures.oks import keypoint_similarity
from .poses import Poses

_EPS = np.spacing(1)  # added to areas, as in COCO's evaluation
_CHUNK = 50_000  # pairs that are processed at once
_GROUPS = 256  # groups with similar numbers of people that are processed at once


@dataclass(frozen=True)
class Matches:
    """Matches of M detections to people at T OKS thresholds.

    Args:
        person: (T, M), index of the matched person for each detection, -1 for none.
        ignored: (T, M) bool, whether the matched person is ignored.
    """

    person: np.ndarray
    ignored: np.ndarray


def label_similarity(
    points: np.ndarray, labels: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """Compute the similarity of keypoints to their labels.

    Args:
        points: (…, K, 2), keypoints in pixels.
        labels: (…, K, 2), labels in pixels.
        areas: (…), areas of the people in square pixels.
        sigmas: (K,), see `Poses`.

    Returns:
        (…, K), similarities from 0 to 1.
    """
    squares = ((points - labels) ** 2).sum(axis=-1)
    return keypoint_similarity(squares, areas + _EPS, sigmas)


def all_oks(poses: Poses, keypoints: np.ndarray | None = None) -> np.ndarray:
    """Compute the OKS of all pairs in `poses.pairs`.

    As in COCO's evaluation, for people without labelled keypoints distances are measured to the
    box, enlarged by its size on each side.

    Args:
        poses: Annotated and detected people with K keypoints.
        keypoints: (M, K, 2), keypoints to use instead of those of the detections.

    Returns:
        (P,), the OKS of each pair.
    """
    if keypoints is None:
        keypoints = poses.detections.keypoints
    people, (detection, person) = poses.people, poses.pairs
    oks = np.empty(len(detection))
    for start in range(0, len(oks), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        points, index = keypoints[detection[chunk]], person[chunk]
        labels = people.keypoints[index]
        labelled = (labels[..., 2] > 0).astype(float)
        unlabelled = people.labelled[index] == 0
        squares = ((points - labels[..., :2]) ** 2).sum(axis=-1)
        squares[unlabelled] = _outside(points[unlabelled], people.boxes[index[unlabelled]])
        labelled[unlabelled] = 1
        similarity = keypoint_similarity(squares, people.areas[index] + _EPS, poses.sigmas)
        oks[chunk] = (similarity * labelled).sum(axis=1) / labelled.sum(axis=1)
    return oks


def _outside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return squared distances (…, K) to boxes that are enlarged by their size on each side."""
    corner, size = boxes[:, None, :2], boxes[:, None, 2:]
    gaps = np.maximum(0, corner - size - points) + np.maximum(0, points - corner - 2 * size)
    return (gaps**2).sum(axis=-1)


def match(
    poses: Poses,
    oks: np.ndarray,
    thresholds: Sequence[float],
    ignored: np.ndarray | None = None,
    scores: np.ndarray | None = None,
) -> Matches:
    """Match each detection to the most similar person, in order of decreasing scores.

    Args:
        poses: Annotated and detected people.
        oks: (P,), OKS of `poses.pairs`.
        thresholds: T minimum OKS values of a match.
        ignored: (N,) bool, to use instead of `people.ignored`.
        scores: (M,), to use instead of the scores of the detections.

    Returns:
        The matches. Ignored people are matched only if no other person can be.
    """
    if ignored is None:
        ignored = poses.people.ignored
    if scores is None:
        scores = poses.detections.scores
    limits = np.minimum(thresholds, 1 - 1e-10)
    shape = (len(limits), len(scores))
    matches = Matches(np.full(shape, -1), np.zeros(shape, bool))
    ranks = _ranks(poses, scores)
    for groups, pairs in _chunks(poses):
        _match_chunk(poses, oks, limits, ignored, ranks, groups, pairs, matches)
    return matches


def _ranks(poses: Poses, scores: np.ndarray) -> np.ndarray:
    """Return the rank of each detection in its group, (M,), 0 for the best score."""
    group = poses.detections.group
    order = np.lexsort((-scores, group))
    counts = np.bincount(group, minlength=len(poses.images))
    ranks = np.empty(len(group), int)
    ranks[order] = np.arange(len(group)) - (np.cumsum(counts) - counts)[group[order]]
    return ranks


def _chunks(poses: Poses) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield groups with similar numbers of people, and their pairs."""
    _, counts = poses.people_of
    order = np.argsort(counts, kind='stable')
    chunk = np.empty(len(order), int)
    chunk[order] = np.arange(len(order)) // _GROUPS
    of_pair = chunk[poses.people.group[poses.pairs[1]]]
    sorted_pairs = np.argsort(of_pair, kind='stable')
    ends = np.searchsorted(of_pair[sorted_pairs], np.arange(len(order) // _GROUPS + 2))
    for number, (start, end) in enumerate(pairwise(ends)):
        if end > start:
            yield (order[number * _GROUPS : (number + 1) * _GROUPS], sorted_pairs[start:end])


def _match_chunk(
    poses: Poses,
    oks: np.ndarray,
    limits: np.ndarray,
    ignored: np.ndarray,
    ranks: np.ndarray,
    groups: np.ndarray,
    pairs: np.ndarray,
    matches: Matches,
) -> None:
    """Set the matches of some groups, rank by rank for all groups at once."""
    first, counts = poses.people_of
    detection, person = (side[pairs] for side in poses.pairs)
    slots = np.empty(len(poses.images), int)
    slots[groups] = np.arange(len(groups))
    slot = slots[poses.people.group[person]]
    column = person - first[groups][slot]
    shape = (len(groups), ranks[detection].max() + 1, counts[groups].max())
    table, detection_of = np.full(shape, -1.0), np.full(shape[:2], -1)
    table[slot, ranks[detection], column] = oks[pairs]
    detection_of[slot, ranks[detection]] = detection
    skipped, crowds = np.zeros((2, shape[0], shape[2]), bool)
    skipped[slot, column] = ignored[person]
    crowds[slot, column] = poses.people.crowds[person]
    free = np.ones((shape[0], len(limits), shape[2]), bool)
    for rank in range(shape[1]):
        row = table[:, None, rank]
        matched, best = _best(free & ~skipped[:, None], row, limits)
        matched_ignored, best_ignored = _best(free & skipped[:, None], row, limits)
        matched_ignored &= ~matched
        best = np.where(matched_ignored, best_ignored, best)
        group, level = np.nonzero(matched | matched_ignored)
        best = best[group, level]
        matches.person[level, detection_of[group, rank]] = first[groups[group]] + best
        matches.ignored[level, detection_of[group, rank]] = matched_ignored[group, level]
        free[group, level, best] = crowds[group, best]


def _best(
    allowed: np.ndarray, row: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether a person is similar enough, and the most similar one (ties: last), (I, T)."""
    values = np.where(allowed, row, -1)
    best = values.shape[2] - 1 - values[..., ::-1].argmax(axis=2)
    value = np.take_along_axis(values, best[..., None], axis=2)[..., 0]
    return value >= limits, best
