"""DEKR in `PoseInferencer`: its poses are computed again from the maps of its head."""

import cv2
import numpy as np
import torch

from pose_backbones import PoseInferencer
from pose_backbones.zoo import get_config
from pose_backbones.zoo.models import build_config
from tests.helpers.mmpose_models import ROWS
from tests.helpers.mmpose_rows import randomize, resized

NAME = 'dekr_hrnet-w32_8xb10-140e_coco-512x512'
SIZES = next(row.sizes for row in ROWS if row.config == NAME)
STRIDE = 4


def mirrored(heatmaps, displacements, pairs):
    """Return the maps of the mirrored image for the original image, as arrays."""
    heatmaps = heatmaps[[*pairs, len(pairs)], :, ::-1].copy()
    heatmaps[:, :, 1:] = heatmaps[:, :, :-1].copy()  # shift_heatmap
    height, width = displacements.shape[1:]
    moved = displacements.reshape(-1, 2, height, width)[pairs][..., ::-1].copy()
    moved[:, 0] = -moved[:, 0] + (STRIDE - 1) / STRIDE
    return heatmaps, moved


def sample(heatmap, x, y):
    """Interpolate between four cells, with `grid_sample`'s convention for the corners."""
    height, width = heatmap.shape
    x = np.clip(x * width / (width - 1) - 0.5, 0, width - 1)
    y = np.clip(y * height / (height - 1) - 0.5, 0, height - 1)
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    right, down = x - left, y - top
    cells = heatmap[top : top + 2, left : left + 2]
    return np.array([1 - down, down]) @ cells @ np.array([1 - right, right])


def find_poses(heatmaps, displacements, codec):
    """Return poses (n, 17, 2) in cells, their scores at the root, and those of the keypoints."""
    root, margin = heatmaps[-1], codec.decode_nms_kernel // 2
    peaks = []
    for y, x in np.ndindex(*root.shape):
        around = root[max(0, y - margin) : y + margin + 1, max(0, x - margin) : x + margin + 1]
        if root[y, x] == around.max() and root[y, x] > codec.decode_thr:
            peaks.append((root[y, x], x, y))
    peaks = sorted(peaks, reverse=True)[: codec.decode_max_instances]
    poses = np.array([displacements[:, :, y, x] + (x, y) for _, x, y in peaks])
    scores = [[sample(heatmaps[k], *pose[k]) for k in range(17)] for pose in poses]
    return poses, np.array([score for score, _, _ in peaks]), np.array(scores)


def rescored(net, poses, scores, limbs):
    """Return the predicted similarity of each pose to a person, from its limbs and scores."""
    weights = {name: value.numpy().astype(np.float64) for name, value in net.state_dict().items()}
    values = []
    for pose, score in zip(poses, scores):
        vectors = np.array([pose[start] - pose[end] for start, end in limbs])
        lengths = np.hypot(*vectors.T)
        torso = max((lengths[5] + lengths[6]) / 2, 1)
        x = np.concatenate(((vectors / torso).ravel(), lengths / torso, score))
        for layer in ('l1', 'l2', 'l3'):
            x = weights[f'{layer}.weight'] @ x + weights[f'{layer}.bias']
            x = np.maximum(x, 0) if layer != 'l3' else x
        values.append(x.item())
    return np.array(values)


def suppress(poses, scores, threshold):
    """Return the indices of poses without close ones that have a higher score."""
    kept, removed = [], set()
    for index in np.argsort(-scores):
        if index in removed:
            continue
        diagonal = np.hypot(*np.ptp(poses[index], axis=0))
        distances = np.hypot(*np.moveaxis(poses - poses[index], 2, 0))
        close = np.flatnonzero((distances < threshold * diagonal).sum(1) > 17 // 2)
        best = close[np.argmax(scores[close])]
        if best not in removed:
            kept.append(best)
            removed.update(close.tolist())
    return kept


def test_poses_and_scores():
    cfg = resized(get_config(f'mmpose::{NAME}'), SIZES)
    model = build_config(cfg)
    randomize(model, (128, 128))
    inferencer = PoseInferencer(model)
    head = inferencer.model.head
    maps, forward = [], head.forward
    head.forward = lambda feats: maps.append(forward(feats)) or maps[-1]
    small = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    image = cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)
    (result,) = inferencer(image)

    (heatmaps, displacements), other = (
        [part[0].double().numpy() for part in pair] for pair in maps
    )
    metainfo = model.dataset_meta
    flipped = mirrored(*other, metainfo['flip_indices'])
    heatmaps = (heatmaps + flipped[0]) / 2
    displacements = (displacements.reshape(flipped[1].shape) + flipped[1]) / 2
    poses, roots, scores = find_poses(heatmaps, displacements, head.decoder)
    poses = poses * STRIDE
    roots = roots * rescored(head.rescore_net, poses, scores, metainfo['skeleton_links'])
    kept = suppress(poses, scores.mean(1), model.test_cfg.nms_dist_thr)
    assert len(kept) > 5
    assert torch.tensor(roots).std() > 0.01
    # The image has the size of the input, and is not resized.
    np.testing.assert_allclose(result.keypoints, poses[kept], atol=1e-2)
    expected = roots[kept, None] * scores[kept]
    np.testing.assert_allclose(result.scores, expected, rtol=1e-2, atol=1e-4)
