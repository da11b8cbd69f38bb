"""The same person in all frames of a video."""

from collections.abc import Sequence

import numpy as np

from .one_euro import OneEuroFilter
from .pose_result import PoseResult
from .tracking import PoseTracker

_RATE = 30.0  # frames a second of pictures that do not say when they are


class Follower:
    """Numbers people through each video, and smooths their movement.

    Args:
        sigmas: See `PoseTracker`.
        smooth: Whether joints go through a `OneEuroFilter`.
    """

    def __init__(self, sigmas: Sequence[float] | None, smooth: bool):
        self.sigmas = sigmas
        self.smooth = smooth
        self._part: int | None = None
        self._count = 0

    def follow(self, result: PoseResult, part: int | None) -> None:
        """Set the track ids of a frame, and its smoothed key points.

        Args:
            result: Of the next frame; changed in place.
            part: Number of the video; another one begins anew. None: of
                pictures one behind the other, which are frames of one video,
                30 a second.
        """
        if self._count == 0 or part != self._part:
            self._part, self._count = part, 0
            self._tracker = PoseTracker(self.sigmas)
            self._filter = OneEuroFilter()
        time = self._count / _RATE if result.time is None else result.time
        self._count += 1
        result.track_ids = self._tracker.update(result.keypoints, result.scores, result.boxes)
        if self.smooth:
            result.keypoints = self._filter(
                time, result.keypoints, result.track_ids, result.boxes, self._tracker.alive
            ).astype(np.float32)
