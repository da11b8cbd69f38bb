"""The same person in all frames of a video."""

from collections.abc import Sequence

import numpy as np

from .one_euro import OneEuroFilter
from .result import PoseResult
from .tracking import PoseTracker


class Follower:
    """Numbers people through each video, and smooths their movement.

    Pictures that are no frames are left as they are.

    Args:
        sigmas: See `PoseTracker`.
        smooth: Whether joints go through a `OneEuroFilter`.
    """

    def __init__(self, sigmas: Sequence[float] | None, smooth: bool):
        self.sigmas = sigmas
        self.smooth = smooth
        self._part: int | None = None

    def follow(self, result: PoseResult, part: int) -> None:
        """Set the track ids of a frame, and its smoothed key points.

        Args:
            result: Of the next frame; changed in place.
            part: Number of the video; another one begins anew.
        """
        if result.frame is None:
            return
        if part != self._part:
            self._part = part
            self._tracker = PoseTracker(self.sigmas)
            self._filter = OneEuroFilter()
        result.track_ids = self._tracker.update(
            result.keypoints, result.scores, result.boxes)
        if self.smooth:
            result.keypoints = self._filter(
                result.time, result.keypoints, result.track_ids,
                result.boxes, self._tracker.alive).astype(np.float32)
