"""The worst and the best images of a test run, with their annotations and predictions drawn."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ..errors import DatasetError
from ..utils.images import read_image
from ..visualization.draw import Skeleton, draw_pose
from .diagnosis import BACKGROUND, MISS
from .measures import Measures
from .results import Run

#: Longest side of a drawn image in pixels, and its JPEG quality.
LONGEST, QUALITY = 560, 80
#: Keypoints that are predicted with a lower score are drawn hollow.
LOW_SCORE = 0.2
#: Kind of error → color of the ring around such a keypoint, (blue, green, red).
RINGS = {1: (0, 190, 250), 2: (230, 130, 20), 3: (200, 80, 190), MISS: (40, 40, 230)}


@dataclass(frozen=True)
class RankedImage:
    """How well the people of an image are predicted.

    Args:
        id: ID of the image in the annotations.
        name: File name.
        mean_oks: Mean OKS of the people. A missed person, and a background detection whose
            score is at least the threshold of the best F1, count as an OKS of 0.
        people: Number of annotated people.
        missed: Number of people missed at an OKS of .5.
        false: Number of false detections from that score on.
    """

    id: int | str
    name: str
    mean_oks: float
    people: int
    missed: int
    false: int


@dataclass(frozen=True)
class Example:
    """An image with its annotations, and the same image with its predictions.

    Args:
        image: The image and how well it is predicted.
        annotated: JPEG with the annotated people, as a data URI.
        predicted: JPEG with the predicted people, as a data URI.
        width: Width of both in pixels.
        height: Height of both in pixels.
    """

    image: RankedImage
    annotated: str
    predicted: str
    width: int
    height: int


@dataclass(frozen=True)
class Examples:
    """The example images of a report.

    Args:
        requested: Requested number of worst images and of best images.
        ranking: All images with people or with confident false detections, the worst first;
            empty if no images are drawn.
        worst: Examples of the worst images.
        best: Examples of the best images.
        unreadable: Names of the images that could not be read.
    """

    requested: int
    ranking: list[RankedImage] = field(default_factory=list)
    worst: list[Example] = field(default_factory=list)
    best: list[Example] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def draw_examples(run: Run, measures: Measures, number: int) -> Examples:
    """Draw the worst and the best images of a test run.

    Args:
        run: The test run; without a folder of images, nothing is drawn.
        measures: Its measures.
        number: How many of the worst and how many of the best images.

    Returns:
        The drawn images; no image is among both the worst and the best.
    """
    folder, unreadable = run.sources.images, []
    if number == 0 or folder is None:
        return Examples(number)

    def draw(images: list[RankedImage]) -> list[Example]:
        examples = []
        for image in images:
            pixels = _read(folder / image.name)
            if pixels is None:
                unreadable.append(image.name)
            else:
                examples.append(_draw(image, pixels, measures, run.skeleton))
        return examples

    ranking = rank_images(run, measures)
    worst, others = ranking[:number], ranking[number:]
    return Examples(number, ranking, draw(worst), draw(others[::-1][:number]), unreadable)


def rank_images(run: Run, measures: Measures) -> list[RankedImage]:
    """Sort the images of a test run by how well their people are predicted.

    Returns:
        The images, the worst first; of equally good ones, that with more people.
    """
    poses, diagnosis = measures.poses, measures.diagnosis
    names = {image['id']: image['file_name'] for image in run.truth['images']}
    ids = list(dict.fromkeys(poses.images))
    index = {image_id: place for place, image_id in enumerate(ids)}
    image_of_group = np.array([index[image_id] for image_id in poses.images], int)

    def total(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.bincount(image_of_group[groups], weights=values, minlength=len(ids))

    person_group, detection_group = poses.people.group, poses.detections.group
    confident = poses.detections.scores >= measures.calibration.threshold
    people = total(person_group, ~poses.people.ignored)
    missed = total(person_group, diagnosis.missed >= 0)
    false = total(detection_group, (diagnosis.error >= 0) & confident)
    background = total(detection_group, (diagnosis.error == BACKGROUND) & confident)
    oks = total(detection_group, np.where(diagnosis.counted, diagnosis.oks, 0))
    ranked = [
        RankedImage(
            image_id,
            str(names[image_id]),
            float(oks[place] / (people[place] + background[place])),
            *[int(values[place]) for values in (people, missed, false)],
        )
        for place, image_id in enumerate(ids)
        if people[place] + background[place] > 0
    ]
    return sorted(ranked, key=lambda image: (image.mean_oks, -image.people))


def _read(path: Path) -> np.ndarray | None:
    try:
        return read_image(path)
    except DatasetError:
        return None


def _draw(
    image: RankedImage, pixels: np.ndarray, measures: Measures, skeleton: Skeleton
) -> Example:
    scale = min(1, LONGEST / max(pixels.shape[:2]))
    size = [max(1, round(scale * length)) for length in pixels.shape[1::-1]]
    annotated = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    predicted = annotated.copy()
    groups = [g for g, image_id in enumerate(measures.poses.images) if image_id == image.id]
    _draw_annotations(annotated, measures, groups, skeleton, scale)
    _draw_predictions(predicted, measures, groups, skeleton, scale)
    return Example(image, _data_uri(annotated), _data_uri(predicted), *size)


def _draw_annotations(
    canvas: np.ndarray, measures: Measures, groups: list[int], skeleton: Skeleton, scale: float
) -> None:
    people = measures.poses.people
    for person in np.nonzero(np.isin(people.group, groups))[0]:
        points = people.keypoints[person]
        draw_pose(
            canvas, _scaled(points[:, :2], scale), skeleton, points[:, 2] > 0, points[:, 2] == 1
        )


def _draw_predictions(
    canvas: np.ndarray, measures: Measures, groups: list[int], skeleton: Skeleton, scale: float
) -> None:
    """Draw the detections that match a person or are confident, with rings around errors."""
    detections, diagnosis = measures.poses.detections, measures.diagnosis
    shown = np.isin(detections.group, groups) & (
        (diagnosis.oks > 0) | (detections.scores >= measures.calibration.threshold)
    )
    all_keypoints = np.ones(len(skeleton.names), bool)
    for number in np.nonzero(shown)[0]:
        draw_pose(
            canvas,
            _scaled(detections.keypoints[number], scale),
            skeleton,
            all_keypoints,
            detections.point_scores[number] < LOW_SCORE,
        )
    joints = diagnosis.joints
    for row in np.nonzero(shown[joints.detection])[0]:
        points = _scaled(detections.keypoints[joints.detection[row]], scale)
        radius = int(np.clip(np.ptp(points, axis=0).max() / 24, 3, 9))
        for (x, y), kind in zip(points, joints.kinds[row]):
            if kind > 0:
                center, width = (round(x), round(y)), 1 + (radius > 4)
                cv2.circle(canvas, center, radius, RINGS[kind], width, cv2.LINE_AA)


def _scaled(points: np.ndarray, scale: float) -> np.ndarray:
    """Return points of the resized image, limited to coordinates that OpenCV can draw."""
    return np.clip((points + 0.5) * scale - 0.5, -9999, 9999)


def _data_uri(image: np.ndarray) -> str:
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()
