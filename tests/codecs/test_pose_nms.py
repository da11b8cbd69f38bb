"""Non-maximum suppression of poses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pose_backbones.codecs.pose_nms import pose_nms

GOLDEN = Path(__file__).parents[1] / 'golden' / 'hrcomer_losses.npz'


def nms_in_loops(poses, joint_scores, max_distance=0.05, num_close=8):
    """Compute the reference: loops over poses and joints, in the order of the original."""
    scores = joint_scores.mean(1)
    kept, suppressed = [], set()
    for i, pose in enumerate(poses):
        if i in suppressed:
            continue
        width, height = pose.max(0) - pose.min(0)
        near = max_distance * np.hypot(width, height)
        similar = []
        for j, other in enumerate(poses):
            close = sum(np.hypot(*(a - b)) < near for a, b in zip(pose, other))
            if close > num_close:
                similar.append(j)
        winner = max(similar, key=lambda j: (scores[j], -j))
        if winner not in suppressed:
            kept.append(winner)
            suppressed.update(similar)
    return kept


def noisy_copies(seed: int, joints: int = 17):
    """Return shifted and noisy copies of a few poses of different sizes."""
    rng = np.random.default_rng(seed)
    people = rng.uniform(0, 100, (6, 1, 2)) + rng.uniform(10, 60, (6, 1, 1)) * rng.uniform(
        size=(6, joints, 2)
    )
    poses = people[rng.integers(0, 6, 25)]
    poses = poses + rng.normal(size=poses.shape) * rng.uniform(0, 2.5, (25, 1, 1))
    return poses, rng.uniform(size=(25, joints))


def test_matches_original():
    data = np.load(GOLDEN)
    kept = pose_nms(*(torch.from_numpy(data[f'nms_{key}']) for key in ('poses', 'scores')))
    assert kept.tolist() == data['nms_keep'].tolist()


@pytest.mark.parametrize('options', [{}, {'max_distance': 0.1}, {'num_close': 3}])
def test_matches_loops(options):
    counts = []
    for seed in range(30):
        poses, scores = noisy_copies(seed)
        kept = pose_nms(*map(torch.from_numpy, (poses, scores)), **options)
        assert kept.tolist() == nms_in_loops(poses, scores, **options)
        counts.append(len(kept))
    assert 1 < np.mean(counts) < 24


def test_best_of_similar_poses_is_kept():
    pose = torch.rand(17, 2, generator=torch.Generator().manual_seed(0))
    poses = torch.stack((pose, pose + 5, pose + 0.001))
    scores = torch.tensor([0.2, 0.9, 0.5])[:, None].expand(3, 17)
    assert pose_nms(poses, scores).tolist() == [2, 1]


def test_one_pose_and_no_pose():
    poses = torch.rand(1, 17, 2)
    assert pose_nms(poses, torch.rand(1, 17)).tolist() == [0]
    assert pose_nms(poses[:0], torch.rand(0, 17)).tolist() == []


def test_pose_without_extent_is_kept():
    poses = torch.zeros(2, 17, 2)
    assert pose_nms(poses, torch.rand(2, 17)).tolist() == [0, 1]


def test_too_few_joints_raise():
    with pytest.raises(
        ValueError, match='num_close is 8: expected less than 8, the number of joints'
    ):
        pose_nms(torch.rand(2, 8, 2), torch.rand(2, 8))
