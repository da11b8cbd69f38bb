"""Convert results to the types and formats of other tools: supervision, FiftyOne, YOLO."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError
from ..utils.arguments import check_int, check_number

if TYPE_CHECKING:
    from .pose_result import PoseResult


def to_supervision(result: 'PoseResult') -> tuple[Any, Any]:
    """See `PoseResult.to_supervision`."""
    try:
        import supervision
    except ImportError as error:
        raise _not_installed('supervision', error) from error
    missing = ~np.isfinite(result.keypoints).all(-1)
    data: dict[str, Any] = {'keypoint_names': [list(result.names)] * len(result)}
    keypoints = supervision.KeyPoints(
        xy=np.where(missing[..., None], 0, result.keypoints),
        keypoint_confidence=np.where(missing, 0, result.scores),
        detection_confidence=result.box_scores.copy(),
        class_id=np.zeros(len(result), int),
        visible=~missing,
        data=data,
    )
    detections = supervision.Detections(
        xyxy=result.boxes.copy(),
        confidence=result.box_scores.copy(),
        class_id=np.zeros(len(result), int),
        tracker_id=None if result.track_ids is None else result.track_ids.copy(),
    )
    return keypoints, detections


def to_fiftyone(result: 'PoseResult') -> tuple[Any, Any]:
    """See `PoseResult.to_fiftyone`."""
    try:
        import fiftyone
    except ImportError as error:
        raise _not_installed('fiftyone', error) from error
    size = np.array(result.size, np.float64)
    points = result.keypoints / size
    corners = result.boxes.reshape(-1, 2, 2) / size
    numbers = [None] * len(result) if result.track_ids is None else result.track_ids.tolist()
    keypoints = [
        fiftyone.Keypoint(
            label='person',
            points=[tuple(point) for point in person.tolist()],
            confidence=scores.tolist(),
            index=number,
        )
        for person, scores, number in zip(points, result.scores, numbers)
    ]
    boxes = [
        fiftyone.Detection(
            label='person',
            bounding_box=[*start.tolist(), *(end - start).tolist()],
            confidence=float(score),
            index=number,
        )
        for (start, end), score, number in zip(corners, result.box_scores, numbers)
    ]
    return fiftyone.Keypoints(keypoints=keypoints), fiftyone.Detections(detections=boxes)


def to_yolo(result: 'PoseResult', threshold: float, class_id: int) -> str:
    """See `PoseResult.to_yolo`."""
    check_number(
        'threshold', _plain(threshold), 'a finite number, the lowest score that is labelled'
    )
    check_int('class_id', _plain(class_id), 0)
    size = np.array(result.size, np.float64)
    finite = np.isfinite(result.boxes).all(1, keepdims=True)
    corners = np.where(finite, result.boxes, 0).reshape(-1, 2, 2).clip(0, size)
    boxes = np.concatenate([corners.mean(1), corners[:, 1] - corners[:, 0]], 1) / np.tile(size, 2)
    inside = (result.keypoints >= 0) & (result.keypoints <= size)  # False for NaN
    found = inside.all(-1) & (result.scores >= threshold)
    points = np.where(found[..., None], result.keypoints, 0) / size
    lines = []
    for box, person, flags in zip(boxes, points, found):
        values = ' '.join(f'{x:.6f} {y:.6f} {2 * flag}' for (x, y), flag in zip(person, flags))
        lines.append(f'{class_id} {" ".join(f"{value:.6f}" for value in box)} {values}\n')
    return ''.join(lines)


def _plain(value: Any) -> Any:
    """Convert a NumPy scalar to a Python number; return any other value unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def _not_installed(package: str, error: ImportError) -> ConfigError:
    return ConfigError(f'{package} cannot be imported ({error}): pip install {package}')
