"""Object key-point similarity and matching by COCO's rules.

For all images at once, so that a page can ask for the average precision of
many subsets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..structures.oks import keypoint_similarity
from .poses import Poses

_EPS = np.spacing(1)  # added to areas, as by COCO's evaluation
_CHUNK = 50_000  # pairs at a time
_GROUPS = 256  # groups at a time, of like numbers of people


@dataclass(frozen=True)
class Matches:
    """Which detection stands for which person, at T thresholds.

    Args:
        person: (T, M), the person of each detection, -1 for none.
        ignored: (T, M) bool, detections that match an ignored person.
    """

    person: np.ndarray
    ignored: np.ndarray


def label_similarity(
    points: np.ndarray, labels: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """Compute the similarity of keypoints to their labels.

    Args:
        points, labels: (…, K, 2), in pixels.
        areas: (…), s², in square pixels.
        sigmas: (K,).

    Returns:
        (…, K), 0 to 1.
    """
    squares = ((points - labels) ** 2).sum(axis=-1)
    return keypoint_similarity(squares, areas + _EPS, sigmas)


def all_oks(poses: Poses, keypoints: np.ndarray | None = None) -> np.ndarray:
    """OKS of every pair of `poses.pairs`.

    For a person without labels, distances are to the box twice as large.

    Args:
        poses: K key points.
        keypoints: (M, K, 2) in place of those of the detections.

    Returns:
        (P,).
    """
    if keypoints is None:
        keypoints = poses.detections.keypoints
    people, (detection, person) = poses.people, poses.pairs
    oks = np.empty(len(detection))
    for start in range(0, len(oks), _CHUNK):
        part = slice(start, start + _CHUNK)
        points, who = keypoints[detection[part]], person[part]
        labels = people.keypoints[who]
        known = (labels[..., 2] > 0).astype(float)
        bare = people.labelled[who] == 0
        squares = ((points - labels[..., :2]) ** 2).sum(axis=-1)
        squares[bare] = _outside(points[bare], people.boxes[who[bare]])
        known[bare] = 1
        similarity = keypoint_similarity(squares, people.areas[who] + _EPS, poses.sigmas)
        oks[part] = (similarity * known).sum(axis=1) / known.sum(axis=1)
    return oks


def _outside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(…, K) squared distances from boxes with as much again all round."""
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
    """Give each detection, the best score first, the most similar person.

    Args:
        poses: What `oks` is of.
        oks: (P,), of `poses.pairs`.
        thresholds: T values of OKS that a match has at least.
        ignored: (N,) bool in place of `people.ignored`.
        scores: (M,) in place of those of the detections.

    Returns:
        The matches; an ignored person is taken only where no other is left.
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
    """(M,), 0 for the best score of a group."""
    group = poses.detections.group
    order = np.lexsort((-scores, group))
    counts = np.bincount(group, minlength=len(poses.images))
    ranks = np.empty(len(group), int)
    ranks[order] = np.arange(len(group)) - (np.cumsum(counts) - counts)[group[order]]
    return ranks


def _chunks(poses: Poses) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Groups of like numbers of people, and their pairs."""
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
    """Fill in the matches of some groups: rank by rank, all groups at once."""
    first, counts = poses.people_of
    detection, person = (side[pairs] for side in poses.pairs)
    slots = np.empty(len(poses.images), int)
    slots[groups] = np.arange(len(groups))
    slot = slots[poses.people.group[person]]
    column = person - first[groups][slot]
    shape = (len(groups), ranks[detection].max() + 1, counts[groups].max())
    table, who = np.full(shape, -1.0), np.full(shape[:2], -1)
    table[slot, ranks[detection], column] = oks[pairs]
    who[slot, ranks[detection]] = detection
    spare, crowds = np.zeros((2, shape[0], shape[2]), bool)
    spare[slot, column] = ignored[person]
    crowds[slot, column] = poses.people.crowds[person]
    free = np.ones((shape[0], len(limits), shape[2]), bool)
    for rank in range(shape[1]):
        row = table[:, None, rank]
        found, place = _best(free & ~spare[:, None], row, limits)
        second, other = _best(free & spare[:, None], row, limits)
        second &= ~found
        place = np.where(second, other, place)
        at, level = np.nonzero(found | second)
        place = place[at, level]
        matches.person[level, who[at, rank]] = first[groups[at]] + place
        matches.ignored[level, who[at, rank]] = second[at, level]
        free[at, level, place] = crowds[at, place]


def _best(
    open_to: np.ndarray, row: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(I, T): is anyone near enough, and the nearest; of equals the last."""
    values = np.where(open_to, row, -1)
    place = values.shape[2] - 1 - values[..., ::-1].argmax(axis=2)
    value = np.take_along_axis(values, place[..., None], axis=2)[..., 0]
    return value >= limits, place
