"""Tests of `PoseHungarianAssigner` and its costs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmpose.registry import TASK_UTILS
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from pose_backbones.models.task_modules import (
    BinaryFocalCost,
    JointL1Cost,
    LimbL1Cost,
    PoseHungarianAssigner,
)

GOLDEN = Path(__file__).parents[1] / 'golden' / 'hrcomer_losses.npz'
LIMBS = ((0, 1), (1, 2))
SHAPES = [(8, 10), (4, 5), (2, 3)]  # of an output of 16 x 20
QUERIES = 106


def make_assigner(**options) -> PoseHungarianAssigner:
    """Return an assigner for three joints and two limbs."""
    return PoseHungarianAssigner(
        [BinaryFocalCost(), JointL1Cost(), LimbL1Cost(limbs=LIMBS)], **options
    )


def make_batch(seed: int, people=(4, 0, 7, 1), rows: int = 8):
    """Return outputs, targets and valid queries of a batch of images."""
    rng = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(shape, generator=rng)

    count = len(people)
    joints = torch.cat((20 * rand(count, rows, 3, 2), (rand(count, rows, 3, 1) > 0.3).float()), -1)
    joints[:, :, 0, 2] = 1
    for image, number in enumerate(people):
        joints[image, number:] = 0
    targets = dict(joints=joints, areas=1 + 80 * rand(count, rows), sizes=17 * rand(count, rows))
    outputs = dict(
        confidences=4 * rand(count, QUERIES, 1) - 4, joints=20 * rand(count, QUERIES, 3, 2)
    )
    return outputs, targets, rand(count, QUERIES) > 0.2


def costs_in_numpy(outputs, targets, image):
    """Compute the three costs (Q, M) of an image by their definition."""
    logits = outputs['confidences'][image, :, 0].double().numpy()
    joints = outputs['joints'][image].double().numpy()
    target_joints = targets['joints'][image].double().numpy()
    roots = np.sqrt(targets['areas'][image].double().numpy())
    total = np.zeros((len(logits), len(target_joints)))
    for q, logit in enumerate(logits):
        p = 1 / (1 + np.exp(-logit))
        focal = -0.25 * (1 - p) ** 2 * np.log(p + 1e-5) + 0.75 * p**2 * np.log(1 - p + 1e-5)
        for m, goal in enumerate(target_joints):
            seen = goal[:, 2] > 0
            if not seen.any():
                continue
            error = joints[q] - goal[:, :2]
            total[q, m] = focal + 4 * np.abs(error[seen]).sum() / seen.sum() / roots[m]
            limb_errors = [error[a] - error[b] for a, b in LIMBS if seen[a] and seen[b]]
            if limb_errors:
                total[q, m] += 2 * np.abs(limb_errors).sum() / len(limb_errors) / roots[m]
    return total


def limits_of_queries():
    """Return the largest size of a person for each query."""
    size = 2 * np.sqrt(8 * 10)
    return np.repeat([size / 4, size / 2, np.inf], [h * w for h, w in SHAPES])


def test_matches_original():
    data = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(GOLDEN).items()}
    shapes = [tuple(shape) for shape in data['loss_query_shapes'].tolist()]
    valid = torch.cat(
        [
            F.interpolate(
                data['loss_mask'][:, None], shape, mode='bilinear', align_corners=False
            ).flatten(1)
            for shape in shapes
        ],
        1,
    )
    assert valid.min() == 0
    assigned = PoseHungarianAssigner()(
        dict(confidences=data['loss_pred_logits'], joints=data['loss_pred_joints']),
        shapes,
        {key: data[f'loss_target_{key}'] for key in ('joints', 'areas', 'sizes')},
        valid > 0,
    )
    for name, indices in zip(('batch', 'query', 'target'), assigned):
        assert indices.tolist() == data[f'match_{name}'].tolist()


@pytest.mark.parametrize('constrain', [True, False])
@pytest.mark.parametrize('seed', range(5))
def test_matches_assignment_of_all_costs(seed, constrain):
    outputs, targets, valid = make_batch(seed)
    assigned = make_assigner(constrain_sizes=constrain)(outputs, SHAPES, targets, valid)
    expected = []
    for image, number in enumerate((4, 0, 7, 1)):
        costs = costs_in_numpy(outputs, targets, image)[:, :number]
        costs[~valid[image].numpy()] = 1e5
        if constrain:
            sizes = targets['sizes'][image, :number].numpy()
            costs[sizes > limits_of_queries()[:, None]] = 1e5
        expected += [
            (image, query, person)
            for query, person in zip(*linear_sum_assignment(costs))
            if costs[query, person] < 1e5
        ]
    assert list(zip(*(index.tolist() for index in assigned))) == expected


def test_people_with_the_same_best_query():
    # All people have the same nearest query, which only one of them can get.
    outputs, targets, _ = make_batch(0, people=(3,), rows=3)
    targets['joints'][0] = targets['joints'][0, 0]
    outputs['confidences'][:] = 0
    outputs['joints'] = targets['joints'][0, 0, :, :2] + torch.arange(106.0)[None, :, None, None]
    targets['areas'][:] = torch.tensor([4.0, 1.0, 100.0])
    _, queries, people = make_assigner(constrain_sizes=False)(
        outputs, SHAPES, targets, torch.ones(1, QUERIES)
    )
    # Costs are larger for smaller people, so the smallest person gets the nearest query.
    assert (queries.tolist(), people.tolist()) == ([0, 1, 2], [1, 0, 2])


def test_size_of_person_selects_the_map():
    outputs, targets, valid = make_batch(1, people=(3,), rows=3)
    size = 2 * np.sqrt(80)
    targets['sizes'][0] = torch.tensor([size / 4 + 0.01, size / 2 + 0.01, 2 * size])
    valid[:] = True
    # All queries of the finest map can be assigned to any person.
    joints = targets['joints'][0, :, :, :2]
    outputs['joints'][0, :80] = joints[torch.arange(80) % 3]
    _, queries, people = make_assigner()(outputs, SHAPES, targets, valid)
    query_of_person = dict(zip(people.tolist(), queries.tolist()))
    assert query_of_person[0] >= 80
    assert query_of_person[1] >= 100
    assert query_of_person[2] >= 100
    _, queries, _ = make_assigner(constrain_sizes=False)(outputs, SHAPES, targets, valid)
    assert queries.max() < 80


def test_padding_rows_are_ignored():
    outputs, targets, valid = make_batch(2, people=(5, 5), rows=5)
    every = make_assigner()(outputs, SHAPES, targets, valid)
    targets['joints'][0, [0, 3]] = 0
    targets['joints'][1] = 0
    image, _, people = make_assigner()(outputs, SHAPES, targets, valid)
    assert sorted(people.tolist()) == [1, 2, 4]
    assert image.tolist() == [0, 0, 0]
    assert len(every[0]) == 10


@pytest.mark.parametrize('rows', [0, 3])
def test_no_people(rows):
    outputs, targets, valid = make_batch(0, people=(0, 0), rows=rows)
    assigned = make_assigner()(outputs, SHAPES, targets, valid)
    assert [index.tolist() for index in assigned] == [[], [], []]
    assert {index.dtype for index in assigned} == {torch.int64}
    # The empty results can be used as indices.
    assert outputs['joints'][assigned[0], assigned[1]].shape == (0, 3, 2)


def test_all_masked():
    outputs, targets, valid = make_batch(0, people=(4, 4))
    valid[1] = False
    image, _, _ = make_assigner()(outputs, SHAPES, targets, valid)
    assert image.tolist() == [0] * 4
    assigned = make_assigner()(outputs, SHAPES, targets, valid & False)
    assert [index.tolist() for index in assigned] == [[], [], []]


def test_more_people_than_queries():
    outputs, targets, valid = make_batch(3, people=(8,))
    valid[:] = False
    valid[0, [7, 90, 103]] = True
    _, queries, people = make_assigner(constrain_sizes=False)(outputs, SHAPES, targets, valid)
    costs = costs_in_numpy(outputs, targets, 0)[[7, 90, 103]]
    assert queries.tolist() == [7, 90, 103]
    assert people.tolist() == linear_sum_assignment(costs)[1].tolist()


def test_overflowing_outputs():
    outputs, targets, valid = make_batch(4, people=(5, 2))
    valid[:] = True
    # The outputs of a network can be in half precision.
    outputs = {key: value.half() for key, value in outputs.items()}
    outputs['joints'][0, :100] = float('nan')
    outputs['joints'][0, 100:103] = float('inf')
    outputs['confidences'][0, 103] = float('nan')
    image, queries, _ = make_assigner()(outputs, SHAPES, targets, valid)
    assert image.tolist() == [0, 0, 1, 1]
    assert queries[:2].tolist() == [104, 105]
    outputs['joints'][:] = float('nan')
    assigned = make_assigner()(outputs, SHAPES, targets, valid)
    assert [index.tolist() for index in assigned] == [[], [], []]


def test_half_precision_inputs_are_computed_in_float32():
    outputs, targets, valid = make_batch(5)
    half = {key: value.half() for key, value in outputs.items()}
    single = {key: value.float() for key, value in half.items()}
    for indices, expected_indices in zip(
        make_assigner()(half, SHAPES, targets, valid),
        make_assigner()(single, SHAPES, targets, valid),
    ):
        assert indices.tolist() == expected_indices.tolist()


def test_costs_of_many_blocks(monkeypatch):
    outputs, targets, _ = make_batch(6)
    all_costs = JointL1Cost()(outputs, targets)
    monkeypatch.setattr('pose_backbones.models.task_modules.match_costs._BLOCK', 8 * 9)
    torch.testing.assert_close(JointL1Cost()(outputs, targets), all_costs)


def test_options_of_each_cost():
    outputs, targets, _ = make_batch(7, people=(2,), rows=2)
    p = outputs['confidences'][..., 0].double().sigmoid()[:, None]
    expected = 3 * (-0.4 * (1 - p) ** 1.5 * (p + 1e-5).log() + 0.6 * p**1.5 * (1 - p + 1e-5).log())
    torch.testing.assert_close(
        BinaryFocalCost(weight=3, gamma=1.5, alpha=0.4)(outputs, targets), expected.float()
    )
    joints = targets['joints']
    joints[..., 2] = 1
    error = outputs['joints'][:, None] - joints[:, :, None, :, :2]
    roots = targets['areas'].sqrt()[..., None]
    torch.testing.assert_close(
        JointL1Cost(weight=3)(outputs, targets),
        3 * error.abs().sum(-1).mean(-1) / roots,
        rtol=1e-4,
        atol=1e-4,
    )
    limb_error = error[..., 2, :] - error[..., 0, :]
    torch.testing.assert_close(
        LimbL1Cost(weight=3, limbs=[(2, 0)])(outputs, targets),
        3 * limb_error.abs().sum(-1) / roots,
        rtol=1e-4,
        atol=1e-4,
    )
    # A limb counts only if both joints do.
    joints[..., 0, 2] = 0
    assert LimbL1Cost(limbs=[(2, 0)])(outputs, targets).abs().max() == 0


def test_custom_costs():
    outputs, targets, valid = make_batch(8, people=(1,))
    valid[:] = True

    def last_is_best(outputs, _targets):
        return -torch.arange(QUERIES).float().expand(1, 1, QUERIES)

    _, queries, people = PoseHungarianAssigner([last_is_best])(outputs, SHAPES, targets, valid)
    assert (queries.tolist(), people.tolist()) == ([QUERIES - 1], [0])


def test_from_a_config():
    assigner = TASK_UTILS.build(
        dict(
            type='pose_backbones.PoseHungarianAssigner',
            costs=[dict(type='pose_backbones.JointL1Cost', weight=2.0)],
            constrain_sizes=False,
        )
    )
    assert isinstance(assigner, PoseHungarianAssigner)
    assert [cost.weight for cost in assigner.costs] == [2.0]
    defaults = PoseHungarianAssigner().costs
    assert [cost.weight for cost in defaults] == [1.0, 4.0, 2.0]


def test_result_has_no_gradient():
    outputs, targets, valid = make_batch(9)
    outputs['joints'].requires_grad_()
    assigned = make_assigner()(outputs, SHAPES, targets, valid)
    assert not any(index.requires_grad for index in assigned)


def test_invalid_inputs_raise():
    outputs, targets, valid = make_batch(0)
    with pytest.raises(
        ValueError,
        match=r'shapes are \[\(8, 10\)\]: '
        'expected maps of 106 queries',
    ):
        make_assigner()(outputs, SHAPES[:1], targets, valid)
    with pytest.raises(ValueError, match=r'costs is \[\]: expected at least one cost'):
        PoseHungarianAssigner([])
    with pytest.raises(TypeError, match='constrain_sizes is 1: expected'):
        PoseHungarianAssigner(constrain_sizes=1)
    with pytest.raises(TypeError, match="weight is '4': expected a number"):
        JointL1Cost('4')
    with pytest.raises(ValueError, match='limbs go up to keypoint 16: expected indices below 3'):
        PoseHungarianAssigner()(outputs, SHAPES, targets, valid)
