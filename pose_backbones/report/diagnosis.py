"""Error diagnosis: kinds of errors of keypoints, false detections and missed people.

Paper: M. R. Ronchi, P. Perona, "Benchmarking and Error Diagnosis in
Multi-Instance Pose Estimation", ICCV 2017 (arXiv 1707.05388).

Deviations: a keypoint that is near enough to its label to be good is good, even if the label of the
mirrored keypoint or of another person is nearer (eyes and ears of small people); people of all
sizes are included, in the paper those from 32² pixels on; for the AP after a repair, keypoints move
to their labels and one kind of error is repaired at a time, in the paper keypoints move to where
the error ends and the repairs accumulate.

tidecv was considered, but it diagnoses boxes and masks, and has no errors of keypoints.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .matching import label_similarity, match
from .poses import Poses

#: Kinds of errors of a keypoint: at its label; near its label; near the label of the mirrored
#: keypoint; near a label of another person; near none of these.
KINDS = ('good', 'jitter', 'inversion', 'swap', 'miss')
GOOD, JITTER, INVERSION, SWAP, MISS = range(5)
#: Minimum similarity to the label of a good keypoint, and to a label that is near.
GOOD_FROM, NEAR_FROM = 0.85, 0.5
#: Minimum OKS of a detection that is matched to a person.
LOCALISED = 0.1
#: Minimum OKS of a correct detection, COCO's lowest threshold.
CORRECT = 0.5
#: Further kinds of errors of false detections and missed people.
DUPLICATE, BACKGROUND, NOT_FOUND = 5, 6, 7
_ERRORS = {name: code for code, name in enumerate(KINDS) if code != GOOD}
#: Name → code of the kinds of errors of false detections, and of missed people.
FALSE_KINDS = {**_ERRORS, 'duplicate': DUPLICATE, 'background': BACKGROUND}
MISSED_KINDS = {**_ERRORS, 'not found': NOT_FOUND}
_CHUNK = 1000


@dataclass(frozen=True)
class Joints:
    """Keypoints of Q pairs of a detection and a person.

    Args:
        detection: (Q,), index of the detection.
        person: (Q,), index of the person.
        kinds: (Q, K), index into `KINDS`; -1 for a keypoint without a label.
        similarity: (Q, K), similarity to the label; NaN without a label.
        distance: (Q, K), distance to the label in pixels; NaN without a label.
    """

    detection: np.ndarray
    person: np.ndarray
    kinds: np.ndarray
    similarity: np.ndarray
    distance: np.ndarray

    def main_kind(self) -> np.ndarray:
        """Return (Q,), the kind of error that costs the most similarity."""
        loss = np.nan_to_num(1 - self.similarity)
        return 1 + np.stack(
            [np.where(self.kinds == kind, loss, 0).sum(axis=1) for kind in range(1, len(KINDS))]
        ).argmax(axis=0)


@dataclass(frozen=True)
class Diagnosis:
    """Errors of a test run.

    Args:
        joints: Keypoints of the detections that match a person with an OKS of at least .1.
        oks: (M,), OKS of each detection with the matched person; 0 for unmatched detections.
        counted: (M,) bool, the detections that do not match an ignored person.
        correct: (M,) bool, the detections that match a person with an OKS of at least .5.
        error: (M,), kind of error of a false detection, a code of `FALSE_KINDS`; -1 for a correct
            or ignored detection.
        missed: (N,), kind of error of a person without a match of an OKS of at least .5, a code of
            `MISSED_KINDS`; -1 for a person that is matched or ignored.
    """

    joints: Joints
    oks: np.ndarray
    counted: np.ndarray
    correct: np.ndarray
    error: np.ndarray
    missed: np.ndarray


def classify(
    poses: Poses, partners: np.ndarray, detection: np.ndarray, person: np.ndarray
) -> Joints:
    """Classify the errors of keypoints, by the labels of all people of the image.

    Args:
        poses: People and detections with K keypoints.
        partners: (K,), index of the mirrored keypoint, or its own index.
        detection: (Q,), index of the detection of each pair.
        person: (Q,), index of the person of each pair.

    Returns:
        The keypoints of the pairs with their kinds of errors.
    """
    shape = (len(person), len(poses.sigmas))
    kinds, similarity = np.full(shape, -1), np.empty(shape)
    for part, points, labels, areas, of_pair in _neighbours(poses, detection, person):
        near = _similarity_to(labels, points, areas, poses.sigmas)
        mirrored = _similarity_to(labels[..., partners, :], points, areas, poses.sigmas)
        similarity[part] = _pick(near, of_pair)
        others = np.where(of_pair[..., None], -1, np.maximum(near, mirrored)).max(axis=1)
        kinds[part] = _kinds(similarity[part], _pick(mirrored, of_pair), others)
    labels = poses.people.keypoints[person]
    labelled = labels[..., 2] > 0
    distance = np.linalg.norm(poses.detections.keypoints[detection] - labels[..., :2], axis=-1)
    return Joints(
        detection,
        person,
        np.where(labelled, kinds, -1),
        np.where(labelled, similarity, np.nan),
        np.where(labelled, distance, np.nan),
    )


def _neighbours(poses: Poses, detection: np.ndarray, person: np.ndarray) -> Iterator[tuple]:
    """Iterate over chunks of pairs, with all people of their groups, up to G.

    Yields:
        The slice of the pairs; points (q, 1, K, 2); labels (q, G, K, 3), padded with zeros; areas
        (q, G); and (q, G) bool, which of the people is that of the pair.
    """
    people = poses.people
    first, counts = poses.people_of
    for start in range(0, len(person), _CHUNK):
        part = slice(start, start + _CHUNK)
        group = people.group[person[part]]
        column = np.arange(counts[group].max())
        present = column < counts[group][:, None]
        member = np.where(present, first[group][:, None] + column, 0)
        labels = people.keypoints[member] * present[..., None, None]
        yield (
            part,
            poses.detections.keypoints[detection[part]][:, None],
            labels,
            people.areas[member],
            present & (member == person[part][:, None]),
        )


def _similarity_to(
    labels: np.ndarray, points: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """Return (q, G, K) similarities, -1 for a keypoint without a label."""
    near = label_similarity(points, labels[..., :2], areas, sigmas)
    return np.where(labels[..., 2] > 0, near, -1)


def _pick(values: np.ndarray, of_pair: np.ndarray) -> np.ndarray:
    """Select the values of the person of the pair: (q, K) of (q, G, K)."""
    return np.where(of_pair[..., None], values, -1).max(axis=1)


def _kinds(similarity: np.ndarray, mirrored: np.ndarray, others: np.ndarray) -> np.ndarray:
    best = np.maximum(np.maximum(similarity, mirrored), others)
    return np.select(
        [similarity >= GOOD_FROM, best < NEAR_FROM, similarity >= best, mirrored >= others],
        [GOOD, MISS, JITTER, INVERSION],
        SWAP,
    )


def diagnose(poses: Poses, oks: np.ndarray, partners: np.ndarray) -> Diagnosis:
    """Diagnose the errors of a test run.

    Args:
        poses: People and detections.
        oks: (P,), from `all_oks`.
        partners: (K,), index of the mirrored keypoint, or its own index.

    Returns:
        The errors of keypoints, detections and people.
    """
    loose, strict = (match(poses, oks, [level]) for level in (LOCALISED, CORRECT))
    person, counted = loose.person[0], ~(loose.ignored | strict.ignored)[0]
    matched = np.nonzero((person >= 0) & counted)[0]
    value = np.zeros(len(person))
    pair_detection, pair_person = poses.pairs
    chosen = person[pair_detection] == pair_person
    value[pair_detection[chosen]] = oks[chosen]
    value[~counted] = 0
    joints = classify(poses, partners, matched, person[matched])
    correct = (strict.person[0] >= 0) & counted
    detected = np.zeros(len(poses.people.group), bool)
    detected[strict.person[0][correct]] = True
    regular = ~poses.people.ignored[pair_person]
    return Diagnosis(
        joints,
        value,
        counted,
        correct,
        _false_detections(poses, oks, regular, partners, counted & ~correct, detected),
        _missed_people(poses, oks, regular, partners, correct, detected),
    )


def _false_detections(
    poses: Poses,
    oks: np.ndarray,
    regular: np.ndarray,
    partners: np.ndarray,
    false: np.ndarray,
    detected: np.ndarray,
) -> np.ndarray:
    """Classify false detections, each by the person with which it has the highest OKS."""
    detection, person = poses.pairs
    error = np.where(false, BACKGROUND, -1)
    best = _best_pairs(detection, oks, regular & (oks >= LOCALISED) & false[detection])
    error[detection[best]] = DUPLICATE
    best = best[~detected[person[best]]]
    joints = classify(poses, partners, detection[best], person[best])
    error[joints.detection] = joints.main_kind()
    return error


def _missed_people(
    poses: Poses,
    oks: np.ndarray,
    regular: np.ndarray,
    partners: np.ndarray,
    correct: np.ndarray,
    detected: np.ndarray,
) -> np.ndarray:
    """Classify missed people, each by the unmatched detection with the highest OKS."""
    detection, person = poses.pairs
    undetected = ~detected & ~poses.people.ignored
    missed = np.where(undetected, NOT_FOUND, -1)
    best = _best_pairs(
        person, oks, regular & (oks >= LOCALISED) & undetected[person] & ~correct[detection]
    )
    joints = classify(poses, partners, detection[best], person[best])
    missed[joints.person] = joints.main_kind()
    return missed


def _best_pairs(keys: np.ndarray, oks: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return the allowed pair with the highest OKS for each key."""
    pairs = np.nonzero(allowed)[0]
    pairs = pairs[np.lexsort((oks[pairs], keys[pairs]))]
    last = np.append(np.diff(keys[pairs]) != 0, True)[: len(pairs)]
    return pairs[last]


def repaired_keypoints(poses: Poses, joints: Joints, kind: int) -> np.ndarray:
    """Return (M, K, 2), the detections with all keypoints of a kind moved to their labels."""
    keypoints = poses.detections.keypoints.copy()
    row, joint = np.nonzero(joints.kinds == kind)
    keypoints[joints.detection[row], joint] = poses.people.keypoints[joints.person[row], joint, :2]
    return keypoints
