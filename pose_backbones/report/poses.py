"""Arrays of the annotated and detected people of a test run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..structures.oks import AREA_OF_BOX

#: maximum number of detections per image and category, as in COCO's evaluation
MOST_DETECTIONS = 20


@dataclass(frozen=True)
class People:
    """N annotated people, sorted by group.

    Args:
        group: (N,), index into `Poses.images`.
        keypoints: (N, K, 3), x, y in pixels and visibility (0: not labelled).
        areas: (N,), area in square pixels that scales distances.
        boxes: (N, 4), bounding boxes: x, y, width, height.
        ignored: (N,) bool, people who count neither as detected nor as missed: crowds, and people
            without labelled keypoints.
        crowds: (N,) bool, annotations of crowds, which several detections may match.
    """

    group: np.ndarray
    keypoints: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    ignored: np.ndarray
    crowds: np.ndarray

    @cached_property
    def labelled(self) -> np.ndarray:
        """(N,), number of labelled keypoints."""
        return (self.keypoints[..., 2] > 0).sum(axis=1)


@dataclass(frozen=True)
class Detections:
    """M detected people, sorted by group and descending score.

    Args:
        group: (M,), index into `Poses.images`.
        keypoints: (M, K, 2), in pixels.
        point_scores: (M, K), scores of the keypoints.
        scores: (M,), scores of the people.
        areas: (M,), area in square pixels, for COCO's size ranges.
    """

    group: np.ndarray
    keypoints: np.ndarray
    point_scores: np.ndarray
    scores: np.ndarray
    areas: np.ndarray


@dataclass(frozen=True)
class Poses:
    """Annotated people and detections of a test run.

    They are in I groups, one for each category of an image. Only people and detections of the same
    group are compared.

    Args:
        images: Image ID of each group.
        categories: (I,), category ID of each group.
        people: The annotated people.
        detections: The detected people.
        sigmas: (K,), standard deviation of the labels, relative to the square root of the area.
    """

    images: Sequence
    categories: np.ndarray
    people: People
    detections: Detections
    sigmas: np.ndarray

    @cached_property
    def people_of(self) -> tuple[np.ndarray, np.ndarray]:
        """(I,) index of the first person and (I,) number of people of each group."""
        counts = np.bincount(self.people.group, minlength=len(self.images))
        return np.cumsum(counts) - counts, counts

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(P,) detection and (P,) person of all pairs within the groups."""
        first, counts = self.people_of
        each = counts[self.detections.group]
        detection = np.repeat(np.arange(len(each)), each)
        before = np.repeat(np.cumsum(each) - each, each)
        person = first[self.detections.group[detection]] + np.arange(len(detection)) - before
        return detection, person


def read_poses(
    truth: Mapping,
    results: Sequence[Mapping],
    sigmas: np.ndarray,
    use_area: bool,
    counted: str = 'labelled',
) -> Poses:
    """Convert annotations and results to arrays, as COCO's evaluation selects them.

    Args:
        truth: Annotations in COCO's format.
        results: Results in COCO's format with the `area` that `loadRes` of xtcocotools adds. The 20
            results with the highest scores are used for each image and category.
        sigmas: (K,), see `Poses`.
        use_area: Whether to scale distances by the annotated `area`, or by 0.53 times the area of
            the box.
        counted: People who are not ignored: `'labelled'`, those with a labelled keypoint;
            `'num_keypoints'`, those whose `num_keypoints` is not 0, as in CrowdPose's evaluation.

    Returns:
        The arrays.
    """
    annotations, results = truth['annotations'], _with_points(results)
    keys = sorted(
        {(e['category_id'], e['image_id']) for entries in (annotations, results) for e in entries}
    )
    indices = {key: index for index, key in enumerate(keys)}
    return Poses(
        [image for _, image in keys],
        np.array([category for category, _ in keys]),
        _people(annotations, indices, len(sigmas), use_area, counted),
        _detections(results, indices, len(sigmas)),
        np.asarray(sigmas, float),
    )


def _with_points(results: Sequence[Mapping]) -> list[Mapping]:
    """Remove results whose keypoint scores are all 0, as in COCO's evaluation."""
    return [entry for entry in results if max(entry['keypoints'][2::3], default=0) > 0]


def _groups(entries: Sequence[Mapping], indices: Mapping) -> np.ndarray:
    return np.array(
        [indices[entry['category_id'], entry['image_id']] for entry in entries], dtype=int
    )


def _people(
    annotations: Sequence[Mapping], indices: Mapping, count: int, use_area: bool, counted: str
) -> People:
    group = _groups(annotations, indices)
    order = np.argsort(group, kind='stable')
    entries = [annotations[index] for index in order]
    boxes = np.array([e['bbox'] for e in entries], float).reshape(-1, 4)
    areas = AREA_OF_BOX * boxes[:, 2] * boxes[:, 3]
    if use_area:
        areas = np.array([e['area'] for e in entries], float)
    keypoints = np.array([e['keypoints'] for e in entries], float).reshape(-1, count, 3)
    crowds = np.array([bool(e['iscrowd']) for e in entries], bool)
    present = (keypoints[..., 2] > 0).any(axis=1)
    if counted == 'num_keypoints':
        present = np.array([e['num_keypoints'] > 0 for e in entries], bool)
    return People(group[order], keypoints, areas, boxes, crowds | ~present, crowds)


def _detections(results: Sequence[Mapping], indices: Mapping, count: int) -> Detections:
    group = _groups(results, indices)
    scores = np.array([entry['score'] for entry in results], float)
    order = np.lexsort((-scores, group))
    counts = np.bincount(group, minlength=len(indices))
    first = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - first[group[order]]
    order = order[rank < MOST_DETECTIONS]
    keypoints = np.array([results[index]['keypoints'] for index in order], float).reshape(
        -1, count, 3
    )
    areas = np.array([results[index]['area'] for index in order], float)
    return Detections(group[order], keypoints[..., :2], keypoints[..., 2], scores[order], areas)
