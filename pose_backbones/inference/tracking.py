"""Track people through the frames of a video, and smooth their keypoints.

boxmot, norfair and trackers were considered. boxmot is licensed under the AGPL, which is stricter
than the licence of this package. The trackers of all three match boxes, or points by distances in
pixels, but not poses by OKS.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..structures.oks import AREA_OF_BOX, keypoint_similarity
from ..utils.arguments import check_positive_int, check_rate
from .one_euro import OneEuroFilter
from .pose_result import PoseResult

_SIGMA = 0.067  # mean of COCO's keypoint sigmas
_COMMON = 3  # keypoints that two poses must have in common to be compared
_DEFAULT_FPS = 30.0  # frames per second for images without time stamps


@dataclass
class _Track:
    """State of a track in the last frame in which the person was detected."""

    keypoints: np.ndarray  # (K, 2), pixels; NaN for keypoints below `min_score`
    box: np.ndarray  # (4,), xyxy
    frame: int
    velocity: np.ndarray  # (2,), pixels per frame


class PoseTracker:
    """Assign the same track ID to a person in all frames.

    The people of a frame are matched to tracks in two steps. First, poses are compared by OKS
    with those of the tracks, which are moved by their velocity. Second, the boxes of the remaining
    people are compared by IoU with the last boxes of the remaining tracks. Each step maximizes
    the total similarity. Memory does not grow with the number of frames.

    Args:
        sigmas: COCO's sigmas of the K keypoints (`sigmas` in the metainfo of MMPose's datasets).
            None: 0.067 for all.
        max_age: Number of frames for which a track without detections is kept.
        min_oks: Minimum OKS of a match.
        min_iou: Minimum IoU of a match.
        min_score: Keypoints with a lower score are not compared.

    Attributes:
        alive: IDs of the current tracks, including those without a detection in the last frame.

    Raises:
        TypeError, ValueError: If an argument is invalid.
    """

    def __init__(
        self,
        sigmas: Sequence[float] | None = None,
        *,
        max_age: int = 30,
        min_oks: float = 0.3,
        min_iou: float = 0.3,
        min_score: float = 0.3,
    ) -> None:
        check_positive_int('max_age', max_age)
        for name, value in (('min_oks', min_oks), ('min_iou', min_iou), ('min_score', min_score)):
            check_rate(name, value, 'a number, 0 <= number < 1')
        self._sigmas = None if sigmas is None else np.array(sigmas, float)
        if self._sigmas is not None and not (
            self._sigmas.ndim == 1 and len(self._sigmas) and (self._sigmas > 0).all()
        ):
            raise ValueError(
                f'sigmas are {sigmas!r}: expected a positive number for each keypoint, or None'
            )
        self.max_age, self.min_score = max_age, min_score
        self.min_oks, self.min_iou = min_oks, min_iou
        self._tracks: dict[int, _Track] = {}
        self._frame = self._last_id = 0

    @property
    def alive(self) -> tuple[int, ...]:
        return tuple(self._tracks)

    def update(self, keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Assign track IDs to the people of the next frame.

        Args:
            keypoints: (n, K, 2), x and y in pixels; n may be 0.
            scores: (n, K).
            boxes: (n, 4), xyxy in pixels.

        Returns:
            (n,), int64, track IDs. New tracks are numbered from 1 in the order of the rows.

        Raises:
            ValueError: If the shapes do not match.
        """
        keypoints, scores, boxes = (np.array(array, float) for array in (keypoints, scores, boxes))
        self._check_shapes(keypoints, scores, boxes)
        keypoints[~(scores >= self.min_score)] = np.nan
        self._frame += 1
        for track in [
            name for name, old in self._tracks.items() if self._frame - old.frame > self.max_age
        ]:
            del self._tracks[track]
        ids = np.zeros(len(boxes), np.int64)
        self._match(ids, self._pose_similarity(keypoints, boxes), self.min_oks)
        self._match(ids, self._overlap(boxes), self.min_iou)
        for row in np.flatnonzero(ids == 0).tolist():
            self._last_id += 1
            ids[row] = self._last_id
        for row, track in enumerate(ids.tolist()):
            self._update_track(track, keypoints[row], boxes[row])
        return ids

    def _match(self, ids: np.ndarray, similarity: np.ndarray, least: float) -> None:
        """Match unassigned rows to unassigned tracks, in place.

        Args:
            ids: (n,), track IDs; 0 for unassigned rows.
            similarity: (n, tracks).
            least: Minimum similarity of a match.
        """
        names = np.array(self.alive, np.int64)
        rows = np.flatnonzero(ids == 0)
        free = np.flatnonzero(~np.isin(names, ids))
        values = similarity[np.ix_(rows, free)]
        values = np.where(values >= max(least, 1e-9), values, 0)
        for row, column in zip(*linear_sum_assignment(values, maximize=True)):
            if values[row, column]:
                ids[rows[row]] = names[free[column]]

    def _pose_similarity(self, keypoints: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return the OKS of people and tracks, (n, tracks); 0 if too few keypoints are common."""
        tracks = self._tracks.values()
        sigmas = self._sigmas
        if sigmas is None:
            sigmas = np.full(keypoints.shape[1], _SIGMA)
        result = np.zeros((len(boxes), len(tracks)))
        for column, track in enumerate(tracks):
            moved = track.velocity * (self._frame - track.frame)
            squares = ((keypoints - track.keypoints - moved) ** 2).sum(-1)
            areas = AREA_OF_BOX / 2 * (_areas(boxes) + _areas(track.box))
            with np.errstate(divide='ignore', invalid='ignore'):
                similarity = keypoint_similarity(squares, areas, sigmas)
            common = np.isfinite(similarity)
            count = common.sum(1)
            total = np.where(common, similarity, 0).sum(1)
            needed = min(_COMMON, len(sigmas))
            result[:, column] = np.where(count >= needed, total / np.maximum(count, 1), 0)
        return result

    def _overlap(self, boxes: np.ndarray) -> np.ndarray:
        """Return the IoU of the boxes of people and tracks, (n, tracks)."""
        others = np.array([track.box for track in self._tracks.values()])
        others = others.reshape(1, -1, 4)
        boxes = boxes[:, None]
        low = np.maximum(boxes[..., :2], others[..., :2])
        high = np.minimum(boxes[..., 2:], others[..., 2:])
        common = np.maximum(high - low, 0).prod(-1)
        union = _areas(boxes) + _areas(others) - common
        with np.errstate(divide='ignore', invalid='ignore'):
            return np.nan_to_num(common / union)

    def _update_track(self, name: int, keypoints: np.ndarray, box: np.ndarray) -> None:
        """Update the state of a track with its detection in this frame."""
        velocity, old = np.zeros(2), self._tracks.get(name)
        if old is not None:
            shifts = keypoints - old.keypoints
            shifts = shifts[np.isfinite(shifts).all(1)]
            if not len(shifts):
                shifts = (box - old.box).reshape(2, 2)
            latest = np.median(shifts, axis=0) / (self._frame - old.frame)
            velocity = (old.velocity + np.nan_to_num(latest)) / 2
        self._tracks[name] = _Track(keypoints, box, self._frame, velocity)

    def _check_shapes(self, keypoints: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> None:
        count = len(boxes)
        joints = keypoints.shape[1] if keypoints.ndim == 3 else -1
        if self._sigmas is not None and joints != len(self._sigmas):
            joints = len(self._sigmas)
        elif self._tracks:
            joints = len(next(iter(self._tracks.values())).keypoints)
        expected = ((count, joints, 2), (count, joints), (count, 4))
        shapes = (keypoints.shape, scores.shape, boxes.shape)
        if shapes != expected:
            shown = ', '.join(map(str, expected)).replace('-1', 'K')
            raise ValueError(
                'keypoints, scores and boxes have the shapes '
                f'{", ".join(map(str, shapes))}: expected {shown}'
            )


def _areas(boxes: np.ndarray) -> np.ndarray:
    """Return the areas of boxes (…, 4), xyxy; 0 for boxes with negative sides."""
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(-1)


class VideoTracker:
    """Set the track IDs of the people of each video, and smooth their keypoints.

    Args:
        sigmas: See `PoseTracker`.
        smooth: Whether keypoints go through a `OneEuroFilter`.
    """

    def __init__(self, sigmas: Sequence[float] | None, smooth: bool) -> None:
        self.sigmas = sigmas
        self.smooth = smooth
        self._part: int | None = None
        self._count = 0

    def update(self, result: PoseResult, part: int | None) -> None:
        """Set the track IDs and the smoothed keypoints of the next frame.

        Args:
            result: Result for the next frame, which is changed in place.
            part: Index of the video; tracks start anew when it changes. None for images that are
                not files, which are treated as the frames of one video, 30 per second.
        """

        if self._count == 0 or part != self._part:
            self._part, self._count = part, 0
            self._tracker = PoseTracker(self.sigmas)
            self._filter = OneEuroFilter()
        time = self._count / _DEFAULT_FPS if result.time is None else result.time
        self._count += 1
        result.track_ids = self._tracker.update(result.keypoints, result.scores, result.boxes)
        if self.smooth:
            result.keypoints = self._filter(
                time, result.keypoints, result.track_ids, result.boxes, self._tracker.alive
            ).astype(np.float32)
