"""What is wrong with detections: of joints, of detections, of people.

Paper: M. R. Ronchi, P. Perona, "Benchmarking and Error Diagnosis in
Multi-Instance Pose Estimation", ICCV 2017 (arXiv 1707.05388).

Deviations: a joint within the range of a good one is good, though a mirrored
or another person's joint may be nearer still (eyes and ears of small people);
people of any size are looked at, theirs from 32² pixels on; AP after a repair
is of joints put where they are labelled, theirs where the error ends, and of
one kind at a time, theirs one after the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .matching import key_point_similarity, match
from .poses import Poses

#: of a joint: near its label; near, but not within a person's error; near
#: the same person's mirrored joint; near another person's; near none
KINDS = ('good', 'jitter', 'inversion', 'swap', 'miss')
GOOD, JITTER, INVERSION, SWAP, MISS = range(5)
#: of keypoint similarity: a good joint's least, and that of being near
GOOD_FROM, NEAR_FROM = 0.85, 0.5
#: of OKS: the least that connects a detection with a person
LOCALISED = 0.1
#: of OKS: from here on a detection is right, COCO's most lenient threshold
RIGHT = 0.5
#: why a detection is false, or a person missed, besides `KINDS`
DUPLICATE, BACKGROUND, NOT_FOUND = 5, 6, 7
_ERRORS = {name: code for code, name in enumerate(KINDS) if code != GOOD}
#: name → code of why a detection is false, and of why a person is missed
FALSE_KINDS = {**_ERRORS, 'duplicate': DUPLICATE, 'background': BACKGROUND}
MISSED_KINDS = {**_ERRORS, 'not found': NOT_FOUND}
_CHUNK = 1000


@dataclass(frozen=True)
class Joints:
    """Q detections held against people.

    Args:
        detection, person: (Q,) indices.
        kinds: (Q, K) of `KINDS`; -1 where a joint is not labelled.
        similarity: (Q, K), to the joint's label; NaN where there is none.
        distance: (Q, K), to it in pixels; NaN where there is none.
    """

    detection: np.ndarray
    person: np.ndarray
    kinds: np.ndarray
    similarity: np.ndarray
    distance: np.ndarray

    def main_kind(self) -> np.ndarray:
        """(Q,), the kind of error that costs the most similarity."""
        lost = np.nan_to_num(1 - self.similarity)
        return 1 + np.stack(
            [np.where(self.kinds == kind, lost, 0).sum(axis=1) for kind in range(1, len(KINDS))]
        ).argmax(axis=0)


@dataclass(frozen=True)
class Diagnosis:
    """Errors of a test run.

    Args:
        joints: Of detections with the people that they stand for, from OKS
            .1 on.
        oks: (M,), to that person; 0 for a detection that stands for nobody.
        counted: (M,) bool, those that do not stand for an ignored person.
        right: (M,) bool, those that find a person with OKS .5 or better.
        fault: (M,), why a detection is false: of `KINDS`, `DUPLICATE` or
            `BACKGROUND`; -1 for one that is right or not counted.
        missed: (N,), why a person is not found with OKS .5: of `KINDS` or
            `NOT_FOUND`; -1 for one that is found or does not count.
    """

    joints: Joints
    oks: np.ndarray
    counted: np.ndarray
    right: np.ndarray
    fault: np.ndarray
    missed: np.ndarray


def classify(
    poses: Poses, partners: np.ndarray, detection: np.ndarray, person: np.ndarray
) -> Joints:
    """Hold the joints of detections against all people of their groups.

    Args:
        poses: K keypoints.
        partners: (K,), the joint that a mirror puts in its place, or itself.
        detection, person: (Q,), what is compared.

    Returns:
        The kinds of the joints.
    """
    shape = (len(person), len(poses.sigmas))
    kinds, own = np.full(shape, -1), np.empty(shape)
    for part, points, labels, areas, same in _neighbours(poses, detection, person):
        near = _similarity_to(labels, points, areas, poses.sigmas)
        mirrored = _similarity_to(labels[..., partners, :], points, areas, poses.sigmas)
        own[part] = _pick(near, same)
        others = np.where(same[..., None], -1, np.maximum(near, mirrored)).max(axis=1)
        kinds[part] = _kinds(own[part], _pick(mirrored, same), others)
    labels = poses.people.keypoints[person]
    known = labels[..., 2] > 0
    distance = np.linalg.norm(poses.detections.keypoints[detection] - labels[..., :2], axis=-1)
    return Joints(
        detection,
        person,
        np.where(known, kinds, -1),
        np.where(known, own, np.nan),
        np.where(known, distance, np.nan),
    )


def _neighbours(poses: Poses, detection: np.ndarray, person: np.ndarray) -> Iterator[tuple]:
    """Some pairs at a time, with all G people of their groups.

    Yields:
        The slice of the pairs; points (q, 1, K, 2); labels (q, G, K, 3),
        zeros for nobody; areas (q, G); and (q, G) bool, is it the person.
    """
    people = poses.people
    first, counts = poses.people_of
    for start in range(0, len(person), _CHUNK):
        part = slice(start, start + _CHUNK)
        group = people.group[person[part]]
        column = np.arange(counts[group].max())
        there = column < counts[group][:, None]
        member = np.where(there, first[group][:, None] + column, 0)
        labels = people.keypoints[member] * there[..., None, None]
        yield (
            part,
            poses.detections.keypoints[detection[part]][:, None],
            labels,
            people.areas[member],
            there & (member == person[part][:, None]),
        )


def _similarity_to(
    labels: np.ndarray, points: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """(q, G, K), -1 where a joint is not labelled."""
    near = key_point_similarity(points, labels[..., :2], areas, sigmas)
    return np.where(labels[..., 2] > 0, near, -1)


def _pick(values: np.ndarray, same: np.ndarray) -> np.ndarray:
    """(q, K) of (q, G, K), those of the one person that is the same."""
    return np.where(same[..., None], values, -1).max(axis=1)


def _kinds(own: np.ndarray, mirrored: np.ndarray, others: np.ndarray) -> np.ndarray:
    best = np.maximum(np.maximum(own, mirrored), others)
    return np.select(
        [own >= GOOD_FROM, best < NEAR_FROM, own >= best, mirrored >= others],
        [GOOD, MISS, JITTER, INVERSION],
        SWAP,
    )


def diagnose(poses: Poses, oks: np.ndarray, partners: np.ndarray) -> Diagnosis:
    """Find the errors of a test run.

    Args:
        poses: Of the run.
        oks: (P,), from `all_oks`.
        partners: (K,), see `classify`.

    Returns:
        The errors.
    """
    loose, strict = (match(poses, oks, [level]) for level in (LOCALISED, RIGHT))
    person, counted = loose.person[0], ~(loose.ignored | strict.ignored)[0]
    stands = np.nonzero((person >= 0) & counted)[0]
    value = np.zeros(len(person))
    pair_detection, pair_person = poses.pairs
    chosen = person[pair_detection] == pair_person
    value[pair_detection[chosen]] = oks[chosen]
    value[~counted] = 0
    joints = classify(poses, partners, stands, person[stands])
    right = (strict.person[0] >= 0) & counted
    taken = np.zeros(len(poses.people.group), bool)
    taken[strict.person[0][right]] = True
    regular = ~poses.people.ignored[pair_person]
    return Diagnosis(
        joints,
        value,
        counted,
        right,
        _faults(poses, oks, regular, partners, counted & ~right, taken),
        _missed(poses, oks, regular, partners, right, taken),
    )


def _faults(
    poses: Poses,
    oks: np.ndarray,
    regular: np.ndarray,
    partners: np.ndarray,
    false: np.ndarray,
    taken: np.ndarray,
) -> np.ndarray:
    """Why each false detection is one, by the person most like it."""
    detection, person = poses.pairs
    fault = np.where(false, BACKGROUND, -1)
    best = _best_pairs(detection, oks, regular & (oks >= LOCALISED) & false[detection])
    fault[detection[best]] = DUPLICATE
    best = best[~taken[person[best]]]
    joints = classify(poses, partners, detection[best], person[best])
    fault[joints.detection] = joints.main_kind()
    return fault


def _missed(
    poses: Poses,
    oks: np.ndarray,
    regular: np.ndarray,
    partners: np.ndarray,
    right: np.ndarray,
    taken: np.ndarray,
) -> np.ndarray:
    """Why each person is missed, by the detection most like it."""
    detection, person = poses.pairs
    open_to = ~taken & ~poses.people.ignored
    missed = np.where(open_to, NOT_FOUND, -1)
    best = _best_pairs(
        person, oks, regular & (oks >= LOCALISED) & open_to[person] & ~right[detection]
    )
    joints = classify(poses, partners, detection[best], person[best])
    missed[joints.person] = joints.main_kind()
    return missed


def _best_pairs(keys: np.ndarray, oks: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Of each key, the allowed pair of the greatest OKS."""
    pairs = np.nonzero(allowed)[0]
    pairs = pairs[np.lexsort((oks[pairs], keys[pairs]))]
    last = np.append(np.diff(keys[pairs]) != 0, True)[: len(pairs)]
    return pairs[last]


def repaired_keypoints(poses: Poses, joints: Joints, kind: int) -> np.ndarray:
    """(M, K, 2), the detections with joints of a kind put in their place."""
    keypoints = poses.detections.keypoints.copy()
    row, joint = np.nonzero(joints.kinds == kind)
    keypoints[joints.detection[row], joint] = poses.people.keypoints[joints.person[row], joint, :2]
    return keypoints
