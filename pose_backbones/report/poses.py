"""Annotated people and detections of a test run, as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..structures.oks import AREA_OF_BOX

#: detections of an image (and category) that COCO looks at
MOST_DETECTIONS = 20


@dataclass(frozen=True)
class People:
    """N annotated people, sorted by group.

    Args:
        group: (N,) indices into `Poses.images`.
        keypoints: (N, K, 3), x, y in pixels and visibility (0: not labelled).
        areas: (N,), in square pixels, by which distances are measured.
        boxes: (N, 4), x, y, width, height.
        ignored: (N,) bool, neither counted as found nor as missed: crowds,
            and people without a labelled key point.
        crowds: (N,) bool; several detections may match one.
    """

    group: np.ndarray
    keypoints: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    ignored: np.ndarray
    crowds: np.ndarray

    @cached_property
    def labelled(self) -> np.ndarray:
        """(N,), how many key points are labelled."""
        return (self.keypoints[..., 2] > 0).sum(axis=1)


@dataclass(frozen=True)
class Detections:
    """M predicted people, sorted by group and falling score.

    Args:
        group: (M,) indices into `Poses.images`.
        keypoints: (M, K, 2), in pixels.
        point_scores: (M, K).
        scores: (M,).
        areas: (M,), in square pixels, for COCO's ranges of size.
    """

    group: np.ndarray
    keypoints: np.ndarray
    point_scores: np.ndarray
    scores: np.ndarray
    areas: np.ndarray


@dataclass(frozen=True)
class Poses:
    """Both, where a group is what is compared: a category of an image.

    Args:
        images: Image id of each group.
        categories: (I,), category of each group.
        people: See there.
        detections: See there.
        sigmas: (K,), the labelling error over the square root of the area.
    """

    images: Sequence
    categories: np.ndarray
    people: People
    detections: Detections
    sigmas: np.ndarray

    @cached_property
    def people_of(self) -> tuple[np.ndarray, np.ndarray]:
        """(I,) first person of each group and (I,) how many there are."""
        counts = np.bincount(self.people.group, minlength=len(self.images))
        return np.cumsum(counts) - counts, counts

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(P,) and (P,): detection and person of every pair of a group."""
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
    """Arrays of what COCO's evaluation compares.

    Args:
        truth: COCO's annotations.
        results: As `xtcocotools`' loadRes leaves them, with `area`; at most
            the 20 of the best scores of an image and category are taken.
        sigmas: (K,).
        use_area: Measure distances by `area`, or else by .53 of the box.
        counted: `'labelled'`: people with a labelled key point count;
            `'num_keypoints'`: those whose entry of that name is not 0, as
            in CrowdPose's evaluation.

    Returns:
        The arrays.
    """
    annotations, results = truth['annotations'], _with_points(results)
    keys = sorted(
        {(e['category_id'], e['image_id']) for entries in (annotations, results) for e in entries}
    )
    places = {key: place for place, key in enumerate(keys)}
    return Poses(
        [image for _, image in keys],
        np.array([category for category, _ in keys]),
        _people(annotations, places, len(sigmas), use_area, counted),
        _detections(results, places, len(sigmas)),
        np.asarray(sigmas, float),
    )


def _with_points(results: Sequence[Mapping]) -> list[Mapping]:
    """COCO leaves out results whose third values are all 0."""
    return [entry for entry in results if max(entry['keypoints'][2::3], default=0) > 0]


def _groups(entries: Sequence[Mapping], places: Mapping) -> np.ndarray:
    return np.array(
        [places[entry['category_id'], entry['image_id']] for entry in entries], dtype=int
    )


def _people(
    annotations: Sequence[Mapping], places: Mapping, count: int, use_area: bool, counted: str
) -> People:
    group = _groups(annotations, places)
    order = np.argsort(group, kind='stable')
    entries = [annotations[place] for place in order]
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


def _detections(results: Sequence[Mapping], places: Mapping, count: int) -> Detections:
    group = _groups(results, places)
    scores = np.array([entry['score'] for entry in results], float)
    order = np.lexsort((-scores, group))
    counts = np.bincount(group, minlength=len(places))
    first = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - first[group[order]]
    order = order[rank < MOST_DETECTIONS]
    keypoints = np.array([results[place]['keypoints'] for place in order], float).reshape(
        -1, count, 3
    )
    areas = np.array([results[place]['area'] for place in order], float)
    return Detections(group[order], keypoints[..., :2], keypoints[..., 2], scores[order], areas)
