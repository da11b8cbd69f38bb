"""Tests of the losses of HRCoMer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmpose.registry import MODELS

from pose_backbones.models.losses import (
    BinaryFocalLoss,
    HeatmapFocalLoss,
    JointL1Loss,
    LimbL1Loss,
    OKSLoss,
)

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / 'golden' / 'hrcomer_losses.npz').items()
}
PEOPLE_LOSSES = [JointL1Loss(), LimbL1Loss(limbs=[(0, 2)]), OKSLoss(sigmas=[0.1, 0.2, 0.3])]


def golden_people(kind: str):
    """Return the predicted joints, targets and areas of the assigned people."""
    image, query, person = (GOLDEN[f'match_{key}'] for key in ('batch', 'query', 'target'))
    return (
        GOLDEN[f'loss_pred_{kind}'][image, query],
        GOLDEN['loss_target_joints'][image, person],
        GOLDEN['loss_target_areas'][image, person],
    )


def people(count: int = 4, seed: int = 0):
    """Return joints, targets and areas of people with three joints."""
    rng = torch.Generator().manual_seed(seed)
    joints = 20 * torch.rand(count, 3, 2, generator=rng)
    targets = 20 * torch.rand(count, 3, 3, generator=rng)
    targets[..., 2] = 1
    return joints, targets, 50 + 90 * torch.rand(count, generator=rng)


@pytest.mark.parametrize(
    ('name', 'loss', 'kind'),
    [
        ('joint', JointL1Loss(loss_weight=2e-3), 'joints'),
        ('limb', LimbL1Loss(loss_weight=1e-3), 'joints'),
        ('oks', OKSLoss(loss_weight=1e-3), 'joints_refined'),
        ('oks_bbox', OKSLoss(area_factor=0.53, loss_weight=1e-3), 'joints_refined'),
    ],
)
def test_person_losses_match_original(name, loss, kind):
    value = loss(*golden_people(kind))
    assert value.item() == pytest.approx(GOLDEN[f'value_loss_{name}'].item(), rel=1e-5)


def test_query_loss_matches_original():
    logits = GOLDEN['loss_pred_logits'][..., 0]
    targets = torch.zeros_like(logits)
    targets[GOLDEN['match_batch'], GOLDEN['match_query']] = 1
    valid = torch.cat(
        [
            torch.nn.functional.interpolate(
                GOLDEN['loss_mask'][:, None], shape, mode='bilinear', align_corners=False
            ).flatten(1)
            for shape in GOLDEN['loss_query_shapes'].tolist()
        ],
        1,
    )
    value = BinaryFocalLoss(loss_weight=0.5625)(logits, targets, valid)
    assert value.item() == pytest.approx(GOLDEN['value_loss_cls'].item(), rel=1e-5)


def test_heatmap_loss_matches_original():
    value = HeatmapFocalLoss(loss_weight=1e-3)(
        GOLDEN['loss_pred_heatmaps'], GOLDEN['loss_target_heatmaps'], GOLDEN['loss_mask']
    )
    assert value.item() == pytest.approx(GOLDEN['value_loss_hms'].item(), rel=1e-5)


def test_focal_loss_options():
    logits = torch.tensor([0.5, -2.0])
    all_ones, zero = torch.ones(2), torch.zeros(2)
    p = logits.double().sigmoid()
    loss = BinaryFocalLoss(gamma=3, alpha=0.4, loss_weight=2.0)
    torch.testing.assert_close(
        loss(logits, all_ones, all_ones).double(),
        (2 * 0.4 * (1 - p) ** 3 * -p.log()).mean(),
        check_dtype=False,
        rtol=1e-5,
        atol=0,
    )
    torch.testing.assert_close(
        loss(logits, zero, all_ones).double(),
        (2 * 0.6 * p**3 * -(1 - p).log()).mean(),
        rtol=1e-5,
        atol=0,
    )
    # Queries that are not valid are not counted in the mean.
    first = loss(logits[:1], all_ones[:1], all_ones[:1])
    torch.testing.assert_close(loss(logits, all_ones, torch.tensor([0.5, 0.0])), first)
    # Without an exponent, the loss is the cross entropy.
    torch.testing.assert_close(
        BinaryFocalLoss(gamma=0, alpha=0.5)(logits, all_ones, all_ones),
        (-0.5 * p.log()).mean().float(),
    )


def test_joint_loss_matches_manual_computation():
    joints = torch.tensor([[[1.0, 2.0], [5.0, 5.0]], [[0.0, 0.0], [4.0, 4.0]]])
    targets = torch.tensor([[[2.0, 4.0, 1.0], [0.0, 0.0, 0.0]], [[3.0, 0.0, 1.0], [4.0, 6.0, 1.0]]])
    areas = torch.tensor([4.0, 25.0])
    # (1 + 2) / 2, 3 / 5 and 2 / 5, of three joints
    assert JointL1Loss(loss_weight=3.0)(joints, targets, areas).item() == pytest.approx(
        2.5, rel=1e-4
    )
    # Only the second has both ends: ((-4, -4) - (-1, -6)) is (-3, 2).
    assert LimbL1Loss([(0, 1)], loss_weight=3.0)(joints, targets, areas).item() == pytest.approx(
        3, rel=1e-4
    )


def test_oks_loss_matches_manual_computation():
    joints = torch.tensor([[[3.0, 4.0], [1.0, 1.0]], [[2.0, 2.0], [7.0, 7.0]]])
    targets = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]], [[2.0, 2.0, 1.0], [9.0, 9.0, 0.0]]])
    loss = OKSLoss(sigmas=[0.5, 0.1], area_factor=0.5, loss_weight=3.0)
    # exp(-25 / (2 * .5 * 10 * 1)) and 1, of two joints; 1 of one
    expected = 3 * (1 - ((np.exp(-2.5) + 1) / 2 + 1) / 2)
    assert loss(joints, targets, torch.tensor([10.0, 10.0])).item() == (
        pytest.approx(expected, rel=1e-4)
    )


def test_heatmap_loss_matches_manual_computation():
    predicted = torch.tensor([[[[0.8, 0.3], [0.4, 0.9]]]])
    targets = torch.tensor([[[[1.0, 0.5], [0.0, 1.0]]]])
    valid = torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])
    loss = HeatmapFocalLoss(alpha=3.0, beta=2.0, loss_weight=5.0)
    expected = (
        -5 / 2 * (0.2**3 * np.log(0.8) + 0.1**3 * np.log(0.9) + 0.3**3 * 0.5**2 * np.log(0.7))
    )
    assert loss(predicted, targets, valid).item() == pytest.approx(expected, rel=1e-5)
    # Joints in unlabelled regions are counted as well. Without joints, the sum is not divided.
    targets[0, 0, 0, 0] = targets[0, 0, 1, 1] = 0
    expected = -5 * (0.8**3 * np.log(0.2) + 0.9**3 * np.log(0.1) + 0.3**3 * 0.5**2 * np.log(0.7))
    assert loss(predicted, targets, valid).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('loss', PEOPLE_LOSSES, ids=lambda loss: type(loss).__name__)
def test_no_people_give_zero_gradients(loss):
    outputs = torch.rand(2, 9, 3, 2, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long)
    value = loss(outputs[none, none], torch.zeros(0, 3, 3), torch.zeros(0))
    value.backward()
    assert value.item() == 0
    assert outputs.grad.abs().max() == 0


@pytest.mark.parametrize('loss', PEOPLE_LOSSES, ids=lambda loss: type(loss).__name__)
def test_unlabelled_joints_are_ignored(loss):
    joints, targets, areas = people()
    targets[..., 2] = 0
    targets[0, :, 2] = 1
    joints.requires_grad_()
    single = loss(joints[:1], targets[:1], areas[:1])
    value = loss(joints, targets, areas)
    if isinstance(loss, OKSLoss):
        # The OKS of people without labelled joints is 0.
        assert value.item() == pytest.approx((single.item() + 3) / 4, rel=1e-5)
    else:
        assert value.item() == pytest.approx(single.item(), rel=1e-4)
    value.backward()
    assert joints.grad[1:].abs().max() == 0
    assert joints.grad[0].abs().max() > 0


@pytest.mark.parametrize('masked', [True, False])
def test_all_masked_gives_zero_gradients(masked):
    logits = torch.randn(2, 5, requires_grad=True)
    maps = torch.rand(2, 3, 4, 4, requires_grad=True)
    part = 0.0 if masked else 1.0
    value = BinaryFocalLoss()(logits, torch.zeros(2, 5), torch.full((2, 5), part))
    heatmap_loss = HeatmapFocalLoss()(maps, torch.zeros(2, 3, 4, 4), torch.full((2, 4, 4), part))
    (value + heatmap_loss).backward()
    for loss_value, grad in ((value, logits.grad), (heatmap_loss, maps.grad)):
        assert (loss_value.item() == 0) == masked
        assert (grad.abs().max() == 0) == masked


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_saturated_outputs(dtype):
    logits = torch.tensor([-1e4, 1e4, -1e4, 1e4, 0.0], dtype=dtype, requires_grad=True)
    targets = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    value = BinaryFocalLoss()(logits, targets, torch.ones(5))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
    # Wrong predictions with high confidence have a gradient towards the target.
    assert logits.grad[2] < 0 < logits.grad[3]
    maps = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.5], dtype=dtype)
    maps = maps.reshape(1, 1, 1, 5).requires_grad_()
    value = HeatmapFocalLoss()(maps, targets.reshape(1, 1, 1, 5), torch.ones(1, 1, 5))
    value.backward()
    # The third and the fourth value are wrong, with a confidence of 1 - eps; there are 3 joints.
    expected = (-2 * np.log(1e-6) - 0.25 * np.log(0.5)) / 3
    assert value.item() == pytest.approx(expected, rel=1e-2)
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize('loss', PEOPLE_LOSSES, ids=lambda loss: type(loss).__name__)
def test_half_precision_inputs_are_computed_in_float32(loss):
    joints, targets, areas = people()
    # The squares of these values overflow in half precision.
    joints = (joints * 30).half().requires_grad_()
    targets = targets * torch.tensor([30.0, 30.0, 1.0])
    value = loss(joints, targets, areas * 900)
    value.backward()
    assert value.dtype == torch.float32
    assert joints.grad.isfinite().all()
    torch.testing.assert_close(value, loss(joints.detach().float(), targets, areas * 900))
    # The same holds for areas that overflow.
    half = loss(joints, targets, (areas * 900).clamp(max=6e4).half())
    assert half.isfinite()


@pytest.mark.parametrize('loss', PEOPLE_LOSSES, ids=lambda loss: type(loss).__name__)
def test_gradients_are_bounded(loss):
    joints, targets, areas = people()
    joints[0] = targets[0, :, :2]
    joints[1] = 6e4
    joints.requires_grad_()
    loss(joints, targets, areas).backward()
    assert joints.grad.isfinite().all()


def test_autocast():
    joints, targets, areas = people()
    expected = [loss(joints, targets, areas) for loss in PEOPLE_LOSSES]
    with torch.autocast('cpu', torch.bfloat16):
        values = [loss(joints, targets, areas) for loss in PEOPLE_LOSSES]
    torch.testing.assert_close(values, expected)


def test_optimization_reduces_every_loss():
    joints, targets, areas = people()
    joints = targets[..., :2] + 0.4 * torch.randn(
        joints.shape, generator=torch.Generator().manual_seed(1)
    )
    for loss in PEOPLE_LOSSES:
        start = loss(joints, targets, areas).item()
        moved = joints.clone().requires_grad_()
        optimizer = torch.optim.Adam([moved], lr=0.02)
        for _ in range(30):
            optimizer.zero_grad()
            loss(moved, targets, areas).backward()
            optimizer.step()
        assert loss(moved, targets, areas).item() < 0.6 * start


def test_from_configs():
    loss = MODELS.build(
        dict(
            type='pose_backbones.OKSLoss',
            area_factor=0.53,
            sigmas='configs/_base_/datasets/crowdpose.py',
        )
    )
    assert isinstance(loss, OKSLoss)
    assert len(loss.sigmas) == 14
    # The sigmas are not saved in checkpoints.
    assert not loss.state_dict()
    for name in ('BinaryFocalLoss', 'JointL1Loss', 'LimbL1Loss', 'HeatmapFocalLoss'):
        built = MODELS.build(dict(type=f'pose_backbones.{name}', loss_weight=7.0))
        assert built.loss_weight == 7


def test_invalid_inputs_raise():
    joints, targets, areas = people()
    with pytest.raises(ValueError, match=r'\(4, 3, 2\) and targets .4, 3, 2'):
        JointL1Loss()(joints, targets[..., :2], areas)
    with pytest.raises(ValueError, match='limbs go up to keypoint 16: expected indices below 3'):
        LimbL1Loss()(joints, targets, areas)
    with pytest.raises(ValueError, match='there are 17 sigmas: expected 3'):
        OKSLoss()(joints, targets, areas)
    with pytest.raises(ValueError, match='gamma is 0.5: expected 0, or at'):
        BinaryFocalLoss(gamma=0.5)
    with pytest.raises(ValueError, match='alpha is -1: expected 0, or at'):
        HeatmapFocalLoss(alpha=-1)
    with pytest.raises(TypeError, match="loss_weight is '1': expected a"):
        JointL1Loss('1')
    with pytest.raises(
        ValueError,
        match=r'valid has the shape \(2,\): '
        r'expected \(3,\)',
    ):
        BinaryFocalLoss()(torch.zeros(3), torch.zeros(3), torch.zeros(2))
    maps = torch.zeros(1, 2, 4, 4)
    with pytest.raises(ValueError, match=r'valid has the shape \(1, 2, 4, 4'):
        HeatmapFocalLoss()(maps, maps, maps)
    with pytest.raises(ValueError, match=r'targets has the shape \(1, 1, 4'):
        HeatmapFocalLoss()(maps, maps[:, :1], maps[:, 0])
