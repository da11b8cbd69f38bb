"""Person boxes that follow the poses of the previous frame, between detections."""

import numpy as np
import torch

from .boxes import Boxes
from .inputs import Failure, Frame

_MIN_SCORE = 0.3  # of a keypoint that counts
_MIN_KEYPOINTS = 3  # of a person that is not lost
_MAX_IOU = 0.7  # of two people, as in `PersonDetector`
# Distances from the extreme keypoints to the box (left, top, right, bottom), relative to the longer
# side of the box of the keypoints: medians of 580 people of COCO's training and validation images.
_MARGINS = np.array([-0.08, -0.13, 0.08, 0.1], np.float32)


class DetectionSchedule:
    """Select the frames of videos on which the detector runs.

    Args:
        interval: The detector runs on the frames 0, `interval`, 2 * `interval`, … of each video.
            Images that are not files, such as arrays, count as the frames of one video. The
            detector runs on each image file.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self._video: int | None = None
        self._count = 0

    def is_due(self, item: Frame | Failure) -> bool:
        """Return whether the detector runs on the next input."""
        if isinstance(item, Failure) or item.is_file:
            self._count = 0
            return True
        video = None if item.frame is None else item.part
        if video != self._video:
            self._video, self._count = video, 0
        self._count += 1
        return (self._count - 1) % self.interval == 0


def boxes_around_poses(keypoints: np.ndarray, scores: np.ndarray, box_scores: np.ndarray) -> Boxes:
    """Return the boxes in which people are searched for in the next frame.

    The box of the keypoints with scores of at least 0.3 is extended by the distances that the
    boxes of detectors have from the keypoints. People with fewer than three such keypoints, or with
    all of them at the same point, are lost. Of two boxes with an IoU above 0.7, which follow the
    same person, the one with the lower score is removed.

    Args:
        keypoints: (n, K, 2), x and y in pixels.
        scores: (n, K).
        box_scores: (n,), scores of the boxes of the previous frame, which are kept.

    Returns:
        The boxes.
    """
    from torchvision.ops import nms

    found = (scores >= _MIN_SCORE)[..., None]
    low = np.where(found, keypoints, np.inf).min(1)
    high = np.where(found, keypoints, -np.inf).max(1)
    kept = found.sum((1, 2)) >= min(_MIN_KEYPOINTS, scores.shape[1])
    kept &= (high > low).any(1)  # an empty box cannot be cropped
    low, high, box_scores = low[kept], high[kept], box_scores[kept]
    sides = (high - low).max(1, keepdims=True)
    corners = (np.concatenate([low, high], 1) + sides * _MARGINS).astype(np.float32)
    kept = nms(torch.from_numpy(corners), torch.from_numpy(box_scores), _MAX_IOU).sort().values
    return Boxes(corners[kept.numpy()], box_scores[kept.numpy()])
