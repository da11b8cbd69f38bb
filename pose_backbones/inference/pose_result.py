"""Pose estimation results of one image: `PoseResult`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..visualization.draw import Skeleton, draw_people, to_bgr
from . import interoperability

_MIN_SCORE = 0.2  # keypoints above it count in the score of a person, as in MMPose


@dataclass(eq=False, repr=False)
class PoseResult:
    """Poses of the people in an image or in a video frame.

    Coordinates are in pixels of the upright, full-size image; (0, 0) is the centre of the top left
    pixel. `len(result)` is the number n of people, which may be 0.

    Args:
        keypoints: (n, K, 2), float32, x and y; NaN for missing keypoints.
        scores: (n, K), float32, keypoint scores.
        boxes: (n, 4), float32, left, top, right, bottom.
        box_scores: (n,), float32.
        skeleton: Names of the K keypoints, and the limbs.
        size: Width and height of the image in pixels.
        name: Path, or a description such as `'array 3'` or `'clip.mp4, frame 12'`.
        index: Index of the image among all inputs, from 0.
        image_id: Image ID from a COCO file, or another unique value for `to_coco`.
        image: (H, W, 3), uint8, BGR; None if it was not kept.
        track_ids: (n,), int64, track IDs of the people in a video.
        visible: (n, K), float32, probabilities that keypoints are visible, not occluded.
        time: Seconds from the start of the video.
        frame: Index of the frame in the video, from 0.

    Raises:
        ValueError: If the shapes do not match.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    box_scores: np.ndarray
    skeleton: Skeleton
    size: tuple[int, int]
    name: str
    index: int
    image_id: int | str
    image: np.ndarray | None = None
    track_ids: np.ndarray | None = None
    visible: np.ndarray | None = None
    time: float | None = None
    frame: int | None = None

    def __post_init__(self) -> None:
        n, k = len(self.keypoints), len(self.skeleton.names)
        shapes = dict(
            keypoints=(n, k, 2),
            scores=(n, k),
            boxes=(n, 4),
            box_scores=(n,),
            visible=(n, k),
            track_ids=(n,),
        )
        for field, shape in shapes.items():
            value = getattr(self, field)
            if value is None and field in ('visible', 'track_ids'):
                continue
            kind = np.int64 if field == 'track_ids' else np.float32
            value = np.asarray(value, kind)
            if value.size == n == 0:
                value = value.reshape(shape)
            if value.shape != shape:
                raise ValueError(
                    f'{field} of {self.name} has the shape {value.shape}: '
                    f'expected {shape}, for {n} people with {k} keypoints'
                )
            setattr(self, field, value)
        width, height = self.size
        self.size = int(width), int(height)

    def __len__(self) -> int:
        return len(self.keypoints)

    def __repr__(self) -> str:
        width, height = self.size
        return (
            f'PoseResult({self.name!r}, {width} x {height} pixels, people:'
            f' {len(self)}, keypoints: {len(self.names)})'
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the keypoints."""
        return self.skeleton.names

    def draw(
        self,
        image: np.ndarray | None = None,
        *,
        threshold: float = 0.3,
        boxes: bool = False,
        ids: bool = False,
        width: float = 1.0,
    ) -> np.ndarray:
        """Draw the poses on a copy of the image.

        Args:
            image: (H, W, 3) BGR, (H, W, 4) BGRA or (H, W) grey, uint8, with the size of the
                result. Default: the image of the result.
            threshold: Keypoints with a lower score are not drawn. Above the threshold, the opacity
                increases with the score.
            boxes: Whether to draw the bounding boxes.
            ids: Whether to write the track IDs, or without tracking the indices of the people,
                from 0.
            width: Factor for the width of lines and the size of points.

        Returns:
            (H, W, 3), uint8, BGR, a new array.

        Raises:
            ValueError: If there is no image, the image has another size or type, or `width` is not
                positive.
        """
        if not width > 0:
            raise ValueError(f'width is {width}: expected a factor above 0, 1 by default')
        if image is None:
            image = self.image
        if image is None:
            raise ValueError(
                f'the result of {self.name} has no image: pass one to draw(), '
                'or use keep_images=True'
            )
        drawn = to_bgr(image)
        if drawn.shape[1::-1] != self.size:
            raise ValueError(
                f'the image to draw on has {drawn.shape[1]} x {drawn.shape[0]} pixels, but '
                f'{self.name} has {self.size[0]} x {self.size[1]}: pass an image of that size, '
                'and resize the output of draw() if needed'
            )
        numbers = range(len(self))
        if self.track_ids is not None:
            numbers = self.track_ids.tolist()
        draw_people(
            drawn,
            self.keypoints,
            self.scores,
            self.skeleton,
            boxes=self.boxes,
            ids=numbers,
            visible=self.visible,
            threshold=threshold,
            show_boxes=boxes,
            show_ids=ids,
            width=width,
        )
        return drawn

    def to_dict(self) -> dict:
        """Convert the result to JSON-serializable Python objects.

        Returns:
            A dict with `name`, `index`, `image_id`, `width`, `height`; for video frames `time` in
            seconds and `frame`; `keypoint_names`; `skeleton`, pairs of indices from 0; and
            `people`, each with `keypoints` [[x, y], …], `scores`, `box` [left, top, right,
            bottom], `box_score` and, if available, `track_id` and `visible`. Numbers that are not
            finite are None.
        """
        record = dict(
            name=str(self.name),
            index=int(self.index),
            image_id=_plain_id(self.image_id),
            width=self.size[0],
            height=self.size[1],
        )
        if self.time is not None:
            record['time'] = float(self.time)
        if self.frame is not None:
            record['frame'] = int(self.frame)
        record['keypoint_names'] = list(self.names)
        record['skeleton'] = [list(map(int, limb)) for limb in self.skeleton.limbs]
        columns = dict(
            keypoints=_plain(self.keypoints),
            scores=_plain(self.scores),
            box=_plain(self.boxes),
            box_score=_plain(self.box_scores),
        )
        if self.track_ids is not None:
            columns['track_id'] = self.track_ids.tolist()
        if self.visible is not None:
            columns['visible'] = _plain(self.visible)
        record['people'] = [dict(zip(columns, person)) for person in zip(*columns.values())]
        return record

    def to_coco(self, category_id: int = 1) -> list[dict]:
        """Convert the result to records of COCO's results format.

        Keypoints, boxes and box scores that are not finite are set to zero.

        Args:
            category_id: COCO category ID.

        Returns:
            A record for each person, with `image_id`, `category_id`, `keypoints` [x, y, score] *
            K, `bbox` [left, top, width, height] and `score`. As in MMPose's CocoMetric
            (`score_mode='bbox_keypoint'`), the score is that of the box times the mean of the
            keypoint scores above 0.2.
        """
        joints = np.concatenate([self.keypoints, self.scores[..., None]], 2)
        joints = np.where(np.isfinite(joints).all(2, keepdims=True), joints, 0)
        finite = np.isfinite(self.boxes).all(1, keepdims=True)
        boxes = np.where(finite, self.boxes, 0)
        boxes[:, 2:] -= boxes[:, :2]
        box_scores = np.nan_to_num(self.box_scores, posinf=0, neginf=0)
        scores = joints[..., 2].astype(np.float64)
        counted = scores > _MIN_SCORE
        means = (scores * counted).sum(1) / np.maximum(counted.sum(1), 1)
        keypoints = joints.reshape(len(self), 3 * len(self.names))
        return [
            dict(
                image_id=_plain_id(self.image_id),
                category_id=category_id,
                keypoints=flat,
                bbox=box,
                score=score,
            )
            for flat, box, score in zip(
                _plain(keypoints), _plain(boxes), (box_scores * means).tolist()
            )
        ]

    def to_supervision(self) -> tuple[Any, Any]:
        """Convert the result to types of the package supervision.

        Returns:
            `supervision.KeyPoints` and `supervision.Detections` of the people, in the same order.
            Missing keypoints have the position (0, 0), a confidence of 0, and are not `visible`.
            The keypoints have the names in `data['keypoint_names']`; the detections have the
            `tracker_id` of tracked people.

        Raises:
            ConfigError: If supervision is not installed.
        """
        return interoperability.to_supervision(self)

    def to_fiftyone(self) -> tuple[Any, Any]:
        """Convert the result to labels of FiftyOne.

        Returns:
            `fiftyone.Keypoints` and `fiftyone.Detections` with the label `'person'`, relative to
            the size of the image. Missing keypoints are NaN; `index` is the track ID.

        Raises:
            ConfigError: If FiftyOne is not installed.
        """
        return interoperability.to_fiftyone(self)

    def to_yolo(self, threshold: float = 0.3, class_id: int = 0) -> str:
        """Convert the result to the text of a label file of YOLO's pose datasets.

        Args:
            threshold: Keypoints with a lower score are not labelled.
            class_id: Index of the class of people.

        Returns:
            A line for each person: the class; center, width and height of the box; x, y and
            visibility of each keypoint, 2, or `0 0 0` if it is not labelled or outside the image.
            Positions are relative to the size of the image, as in Ultralytics' conversion of COCO.
            Boxes that are not finite are set to zero.

        Raises:
            TypeError: If `threshold` is not a number, or `class_id` not an integer.
            ValueError: If `threshold` is infinite or NaN, or `class_id` is negative.
        """
        return interoperability.to_yolo(self, threshold, class_id)


def _plain(values: np.ndarray) -> list:
    """Convert float32 values to nested lists of the shortest equal decimals; None if not finite."""
    plain = values.astype('U32').astype(np.float64).astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def _plain_id(value: int | str) -> int | str:
    """Convert NumPy integers to Python integers, which JSON supports."""
    return value if isinstance(value, str) else int(value)
