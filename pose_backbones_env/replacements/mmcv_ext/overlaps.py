"""Intersection over union of boxes, rotated boxes and convex quadrilaterals."""

import torch
from torch import Tensor

from .autograd import widen

#: pairs of polygons that are computed at a time (about 100 MB)
_CHUNK = 1 << 16


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Compute the IoU of boxes.

    Args:
        bboxes1: (M, 4) as x1, y1, x2, y2.
        bboxes2: (N, 4).
        ious: (M, N), or (M, ) if `aligned`, is overwritten.
        mode: 0: intersection over union, 1: intersection over the area of the first box.
        aligned: Whether to compare pairs of the same index.
        offset: 0, or 1 for boxes whose width is x2 - x1 + 1.
    """
    first, second = widen(bboxes1), widen(bboxes2)
    if not aligned:
        first = first[:, None]
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (high - low + offset).clamp(min=0).prod(-1)
    area = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if mode == 0:
        area = area + (second[..., 2:] - second[..., :2] + offset).prod(-1) - intersection
    ious.copy_(intersection / area)


def box_iou_rotated(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool
) -> None:
    """Compute the IoU of rotated boxes, in float64.

    Deviation: mmcv computes in float32, and its results for boxes with nearly parallel edges on the
    same line are wrong: up to 2, or less than half of the IoU.

    Args:
        boxes1: (M, 5) as center x, center y, width, height, angle in radians (x towards y).
        boxes2: (N, 5).
        ious: (M · N, ), or (M, ) if `aligned`, is overwritten.
        mode_flag: 0: intersection over union, 1: intersection over the area of the first box.
        aligned: Whether to compare pairs of the same index.
    """
    _polygon_iou(rotated_corners(boxes1), rotated_corners(boxes2), ious, mode_flag, aligned)


def box_iou_quadri(
    boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool
) -> None:
    """Compute the IoU of convex quadrilaterals (M, 8) and (N, 8); see `box_iou_rotated`.

    Deviation: mmcv's results are right for rectangles only.
    """
    _polygon_iou(quadrilaterals(boxes1), quadrilaterals(boxes2), ious, mode_flag, aligned)


def rotated_corners(boxes: Tensor) -> Tensor:
    """Return the corners (N, 4, 2) of rotated boxes (N, 5), in float64."""
    boxes = boxes[:, :5].double()
    cos, sin = boxes[:, 4].cos(), boxes[:, 4].sin()
    width = torch.stack([cos, sin], -1) * boxes[:, 2:3] / 2
    height = torch.stack([-sin, cos], -1) * boxes[:, 3:4] / 2
    sides = torch.stack([-width - height, width - height, width + height, height - width], 1)
    return boxes[:, None, :2] + sides


def quadrilaterals(boxes: Tensor) -> Tensor:
    """Return the corners (N, 4, 2) of quadrilaterals (N, 8), in float64."""
    return boxes[:, :8].double().view(-1, 4, 2)


def polygon_iou(first: Tensor, second: Tensor, mode: int = 0) -> Tensor:
    """Return the IoU of pairs of convex quadrilaterals, (P, ), from corners (P, 4, 2).

    The corners of the intersection are corners of one polygon in the other and intersections of
    edges. They are sorted by their angle.
    """
    center = (first.mean(1, keepdim=True) + second.mean(1, keepdim=True)) / 2
    first, second = _counterclockwise(first - center), _counterclockwise(second - center)
    edges, others = first.roll(-1, 1) - first, second.roll(-1, 1) - second
    gap = second[:, None] - first[:, :, None]  # (P, 4, 4, 2)
    determinant = _cross(edges[:, :, None], others[:, None])
    t = _cross(gap, others[:, None].expand_as(gap)) / determinant
    u = _cross(gap, edges[:, :, None].expand_as(gap)) / determinant
    crossing = (determinant.abs() > 1e-14) & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1)
    points = first[:, :, None] + torch.where(crossing, t, 0)[..., None] * edges[:, :, None]

    points = torch.cat([first, second, points.flatten(1, 2)], 1)  # (P, 24, 2)
    used = torch.cat([_inside(first, second), _inside(second, first), crossing.flatten(1)], 1)
    count = used.sum(1, keepdim=True).clamp(min=1)
    points = points - ((points * used[..., None]).sum(1) / count)[:, None]
    angle = torch.where(used, torch.atan2(points[..., 1], points[..., 0]), torch.inf)
    order = angle.argsort(1)
    points = points.gather(1, order[..., None].expand_as(points))
    used = used.gather(1, order)[..., None]
    intersection = _area(torch.where(used, points, points[:, :1])) * used[:, 0, 0]

    area1, area2 = _area(first), _area(second)
    area = area1 if mode else area1 + area2 - intersection
    empty = (area1 < 1e-14) | (area2 < 1e-14)
    return torch.where(empty, 0, intersection / area)


def _polygon_iou(first: Tensor, second: Tensor, ious: Tensor, mode: int, aligned: bool) -> None:
    index = torch.arange(ious.numel(), device=ious.device)
    rows, columns = (index, index) if aligned else (index // len(second), index % len(second))
    for start in range(0, len(index), _CHUNK):
        part = slice(start, start + _CHUNK)
        ious[part] = polygon_iou(first[rows[part]], second[columns[part]], mode).to(ious.dtype)


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _signed_area(polygon: Tensor) -> Tensor:
    return _cross(polygon, polygon.roll(-1, 1)).sum(1) / 2


def _area(polygon: Tensor) -> Tensor:
    return _signed_area(polygon).abs()


def _counterclockwise(polygon: Tensor) -> Tensor:
    return torch.where((_signed_area(polygon) < 0)[:, None, None], polygon.flip(1), polygon)


def _inside(points: Tensor, polygon: Tensor) -> Tensor:
    """Return whether points (P, 4, 2) are in or on a polygon, (P, 4)."""
    edges = (polygon.roll(-1, 1) - polygon)[:, None]
    offsets = points[:, :, None] - polygon[:, None]
    return (_cross(edges.expand_as(offsets), offsets) >= -1e-12).all(-1)
