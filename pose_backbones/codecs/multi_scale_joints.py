"""Codec of HRCoMer: joints of several people, heatmaps, and decoding at several scales."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor

from ..registry import KEYPOINT_CODECS
from ..structures.oks import distance_at
from ..structures.skeleton import COCO, read_sigmas
from ..utils.arguments import check_ints, check_number, check_positive_int
from .pose_nms import pose_nms


@KEYPOINT_CODECS.register_module()
class MultiScaleJoints(BaseKeypointCodec):
    """Encode all people of an image as joints, areas, sizes and heatmaps, and decode poses.

    Lengths are in pixels of the output map, whose pixel i covers [i, i+1); a joint is visible if it
    is within the map.

    The heatmap of a joint is the maximum of the Gaussians of all people, 1 in the pixel of the
    joint. The radius of a Gaussian, three times its sigma, is the distance at which the object
    keypoint similarity (OKS) of the joint falls to `oks_threshold`; it is cut off one pixel
    further.

    Poses are decoded from the most confident queries of each test scale; the score of a joint is
    the confidence times the value of its heatmap. With several scales, heatmaps are averaged and
    similar poses are removed.

    Paper: ConvNeXtPose: Adapting ConvNeXt with High-Resolution
    Representation for Multi-Person Human Pose Estimation. Source:
    https://github.com/CR320/ConvNeXtPose.

    Deviations: if there are more people than `max_num_people`, the largest are encoded (the
    original fails); an area below one pixel counts as one pixel; a joint less than one pixel left
    of or above the map is not visible; a single pose of several scales is kept.

    Args:
        input_size: Width and height of the image that the network gets in
            training.
        heatmap_size: Width and height of the output map.
        sigmas: Labelling errors of the K keypoints or a dataset description, see `read_sigmas`.
        max_num_people: Maximum number of people that are encoded, and that are decoded at each
            scale.
        oks_threshold: OKS at the radius of a Gaussian, between 0 and 1.
        area_factor: Factor of `area` for OKS; 0.53 if it is the area of the box, as in CrowdPose.
        score_threshold: Poses with at most this confidence are dropped.
        nms_distance: `max_distance` of `pose_nms`.
        nms_num_close: `num_close` of `pose_nms`.

    Raises:
        TypeError, ValueError: For an argument of a wrong type or out of range.
    """

    auxiliary_encode_keys = {'area', 'sizes'}
    field_mapping_table = dict(heatmaps='heatmaps', heatmap_mask='heatmap_mask')
    label_mapping_table = dict(
        target_joints='target_joints', target_areas='target_areas', target_sizes='target_sizes'
    )

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        sigmas: str | Sequence[float] = COCO,
        max_num_people: int = 30,
        oks_threshold: float = 0.7,
        area_factor: float = 1.0,
        score_threshold: float = 0.1,
        nms_distance: float = 0.05,
        nms_num_close: int = 8,
    ):
        super().__init__()
        for name, size in (('input_size', input_size), ('heatmap_size', heatmap_size)):
            check_ints(name, size, 2, each='width and height')
        check_positive_int('max_num_people', max_num_people)
        for name, value in (
            ('oks_threshold', oks_threshold),
            ('area_factor', area_factor),
            ('score_threshold', score_threshold),
        ):
            check_number(name, value)
        if not 0 < oks_threshold < 1:
            raise ValueError(
                f'oks_threshold is {oks_threshold!r}: expected a number between 0 and 1'
            )
        if area_factor <= 0:
            raise ValueError(f'area_factor is {area_factor!r}: expected a positive number')
        self.input_size = tuple(input_size)
        self.heatmap_size = tuple(heatmap_size)
        self.scale_factor = np.divide(input_size, heatmap_size)
        self.sigmas = read_sigmas(sigmas)
        self.max_num_people = max_num_people
        self.oks_threshold = oks_threshold
        self.area_factor = area_factor
        self.score_threshold = score_threshold
        self.nms_distance = nms_distance
        self.nms_num_close = nms_num_close

    def encode(
        self,
        keypoints: np.ndarray,
        keypoints_visible: np.ndarray | None = None,
        area: np.ndarray | None = None,
        sizes: np.ndarray | None = None,
    ) -> dict:
        """Encode the people of an image.

        Args:
            keypoints: (n, K, 2), x and y in pixels of the input.
            keypoints_visible: (n, K), above 0 for labelled keypoints; None:
                all are.
            area: (n,), areas of the people in square pixels of the input.
            sizes: (n,), square roots of the areas of the boxes around their
                keypoints, in pixels of the input.

        Returns:
            float32 arrays: `heatmaps` (K, height, width); and for up to
            `max_num_people` (M) people with a visible joint, in their order,
            then zeros: `target_joints` (M, K, 3), x, y and 1, or zeros for a
            joint that is not labelled or not visible; `target_areas` (M,);
            `target_sizes` (M,), at most that of the map.

        Raises:
            ValueError: For another number of keypoints than sigmas, or
                without areas or sizes.
        """
        joints = self._to_map(keypoints)
        shape = joints.shape[:2]
        labelled = (
            np.ones(shape, bool) if keypoints_visible is None else np.asarray(keypoints_visible) > 0
        )
        width, height = self.heatmap_size
        inside = ((joints >= 0) & (joints < self.heatmap_size)).all(-1)
        inside &= labelled
        square = float(np.prod(self.scale_factor))
        areas = _per_person('area', area, shape[0]) / square
        areas = areas.clip(min=1)
        lengths = _per_person('sizes', sizes, shape[0]) / np.sqrt(square)
        lengths = lengths.clip(max=np.sqrt(width * height))
        chosen = self._choose(inside, areas)
        rows = slice(len(chosen))
        target_joints = np.zeros((self.max_num_people, len(self.sigmas), 3), np.float32)
        target_joints[rows, :, :2] = joints[chosen]
        target_joints[rows, :, 2] = 1
        target_joints[rows][~inside[chosen]] = 0
        target_areas, target_sizes = np.zeros((2, self.max_num_people), np.float32)
        target_areas[rows] = areas[chosen]
        target_sizes[rows] = lengths[chosen]
        return dict(
            heatmaps=self._draw(joints, inside, areas),
            target_joints=target_joints,
            target_areas=target_areas,
            target_sizes=target_sizes,
        )

    def _to_map(self, keypoints: np.ndarray) -> np.ndarray:
        """Convert (n, K, 2) from pixels of the input to pixels of the map."""
        if keypoints.ndim != 3 or keypoints.shape[1] != len(self.sigmas):
            raise ValueError(
                f'keypoints have the shape {keypoints.shape}: expected (n, '
                f'{len(self.sigmas)}, 2), since there are '
                f'{len(self.sigmas)} sigmas'
            )
        return keypoints / self.scale_factor

    def _choose(self, inside: np.ndarray, areas: np.ndarray) -> np.ndarray:
        """Choose the people that are encoded: indices, at most `max_num_people`."""
        (visible,) = np.nonzero(inside.any(1))
        largest = np.argsort(-areas[visible], kind='stable')
        return np.sort(visible[largest[: self.max_num_people]])

    def _draw(self, joints: np.ndarray, inside: np.ndarray, areas: np.ndarray) -> np.ndarray:
        """Draw the heatmaps (K, height, width) of the joints that are inside."""
        width, height = self.heatmap_size
        maps = np.zeros((len(self.sigmas), height, width), np.float32)
        people, kinds = np.nonzero(inside)
        radii = distance_at(
            self.oks_threshold, self.area_factor * areas[people], self.sigmas[kinds]
        )
        cells = joints[people, kinds].astype(int)
        reach = np.round(radii).astype(int)[:, None] + 1
        low = (cells - reach).clip(min=0)
        high = (cells + reach + 1).clip(max=self.heatmap_size)
        # A Gaussian is a product of one along x and one along y.
        x, y = (
            _gaussians(cells[:, axis], radii / 3, size)
            for axis, size in enumerate(self.heatmap_size)
        )
        for kind, (x0, y0), (x1, y1), row, column in zip(
            kinds.tolist(), low.tolist(), high.tolist(), x, y
        ):
            window = maps[kind, y0:y1, x0:x1]
            np.maximum(window, column[y0:y1, None] * row[x0:x1], out=window)
        return maps

    def decode(
        self, outputs: Sequence[Mapping], scale_factors: Sequence[float] = (1,)
    ) -> list[tuple[Tensor, Tensor]]:
        """Decode the people in a batch of images.

        Args:
            outputs: The outputs of the head for each test scale: `confidences`, a list of logits
                (N, 1, h, w); `joints`, a list of (N, h, w, K, 2), x and y in pixels of the output
                map; and `heatmaps` (N, K, height, width), from 0 to 1.
            scale_factors: Scale of the images for each of `outputs`; the first is 1.

        Returns:
            For each image, poses (n, K, 2), x and y in pixels of the input at scale 1, and joint
            scores (n, K), from 0 to 1, on the device of the outputs; within a scale by decreasing
            confidence. The scores are NaN for a query whose confidence is NaN.

        Raises:
            ValueError: If the first scale is not 1, or there are not as many scales as outputs.
        """
        if len(scale_factors) != len(outputs) or scale_factors[0] != 1:
            raise ValueError(
                f'scale_factors is {tuple(scale_factors)}: expected 1, then '
                f'others, one for each of {len(outputs)} outputs'
            )
        maps = average_heatmaps([output['heatmaps'] for output in outputs])
        poses_by_scale = [
            self._decode_scale(output, heatmaps, factor)
            for output, heatmaps, factor in zip(outputs, maps, scale_factors)
        ]
        people = []
        for scales in zip(*poses_by_scale):
            poses, scores = map(torch.cat, zip(*scales))
            if len(scales) > 1:
                kept = pose_nms(poses, scores, self.nms_distance, self.nms_num_close)
                poses, scores = poses[kept], scores[kept]
            people.append((poses, scores))
        return people

    def _decode_scale(
        self, output: Mapping, heatmaps: Tensor, factor: float
    ) -> list[tuple[Tensor, Tensor]]:
        """Decode poses and joint scores of each image at one scale."""
        poses, scores, confidences = self.decode_queries(output, heatmaps, factor)
        kept = is_confident(confidences, self.score_threshold)
        return [(pose[keep], score[keep]) for pose, score, keep in zip(poses, scores, kept)]

    def decode_queries(
        self, output: Mapping, heatmaps: Tensor, factor: float = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode the most confident queries at one scale, also those that are not people.

        Args:
            output: Outputs of the head, see `decode`.
            heatmaps: (N, K, height, width), from 0 to 1.
            factor: Scale of the images.

        Returns:
            Poses (N, P, K, 2), x and y in pixels of the input at scale 1, joint scores (N, P, K),
            and confidences (N, P), by decreasing confidence.
        """
        logits = torch.cat([maps.flatten(1) for maps in output['confidences']], 1)
        queries = torch.cat([maps.flatten(1, 2) for maps in output['joints']], 1)
        chosen, confidences = select_queries(logits.float().sigmoid(), self.max_num_people)
        images = torch.arange(chosen.shape[0], device=chosen.device)[:, None]
        poses = queries[images, chosen].float()
        scores = confidences[..., None] * look_up(heatmaps, poses)
        poses = poses * poses.new_tensor(self.scale_factor) / factor
        return poses, scores, confidences


