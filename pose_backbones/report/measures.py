"""All that the page says about a test run, as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .average_precision import Precision, average_precision
from .calibration import Calibration, calibrate
from .coco_table import coco_table, load_results
from .diagnosis import DUPLICATE, GOOD, KINDS, Diagnosis, diagnose, repaired_keypoints
from .matching import all_oks
from .poses import Poses, read_poses
from .results import Run

#: edges of the ranges of size, sides of squares in pixels; COCO's medium
#: and large people are from 32 and from 96 on
SIZES = (0, 32, 64, 96, 192, 1e5)


@dataclass(frozen=True)
class Measures:
    """Figures of a test run.

    Args:
        table: COCO's or CrowdPose's, by xtcocotools.
        poses: What was compared.
        overall: Of everyone.
        by_size, by_labels: Name of a subset of the people → its figures;
            only subsets that have people.
        repairs: What is put right → AP then.
        diagnosis, calibration: Of the run.
    """

    table: Mapping[str, float]
    poses: Poses
    overall: Precision
    by_size: Mapping[str, Precision]
    by_labels: Mapping[str, Precision]
    repairs: Mapping[str, float]
    diagnosis: Diagnosis
    calibration: Calibration


def measure(run: Run) -> Measures:
    """Measure a test run.

    Args:
        run: Of which `results` get `area` and `id` by xtcocotools.

    Returns:
        The figures.
    """
    coco, detected = load_results(run.truth, run.results, str(run.sources.annotations))
    crowd = run.iou_type == 'keypoints_crowd'
    poses = read_poses(
        run.truth, run.results, run.sigmas, run.use_area, 'num_keypoints' if crowd else 'labelled'
    )
    oks = all_oks(poses)
    diagnosis = diagnose(poses, oks, run.partners)
    return Measures(
        coco_table(coco, detected, run.sigmas, run.iou_type, run.use_area),
        poses,
        average_precision(poses, oks),
        _by_size(poses, oks),
        _by_labels(poses, oks),
        _repairs(poses, oks, diagnosis),
        diagnosis,
        calibrate(poses, diagnosis),
    )


def _by_size(poses: Poses, oks: np.ndarray) -> dict[str, Precision]:
    found = {}
    for low, high in pairwise(SIZES):
        name = f'{low} to {high}' if high < 1e5 else f'from {low}'
        found[name] = average_precision(poses, oks, areas=(low**2, high**2))
    return {name: figures for name, figures in found.items() if figures.people}


def label_ranges(count: int) -> list[tuple[int, int]]:
    """Ranges of how many of K key points are labelled: 1–5, 6–10, … of 17.

    Args:
        count: K.

    Returns:
        First and last number of each.
    """
    ends = sorted({max(1, round(count * part)) for part in (0.3, 0.6, 0.9)} | {count})
    starts = [1, *[end + 1 for end in ends[:-1]]]
    return list(zip(starts, ends))


def _by_labels(poses: Poses, oks: np.ndarray) -> dict[str, Precision]:
    found, people = {}, poses.people
    for low, high in label_ranges(len(poses.sigmas)):
        name = f'{low} to {high}' if high > low else f'{low}'
        found[name] = average_precision(
            poses, oks, people.ignored | (people.labelled < low) | (people.labelled > high)
        )
    return {name: figures for name, figures in found.items() if figures.people}


def _repairs(poses: Poses, oks: np.ndarray, diagnosis: Diagnosis) -> dict[str, float]:
    repairs = {}
    for kind, name in enumerate(KINDS):
        if kind != GOOD:
            points = repaired_keypoints(poses, diagnosis.joints, kind)
            repairs[f'no {name}'] = average_precision(poses, all_oks(poses, points)).ap
    repairs['no background'] = average_precision(
        poses, oks, dropped=diagnosis.fault >= DUPLICATE
    ).ap
    repairs['best scores'] = average_precision(poses, oks, scores=diagnosis.oks).ap
    return repairs
