"""What a model found in one image."""

from dataclasses import dataclass

import numpy as np

from ..visualization.draw import Skeleton, draw_people, to_bgr

_SURE = 0.2  # joints above it count in a person's score, as in MMPose


@dataclass(eq=False, repr=False)
class PoseResult:
    """The people of one image, or of one frame of a video.

    Places are in pixels of the image as it is seen, upright and in full size;
    (0, 0) is the middle of the top left pixel. `len(result)` is the number n
    of people, which may be 0.

    Args:
        keypoints: (n, K, 2), float32, x and y; NaN where there is none.
        scores: (n, K), float32, of the key points.
        boxes: (n, 4), float32, left, top, right, bottom.
        box_scores: (n, ), float32.
        skeleton: The K names and the limbs.
        size: Width and height of the image in pixels.
        name: A path, or words as `'array 3'`, `'clip.mp4, frame 12'`.
        index: Of the image among all that were given, from 0.
        image_id: Of a COCO file, or any that names the image in `to_coco`.
        image: (H, W, 3), uint8, BGR; None if it was not kept.
        track_ids: (n, ), int, of people followed through a video.
        visible: (n, K), float32, probabilities that key points are seen and
            not occluded.
        time: Seconds from the start of the video.
        frame: Number in the video, from 0.

    Raises:
        ValueError: If the shapes do not fit together.
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
                    f'expected {shape}, for {n} people with {k} key points'
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
            f' {len(self)}, key points: {len(self.names)})'
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the key points."""
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
        """Draw the people on a copy of the image.

        Args:
            image: (H, W, 3) BGR, (H, W, 4) BGRA or (H, W) grey, uint8, of the
                result's size; None: the result's own.
            threshold: Key points of a lower score are left out; above it,
                they are the more opaque the surer they are.
            boxes: Whether to draw the boxes.
            ids: Whether to write the track ids, or else the numbers of the
                people from 0.
            width: Factor on the width of lines and on the size of points.

        Returns:
            (H, W, 3), uint8, BGR, a new array.

        Raises:
            ValueError: If there is no image, or one of another size or kind,
                or `width` is not above 0.
        """
        if not width > 0:
            raise ValueError(f'width is {width}: expected a factor above 0, 1 by default')
        if image is None:
            image = self.image
        if image is None:
            raise ValueError(
                f'the result of {self.name} holds no image: give it to draw() '
                'or let the inferencer keep the images'
            )
        picture = to_bgr(image)
        if picture.shape[1::-1] != self.size:
            raise ValueError(
                f'the image to draw on has {picture.shape[1]} x '
                f'{picture.shape[0]} pixels, and {self.name} {self.size[0]} x '
                f'{self.size[1]}: give the same image, or scale the picture '
                'that draw() returns'
            )
        numbers = range(len(self))
        if self.track_ids is not None:
            numbers = self.track_ids.tolist()
        draw_people(
            picture,
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
        return picture

    def to_dict(self) -> dict:
        """As plain Python, for JSON.

        Returns:
            `name`, `index`, `image_id`, `width`, `height`; in a video `time`
            in seconds and `frame`; `keypoint_names`, `skeleton` as pairs of
            indices from 0; `people`, each with `keypoints` [[x, y], …],
            `scores`, `box` [left, top, right, bottom], `box_score` and, where
            known, `track_id` and `visible`. Numbers that are not finite are
            None.
        """
        found = dict(
            name=str(self.name),
            index=int(self.index),
            image_id=_plain_id(self.image_id),
            width=self.size[0],
            height=self.size[1],
        )
        if self.time is not None:
            found['time'] = float(self.time)
        if self.frame is not None:
            found['frame'] = int(self.frame)
        found['keypoint_names'] = list(self.names)
        found['skeleton'] = [list(map(int, limb)) for limb in self.skeleton.limbs]
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
        found['people'] = [dict(zip(columns, person)) for person in zip(*columns.values())]
        return found

    def to_coco(self, category_id: int = 1) -> list[dict]:
        """As records of COCO's results format.

        Key points, boxes and box scores that are not finite are zeros.

        Args:
            category_id: Of the objects.

        Returns:
            For each person `image_id`, `category_id`, `keypoints`
            [x, y, score] * K, `bbox` [left, top, width, height] and `score`:
            the box's times the mean of the key points' above 0.2, as MMPose's
            CocoMetric has it (`score_mode='bbox_keypoint'`).
        """
        joints = np.concatenate([self.keypoints, self.scores[..., None]], 2)
        joints = np.where(np.isfinite(joints).all(2, keepdims=True), joints, 0)
        finite = np.isfinite(self.boxes).all(1, keepdims=True)
        boxes = np.where(finite, self.boxes, 0)
        boxes[:, 2:] -= boxes[:, :2]
        box_scores = np.nan_to_num(self.box_scores, posinf=0, neginf=0)
        scores = joints[..., 2].astype(np.float64)
        sure = scores > _SURE
        means = (scores * sure).sum(1) / np.maximum(sure.sum(1), 1)
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


def _plain(values: np.ndarray) -> list:
    """float32 → nested lists of the shortest equal decimals, or None."""
    plain = values.astype('U32').astype(np.float64).astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def _plain_id(value: int | str) -> int | str:
    """numpy's integers → Python's, which JSON takes."""
    return value if isinstance(value, str) else int(value)