def select_queries(confidences: Tensor, max_num_people: int) -> tuple[Tensor, Tensor]:
    """Choose the queries with the highest confidences.

    Args:
        confidences: (N, Q).
        max_num_people: Maximum number of queries per image.

    Returns:
        Indices and confidences (N, P), by decreasing confidence.
    """
    count = min(max_num_people, confidences.shape[1])
    values, indices = confidences.topk(count, dim=1)
    return indices, values


def is_confident(confidences: Tensor, threshold: float) -> Tensor:
    """Return whether confidences are above a threshold.

    NaN counts as above it, so that the predictions of a model that is not finite contain NaN, which
    raises an error, instead of no people.

    Args:
        confidences: Of any shape.
        threshold: The threshold.

    Returns:
        A boolean tensor of the same shape.
    """
    return ~(confidences <= threshold)


def look_up(heatmaps: Tensor, poses: Tensor) -> Tensor:
    """Return the value of the heatmap at each joint.

    Args:
        heatmaps: (N, K, height, width).
        poses: (N, P, K, 2), x and y in pixels of the maps; joints outside take the value of the
            nearest pixel.

    Returns:
        (N, P, K), float32.
    """
    height, width = heatmaps.shape[-2:]
    # NaN must not become an index.
    cells = poses.nan_to_num().floor()
    x = cells[..., 0].clamp(0, width - 1).long()
    y = cells[..., 1].clamp(0, height - 1).long()
    flat = (y * width + x).transpose(1, 2)
    return heatmaps.flatten(2).gather(2, flat).transpose(1, 2).float()


