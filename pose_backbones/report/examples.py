"""The worst and the best images of a test run, drawn into the page."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import DatasetError
from ..utils.images import read_image
from ..visualization.draw import Skeleton, draw_pose
from .calibration import Calibration
from .diagnosis import BACKGROUND, KINDS, MISS, Diagnosis
from .poses import Poses

#: longest side of a picture, in pixels, and its JPEG quality
LONGEST, QUALITY = 560, 80
#: score below which a predicted joint is drawn hollow
UNSURE = 0.2
#: kind of a joint's error → colour of the ring around it, (B, G, R)
RINGS = {1: (0, 190, 250), 2: (230, 130, 20), 3: (200, 80, 190), MISS: (40, 40, 230)}


@dataclass(frozen=True)
class Ranking:
    """How well each image is predicted.

    Args:
        images: Ids of the images with people or confident false detections.
        quality: Σ OKS of the people over how many there are, false
            detections above the threshold of the best F1 counted as people
            of OKS 0.
        people, missed, false: Counts of each image.
    """

    images: list
    quality: np.ndarray
    people: np.ndarray
    missed: np.ndarray
    false: np.ndarray

    def order(self) -> np.ndarray:
        """Indices, the worst first; of equals, that with more people."""
        return np.lexsort((-self.people, self.quality))


@dataclass(frozen=True)
class Pair:
    """An image twice, as data URIs.

    Args:
        name: File name.
        truth, predicted: JPEG, annotations and predictions drawn.
        width, height: In pixels.
        quality, people, missed, false: See `Ranking`.
    """

    name: str
    truth: str
    predicted: str
    width: int
    height: int
    quality: float
    people: int
    missed: int
    false: int


def rank_images(poses: Poses, diagnosis: Diagnosis, calibration: Calibration) -> Ranking:
    """Order the images by how well their people are found."""
    images = list(dict.fromkeys(poses.images))
    places = {image: place for place, image in enumerate(images)}
    place = np.array([places[image] for image in poses.images], int)
    people = poses.people

    def count(groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.bincount(place[groups], weights=weights, minlength=len(images))

    found = count(poses.detections.group, np.where(diagnosis.counted, diagnosis.oks, 0))
    there = count(people.group, ~people.ignored)
    missed = count(people.group, diagnosis.missed >= 0)
    false = count(
        poses.detections.group,
        (diagnosis.fault >= 0) & (poses.detections.scores >= calibration.threshold),
    )
    strays = count(
        poses.detections.group,
        (diagnosis.fault == BACKGROUND) & (poses.detections.scores >= calibration.threshold),
    )
    kept = there + strays > 0
    quality = found[kept] / (there + strays)[kept]
    return Ranking(
        [image for image, keep in zip(images, kept) if keep],
        quality,
        *[values[kept].astype(int) for values in (there, missed, false)],
    )


def draw_pairs(
    folder: Path,
    names: Mapping,
    poses: Poses,
    diagnosis: Diagnosis,
    calibration: Calibration,
    skeleton: Skeleton,
    ranking: Ranking,
    chosen: np.ndarray,
) -> tuple[list[Pair], list[str]]:
    """Draw annotations and predictions of some images.

    Args:
        folder: Of the images.
        names: Image id → file name.
        poses, diagnosis, calibration, skeleton: Of the run.
        ranking: Of its images.
        chosen: Indices into it.

    Returns:
        The pictures, and the names of images that cannot be read.
    """
    pairs, absent = [], []
    for place in chosen:
        image = ranking.images[place]
        name = str(names[image])
        picture = _read(folder / name)
        if picture is None:
            absent.append(name)
            continue
        scale = min(1, LONGEST / max(picture.shape[:2]))
        size = [max(1, round(scale * length)) for length in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        groups = [g for g, other in enumerate(poses.images) if other == image]
        truth, predicted = picture.copy(), picture
        _draw_truth(truth, poses, groups, skeleton, scale)
        _draw_predicted(predicted, poses, diagnosis, groups, skeleton, scale, calibration.threshold)
        pairs.append(
            Pair(
                name,
                _uri(truth),
                _uri(predicted),
                picture.shape[1],
                picture.shape[0],
                float(ranking.quality[place]),
                int(ranking.people[place]),
                int(ranking.missed[place]),
                int(ranking.false[place]),
            )
        )
    return pairs, absent


def _read(path: Path) -> np.ndarray | None:
    try:
        return read_image(path)
    except DatasetError:
        return None


def _draw_truth(
    picture: np.ndarray, poses: Poses, groups: list[int], skeleton: Skeleton, scale: float
) -> None:
    people = poses.people
    for person in np.nonzero(np.isin(people.group, groups))[0]:
        points = people.keypoints[person]
        draw_pose(
            picture, _scaled(points[:, :2], scale), skeleton, points[:, 2] > 0, points[:, 2] == 1
        )


def _draw_predicted(
    picture: np.ndarray,
    poses: Poses,
    diagnosis: Diagnosis,
    groups: list[int],
    skeleton: Skeleton,
    scale: float,
    threshold: float,
) -> None:
    """Detections that stand for people, and others of a good score."""
    detections = poses.detections
    shown = np.isin(detections.group, groups) & (
        (diagnosis.oks > 0) | (detections.scores >= threshold)
    )
    everything = np.ones(len(skeleton.names), bool)
    for number in np.nonzero(shown)[0]:
        draw_pose(
            picture,
            _scaled(detections.keypoints[number], scale),
            skeleton,
            everything,
            detections.point_scores[number] < UNSURE,
        )
    joints = diagnosis.joints
    for row in np.nonzero(shown[joints.detection])[0]:
        points = _scaled(detections.keypoints[joints.detection[row]], scale)
        radius = int(np.clip(np.ptp(points, axis=0).max() / 24, 3, 9))
        for (x, y), kind in zip(points, joints.kinds[row]):
            if kind > 0:
                cv2.circle(
                    picture,
                    (round(x), round(y)),
                    radius,
                    RINGS[kind],
                    1 + (radius > 4),
                    cv2.LINE_AA,
                )


def _scaled(points: np.ndarray, scale: float) -> np.ndarray:
    """Of the picture made smaller; kept within what OpenCV can draw."""
    return np.clip((points + 0.5) * scale - 0.5, -9999, 9999)


def _uri(picture: np.ndarray) -> str:
    _, data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()


def ring_colours() -> dict[str, str]:
    """Name of a kind of error → its colour in the pictures, for CSS."""
    return {KINDS[kind]: f'rgb({r},{g},{b})' for kind, (b, g, r) in RINGS.items()}
