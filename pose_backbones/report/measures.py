"""All numbers that the report shows about a test run."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .average_precision import AveragePrecision, average_precision
from .calibration import Calibration, calibrate
from .coco_table import coco_table, load_results
from .diagnosis import (
    DUPLICATE,
    FALSE_KINDS,
    GOOD,
    KINDS,
    MISSED_KINDS,
    Diagnosis,
    Joints,
    diagnose,
    repaired_keypoints,
)
from .matching import all_oks
from .poses import Poses, read_poses
from .results import Run

#: Limits of the ranges of size: sides of squares in pixels. COCO's medium people have at least
#: 32², its large people at least 96² pixels.
SIZES = (0, 32, 64, 96, 192, 1e5)


@dataclass(frozen=True)
class KeypointErrors:
    """Errors of K keypoints, over the detections that are matched to a person (OKS ≥ .1).

    Args:
        counts: (K, 5) numbers of labelled keypoints by kind of error, in the order of `KINDS`.
        oks_error: (K,) means of 1 − similarity; NaN for a keypoint that is never labelled.
        distance: (K,) medians of the distance to the label in pixels; NaN likewise.
    """

    counts: np.ndarray
    oks_error: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class ErrorCounts:
    """Numbers of people and detections by kind of error.

    Args:
        people: Number of annotated people, without the ignored ones.
        ignored: Number of ignored people.
        missed: Kind of error → number of people missed at an OKS of .5.
        detections: Number of detections, without those of ignored people.
        false: Kind of error → number of false detections at an OKS of .5.
        confident_false: The same for detections whose score has at least the threshold of the
            best F1.
    """

    people: int
    ignored: int
    missed: Mapping[str, int]
    detections: int
    false: Mapping[str, int]
    confident_false: Mapping[str, int]


@dataclass(frozen=True)
class Measures:
    """Measures of a test run.

    Args:
        table: COCO's or CrowdPose's metrics, computed by xtcocotools.
        poses: The people and detections that were compared.
        overall: AP of all people.
        by_size: Range of sizes → AP of these people; ranges without people are left out.
        by_labels: Range of numbers of labelled keypoints → AP of these people, likewise.
        repairs: Correction → AP after it.
        keypoints: Errors of each keypoint.
        errors: Numbers of missed people and false detections.
        diagnosis: Errors of each detection and person.
        calibration: Relation of scores and OKS.
    """

    table: Mapping[str, float]
    poses: Poses
    overall: AveragePrecision
    by_size: Mapping[str, AveragePrecision]
    by_labels: Mapping[str, AveragePrecision]
    repairs: Mapping[str, float]
    keypoints: KeypointErrors
    errors: ErrorCounts
    diagnosis: Diagnosis
    calibration: Calibration


def measure(run: Run) -> Measures:
    """Compute all measures of a test run.

    Args:
        run: The test run. xtcocotools adds `area` and `id` to its results.

    Returns:
        The measures.
    """
    coco, detected = load_results(run.truth, run.results, str(run.sources.annotations))
    crowd = run.iou_type == 'keypoints_crowd'
    poses = read_poses(
        run.truth, run.results, run.sigmas, run.use_area, 'num_keypoints' if crowd else 'labelled'
    )
    oks = all_oks(poses)
    diagnosis = diagnose(poses, oks, run.partners)
    calibration = calibrate(poses, diagnosis)
    return Measures(
        table=coco_table(coco, detected, run.sigmas, run.iou_type, run.use_area),
        poses=poses,
        overall=average_precision(poses, oks),
        by_size=_by_size(poses, oks),
        by_labels=_by_labels(poses, oks),
        repairs=_repairs(poses, oks, diagnosis),
        keypoints=_keypoint_errors(diagnosis.joints),
        errors=_count_errors(poses, diagnosis, calibration.threshold),
        diagnosis=diagnosis,
        calibration=calibration,
    )


def _by_size(poses: Poses, oks: np.ndarray) -> dict[str, AveragePrecision]:
    subsets = {}
    for low, high in pairwise(SIZES):
        name = f'{low} to {high}' if high < 1e5 else f'from {low}'
        subsets[name] = average_precision(poses, oks, areas=(low**2, high**2))
    return {name: subset for name, subset in subsets.items() if subset.people}


def label_ranges(count: int) -> list[tuple[int, int]]:
    """Split the possible numbers of labelled keypoints into ranges: 1–5, 6–10, … of 17.

    Args:
        count: Number of keypoints.

    Returns:
        First and last number of each range.
    """
    ends = sorted({max(1, round(count * part)) for part in (0.3, 0.6, 0.9)} | {count})
    starts = [1, *[end + 1 for end in ends[:-1]]]
    return list(zip(starts, ends))


def _by_labels(poses: Poses, oks: np.ndarray) -> dict[str, AveragePrecision]:
    subsets, people = {}, poses.people
    for low, high in label_ranges(len(poses.sigmas)):
        name = f'{low} to {high}' if high > low else f'{low}'
        subsets[name] = average_precision(
            poses, oks, people.ignored | (people.labelled < low) | (people.labelled > high)
        )
    return {name: subset for name, subset in subsets.items() if subset.people}


def _repairs(poses: Poses, oks: np.ndarray, diagnosis: Diagnosis) -> dict[str, float]:
    repairs = {}
    for kind, name in enumerate(KINDS):
        if kind != GOOD:
            points = repaired_keypoints(poses, diagnosis.joints, kind)
            repairs[f'no {name}'] = average_precision(poses, all_oks(poses, points)).ap
    repairs['no background'] = average_precision(
        poses, oks, dropped=diagnosis.error >= DUPLICATE
    ).ap
    repairs['optimal scores'] = average_precision(poses, oks, scores=diagnosis.oks).ap
    return repairs


def _keypoint_errors(joints: Joints) -> KeypointErrors:
    count = joints.kinds.shape[1]
    oks_error, distance = np.full((2, count), np.nan)
    for keypoint in range(count):
        labelled = joints.kinds[:, keypoint] >= 0
        if labelled.any():
            oks_error[keypoint] = 1 - joints.similarity[labelled, keypoint].mean()
            distance[keypoint] = np.median(joints.distance[labelled, keypoint])
    counts = [(joints.kinds == kind).sum(axis=0) for kind in range(len(KINDS))]
    return KeypointErrors(np.stack(counts, axis=1), oks_error, distance)


def _count_errors(poses: Poses, diagnosis: Diagnosis, threshold: float) -> ErrorCounts:
    def count(codes: np.ndarray, kinds: Mapping[str, int]) -> dict[str, int]:
        return {name: int((codes == code).sum()) for name, code in kinds.items()}

    ignored = poses.people.ignored
    confident = poses.detections.scores >= threshold
    return ErrorCounts(
        people=int((~ignored).sum()),
        ignored=int(ignored.sum()),
        missed=count(diagnosis.missed, MISSED_KINDS),
        detections=int(diagnosis.counted.sum()),
        false=count(diagnosis.error, FALSE_KINDS),
        confident_false=count(diagnosis.error[confident], FALSE_KINDS),
    )
