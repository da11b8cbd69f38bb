"""Non-maximum suppression of boxes, rotated boxes and quadrilaterals."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .autograd import widen
from .overlaps import polygon_iou, quadrilaterals, rotated_corners


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the boxes that remain after non-maximum suppression.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2.
        scores: (N, ).
        iou_threshold: Boxes whose IoU with a box of higher score exceeds this value are dropped.
        offset: 0, or 1 for boxes whose width is x2 - x1 + 1.

    Returns:
        Indices, int64, in descending order of the scores.
    """
    from torchvision.ops import nms as torchvision_nms

    boxes, scores = widen(boxes), widen(scores)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], 1)
    return torchvision_nms(boxes, scores.to(boxes.dtype), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of overlapping boxes (arXiv 1704.04503).

    mmcv calls this with tensors on the CPU only. Of equal scores, mmcv takes the first in an order
    that changes when boxes are dropped; the order here is the same.

    Args:
        boxes: (N, 4) as x1, y1, x2, y2.
        scores: (N, ).
        dets: (N, 5); the first rows receive the remaining boxes with their new scores.
        iou_threshold: For naive and linear.
        sigma: For gaussian.
        min_score: Boxes with a lower score are dropped.
        method: 0: naive (drop), 1: linear, 2: gaussian.
        offset: 0, or 1 for boxes whose width is x2 - x1 + 1.

    Returns:
        Indices of the remaining boxes, int64.
    """
    state = torch.cat([widen(boxes), widen(scores)[:, None]], 1).numpy()  # float32
    indices = np.arange(len(state))
    done, end = 0, len(state)
    while done < end:
        best = done + int(np.argmax(state[done:end, 4]))
        pair = [done, best]
        state[pair], indices[pair] = state[pair[::-1]], indices[pair[::-1]]
        rest = state[done + 1 : end]
        overlap = _overlap(state[done : done + 1], rest, offset)
        if method == 2:
            rest[:, 4] *= np.exp(-(overlap * overlap) / np.float32(sigma))
        else:
            factor = 1 - overlap if method == 1 else 0
            rest[:, 4] *= np.where(overlap >= iou_threshold, factor, 1).astype(state.dtype)
        # Dropped boxes are replaced by the last ones.
        kept = ~(rest[:, 4] < min_score)
        count = int(kept.sum())
        holes = done + 1 + np.flatnonzero(~kept[:count])
        last = done + 1 + count + np.flatnonzero(kept[count:])[::-1]
        state[holes], indices[holes] = state[last], indices[last]
        done, end = done + 1, done + 1 + count
    dets[:end] = torch.from_numpy(state[:end]).to(dets.dtype)
    return torch.from_numpy(indices[:end].copy())


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes by the box that suppresses them.

    Args:
        dets: (N, 5) as x1, y1, x2, y2, score; on the CPU.
        iou_threshold: Groups are created in descending order of the scores. A box joins the first
            group whose first box it overlaps with at least this IoU.

    Returns:
        Indices of each group, in descending order of the scores.
    """
    boxes = widen(dets).numpy()
    rest = widen(dets)[:, 4].sort(descending=True).indices.numpy()
    groups = []
    while len(rest):
        first, rest = rest[:1], rest[1:]
        suppressed = _overlap(boxes[first], boxes[rest], 0) >= iou_threshold
        groups.append([*first.tolist(), *rest[suppressed].tolist()])
        rest = rest[~suppressed]
    return groups


def _overlap(box: np.ndarray, boxes: np.ndarray, offset: int) -> np.ndarray:
    """Return the IoU of a box (1, 4 or 5) and others (N, 4 or 5), in the order of mmcv's sums."""
    low, high = np.maximum(box[:, :2], boxes[:, :2]), np.minimum(box[:, 2:4], boxes[:, 2:4])
    intersection = np.maximum(high - low + offset, 0).prod(1)
    area, areas = ((b[:, 2:4] - b[:, :2] + offset).prod(1) for b in (box, boxes))
    with np.errstate(invalid='ignore', divide='ignore'):
        return intersection / (area + areas - intersection)


def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """Return the rotated boxes that remain after non-maximum suppression.

    Deviation: on a CPU, mmcv ignores the labels.

    Args:
        dets: (N, 5) as center x, center y, width, height, angle in radians; if `multi_label`, then
            with the label as sixth column.
        scores: (N, ).
        order: Indices in descending order of the scores, (N, ), int64.
        dets_sorted: `dets` in this order.
        labels: Unused.
        iou_threshold: Boxes whose IoU with a box of higher score exceeds this value are dropped.
        multi_label: Whether to compare only boxes with the same label.

    Returns:
        Indices, int64, in descending order of the scores.
    """
    return _polygon_nms(dets, scores, iou_threshold, multi_label, rotated_corners)


def nms_quadri(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """Return the quadrilaterals (N, 8) that remain; arguments as in `nms_rotated`."""
    return _polygon_nms(dets, scores, iou_threshold, multi_label, quadrilaterals)


def _polygon_nms(
    dets: Tensor,
    scores: Tensor,
    iou_threshold: float,
    multi_label: bool,
    corners: Callable[[Tensor], Tensor],
) -> Tensor:
    polygons = corners(dets)
    rest = scores.sort(descending=True, stable=True).indices
    kept = []
    while len(rest):
        first, rest = rest[0], rest[1:]
        kept.append(first)
        suppressed = polygon_iou(polygons[first].expand(len(rest), 4, 2), polygons[rest])
        suppressed = suppressed > iou_threshold
        if multi_label:
            suppressed &= dets[rest, -1] == dets[first, -1]
        rest = rest[~suppressed]
    return torch.stack(kept) if kept else rest