def average_heatmaps(heatmaps: Sequence[Tensor]) -> list[Tensor]:
    """Average heatmaps of several scales, at the size of the first.

    Args:
        heatmaps: For each scale, (N, K, h, w).

    Returns:
        The average, resized to the size of each of `heatmaps`.
    """
    if len(heatmaps) == 1:
        return list(heatmaps)
    total = sum(_resize(maps, heatmaps[0]) for maps in heatmaps)
    return [_resize(total / len(heatmaps), maps) for maps in heatmaps]


def _resize(maps: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps.float(), size, mode='bilinear', align_corners=False)


def _per_person(name: str, values: np.ndarray | None, count: int) -> np.ndarray:
    if values is None or np.shape(values) != (count,):
        shown = None if values is None else f'of the shape {np.shape(values)}'
        raise ValueError(f'{name} is {shown}: expected a number for each of {count} people')
    return np.asarray(values, float)


def _gaussians(centres: np.ndarray, sigmas: np.ndarray, size: int) -> np.ndarray:
    """Compute a Gaussian around each centre, with a peak of 1: (n, size) float32."""
    offsets = np.arange(size, dtype=np.float32) - centres[:, None].astype('f4')
    offsets /= sigmas[:, None].astype('f4')
    offsets *= offsets
    return np.exp(-0.5 * offsets)
