"""Tests of MSPN and its head: values, options and errors."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from mmpose.utils import register_all_modules
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pose_backbones.models.backbones import MSPN
from pose_backbones.models.losses import HardKeypointsMSELoss
from tests.helpers import golden_values

SMALL = dict(num_blocks=(1, 1, 2, 1), base_channels=8, unit_channels=16)
CODEC = dict(
    type='pose_backbones.CoarseToFineHeatmap',
    input_size=(96, 64),
    heatmap_size=(24, 16),
    kernel_sizes=(9, 7, 5, 3, 1),
)


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()


def random_net(stages=2, seed=0, **kwargs) -> MSPN:
    """Return a small backbone."""
    torch.manual_seed(seed)
    return MSPN(stages, **{**SMALL, **kwargs})


def make_head(stages=2, **kwargs):
    """Return a small head for 17 keypoints."""
    return MODELS.build(
        dict(
            type='pose_backbones.MSPNHead',
            **{
                'stages': stages,
                'out_shape': (16, 24),
                'unit_channels': 16,
                'decoder': CODEC,
                **kwargs,
            },
        )
    )


def estimator(stages=2, head_stages=None, test_cfg=None, out_indices=None, **kwargs):
    """Return a small model whose head has the same number of stages."""
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='pose_backbones.MSPNEstimator',
            backbone=dict(
                type='pose_backbones.MSPN', stages=stages, out_indices=out_indices, **SMALL
            ),
            head=dict(
                type='pose_backbones.MSPNHead',
                stages=head_stages or stages,
                out_shape=(16, 24),
                **{'unit_channels': 16, 'decoder': CODEC, **kwargs},
            ),
            test_cfg=test_cfg or {},
        )
    )


def image(count=1, seed=3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 64, 96, generator=generator)


@pytest.fixture(scope='module')
def golden():
    """Return the recorded values of the original, and the heatmaps of this implementation."""
    record = golden_values.load('mspn_2stg_256x192')
    model = MODELS.build(
        dict(
            type='pose_backbones.MSPNEstimator',
            backbone=dict(type='pose_backbones.MSPN', stages=2),
            head=dict(type='pose_backbones.MSPNHead', stages=2),
        )
    ).eval()
    model.load_state_dict(golden_values.weights(record), strict=True)
    assert sum(p.numel() for p in model.parameters()) == record['params']
    with torch.no_grad():
        feats = model.backbone(golden_values.image(record))
        return record, model.head, feats, model.head.unit_maps(feats)


def test_unit_maps_match_original(golden):
    record, head, feats, maps = golden
    golden_values.assert_reproduced(maps, record)
    with torch.no_grad():
        torch.testing.assert_close(head(feats), maps[-1], rtol=0, atol=0)


def test_loss_matches_original(golden):
    record, head, _, maps = golden
    rng = np.random.default_rng(record['seed'] + 2)
    shape = maps[0].shape
    labels = 255 * rng.random((1, 5, *shape[1:]))
    valid = rng.integers(0, 3, (1, shape[1], 1))[..., 0]
    assert set(valid.flatten()) == {0, 1, 2}
    loss = head.unit_losses(
        maps, torch.from_numpy(labels.astype(np.float32)), torch.from_numpy(valid / 2)
    )
    assert loss.item() == pytest.approx(record['loss'], rel=1e-5)


def reference_loss(maps, targets, valid, stages, topk=8):
    """Compute the loss by its definition, keypoint by keypoint; `valid` is 0, 1 or 2."""
    total = 0
    for index, output in enumerate(maps):
        stage, unit = divmod(index, 4)
        target = targets[:, unit + (stage == stages - 1)]
        for person in range(len(output)):
            errors = []
            for k in range(output.shape[1]):
                if unit < 3:
                    label = target[person, k] * (valid[person, k] == 2)
                    errors.append((output[person, k] - label) ** 2)
                else:
                    error = (output[person, k] - target[person, k]) ** 2
                    errors.append(error.mean() * (valid[person, k] > 0))
            if unit < 3:
                loss = torch.stack(errors).mean() / 4
            else:
                loss = torch.stack(errors).sort()[0][-topk:].mean()
            total = total + loss / len(output)
    return total


@pytest.mark.parametrize('stages', [1, 2, 3])
def test_loss_of_several_people(stages):
    torch.manual_seed(0)
    maps = [torch.randn(3, 10, 4, 5) for _ in range(4 * stages)]
    targets = torch.randn(3, 5, 10, 4, 5)
    valid = torch.randint(0, 3, (3, 10))
    head = make_head(stages, out_channels=10)
    torch.testing.assert_close(
        head.unit_losses(maps, targets, valid / 2), reference_loss(maps, targets, valid, stages)
    )


def test_custom_losses_and_levels():
    torch.manual_seed(0)
    maps = [torch.randn(2, 10, 4, 5) for _ in range(4)]
    targets = torch.randn(2, 5, 10, 4, 5)
    mse = dict(type='KeypointMSELoss')
    head = make_head(
        1, out_channels=10, levels=(4, 0, 0, 2), loss=mse, last_loss=dict(mse, loss_weight=3.0)
    )
    expected = sum(
        factor * (output - targets[:, level]).square().mean()
        for output, level, factor in zip(maps, (4, 0, 0, 2), (1, 1, 1, 3))
    )
    torch.testing.assert_close(head.unit_losses(maps, targets, torch.ones(2, 10)), expected)


def sample(width=96, height=64, seed=0) -> PoseDataSample:
    """Return the data of one person from the pipeline, with the targets of the codec."""
    from pose_backbones.codecs import CoarseToFineHeatmap

    rng = np.random.default_rng(seed)
    codec = CoarseToFineHeatmap(**{key: value for key, value in CODEC.items() if key != 'type'})
    encoded = codec.encode(
        rng.uniform(0, (width, height), (1, 17, 2)), rng.choice([0, 0.5, 1], (1, 17))
    )
    packed = PoseDataSample(
        metainfo=dict(
            input_size=(width, height),
            flip_indices=list(range(17))[::-1],
            input_center=np.array([width / 2, height / 2]),
            input_scale=np.array([width, height]),
        )
    )
    packed.gt_fields = PixelData(heatmaps=torch.from_numpy(encoded['heatmaps']))
    packed.gt_instance_labels = InstanceData(
        keypoint_weights=torch.from_numpy(encoded['keypoint_weights'])
    )
    packed.gt_instances = InstanceData(
        bboxes=np.array([[0, 0, width, height]]), bbox_scores=np.ones(1)
    )
    return packed


def test_training_step_supervises_every_parameter():
    model = estimator(3).train()
    samples = [sample(seed=n) for n in range(2)]
    losses = model(image(2), samples, mode='loss')
    maps = model.head.unit_maps(model.extract_feat(image(2)))
    targets = torch.stack([s.gt_fields.heatmaps for s in samples])
    weights = torch.cat([s.gt_instance_labels.keypoint_weights for s in samples])
    torch.testing.assert_close(
        losses['loss_kpt'],
        reference_loss(maps, targets.reshape(2, 5, 17, 16, 24), 2 * weights, stages=3),
        rtol=1e-4,
        atol=1e-3,
    )
    assert 0 <= losses['acc_pose'] <= 1
    losses['loss_kpt'].backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name


def called_modules(model, run) -> set[str]:
    """Return the names of the modules with weights that `run` calls."""
    called = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.add(name))
        for name, module in model.named_modules()
        if list(module.parameters(recurse=False))
    ]
    run()
    for hook in hooks:
        hook.remove()
    return called


def test_prediction_computes_only_the_last_map():
    model = estimator(3).eval()
    with torch.no_grad():
        every = called_modules(model, lambda: model.head.unit_maps(model.extract_feat(image())))
        needed = called_modules(model, lambda: model(image(), [sample()], mode='predict'))
        tensor = called_modules(model, lambda: model(image(), None, mode='tensor'))
    assert every == {
        name for name, module in model.named_modules() if list(module.parameters(recurse=False))
    }
    assert every - needed == {
        name
        for name in every
        if name.startswith('head.predict_layers.')
        and not name.startswith('head.predict_layers.11.')
    }
    assert tensor == needed
    # Each of these modules is needed: if its weights change, the map changes.
    with torch.no_grad():
        before = model(image(), None, mode='tensor')
        for name in sorted(needed):
            weight = model.get_submodule(name).weight
            kept = weight.clone()
            weight += torch.randn_like(weight)
            other = model(image(), None, mode='tensor')
            assert not torch.equal(other, before), name
            weight.copy_(kept)


def test_flip_test_averages_both_maps():
    model = estimator(
        2, test_cfg=dict(flip_test=True, shift_heatmap=False, output_heatmaps=True)
    ).eval()
    unflipped_model = estimator(2, test_cfg=dict(output_heatmaps=True)).eval()
    unflipped_model.load_state_dict(model.state_dict())
    with torch.no_grad():
        (both,) = model(image(), [sample()], mode='predict')
        heatmaps = model(image(), None, mode='tensor')[0]
        mirrored_heatmaps = model(image().flip(-1), None, mode='tensor')[0].flip(-1, 0)
        (unflipped,) = unflipped_model(image(), [sample()], mode='predict')
    torch.testing.assert_close(unflipped.pred_fields.heatmaps, heatmaps)
    torch.testing.assert_close(both.pred_fields.heatmaps, (heatmaps + mirrored_heatmaps) / 2)
    points, scores = model.head.decoder.decode(both.pred_fields.heatmaps.numpy())
    np.testing.assert_allclose(both.pred_instances.keypoints, points, atol=1e-4)
    np.testing.assert_allclose(both.pred_instances.keypoint_scores, scores)


def reference_forward(net: MSPN, x: torch.Tensor) -> list[torch.Tensor]:
    """Compute the network as in the paper, one convolution after the other."""
    resize = nn.functional.interpolate
    x, previous, outputs = net.top(x), None, []
    for s in range(net.stages):
        stage, skips, down = getattr(net, f'stage{s}'), [], []
        for i in range(4):
            x = stage.downsample.get_submodule(f'layer{i + 1}')(x)
            if previous:
                x = x + previous[i][0] + previous[i][1]
            down.append(x)
        up = None
        for i in range(4):
            unit, x = stage.upsample.get_submodule(f'up{i + 1}'), down[3 - i]
            out = unit.u_skip(x)
            if i:
                out = out + unit.up_conv(
                    resize(up, x.shape[2:], mode='bilinear', align_corners=True)
                )
            up = out.relu()
            outputs.append(up)
            if s < net.stages - 1:
                skips.insert(0, (unit.skip1(x), unit.skip2(up)))
        if s < net.stages - 1:
            previous, x = skips, unit.cross_conv(up)
    return outputs


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(
    'norm',
    [dict(type='BN'), dict(type='GN', num_groups=4), dict(type='BN', track_running_stats=False)],
)
def test_order_of_convolution_and_upsampling_does_not_matter(norm, training):
    """In evaluation mode with batch norms, the convolution is computed first."""
    net = random_net(3, norm_cfg=norm)
    for module in net.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    sizes = []
    unit = net.stage1.upsample.up4
    unit.up_conv.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[-2:]))
    with torch.no_grad():
        # In training mode, the outputs do not depend on the running statistics.
        expected = reference_forward(net.train(training), image(2))
        outputs = net(image(2))
    assert len(outputs) == len(expected) == 12
    for output, expected_output in zip(outputs, expected):
        torch.testing.assert_close(output, expected_output, rtol=1e-4, atol=1e-5)
    is_early = norm == dict(type='BN') and not training
    assert sizes == [(16, 24), (8, 12) if is_early else (16, 24)]


@pytest.mark.parametrize(('stages', 'millions'), [(1, 25.14), (2, 56.87), (3, 88.59), (4, 120.32)])
def test_parameter_counts(stages, millions):
    """The count for 2 stages is that of the golden file; each further stage adds the same."""
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type='pose_backbones.MSPNEstimator',
                backbone=dict(type='pose_backbones.MSPN', stages=stages),
                head=dict(type='pose_backbones.MSPNHead', stages=stages),
            )
        )
    params = sum(p.numel() for p in model.parameters())
    assert params / 1e6 == pytest.approx(millions, abs=0.01)


def test_norm_cfg():
    model = estimator(2)
    for norm, kind in (('BN', nn.BatchNorm2d), ('SyncBN', nn.SyncBatchNorm)):
        parts = (random_net(norm_cfg=dict(type=norm)), make_head(norm_cfg=dict(type=norm)))
        for part in parts:
            norms = [m for m in part.modules() if isinstance(m, _BatchNorm)]
            convs = [m for m in part.modules() if isinstance(m, nn.Conv2d)]
            assert len(norms) == len(convs) > 10
            assert all(isinstance(m, kind) for m in norms)
        for part, default in zip(parts, (model.backbone, model.head)):
            assert part.state_dict().keys() == default.state_dict().keys()


def test_with_cp_of_the_head_saves_memory_and_keeps_results():
    from pose_backbones.cli.memory import record_kept

    feats = random_net()(image(2))
    results = []
    for with_cp in (False, True):
        torch.manual_seed(1)
        head = make_head(with_cp=with_cp).train()
        inputs = [f.detach().requires_grad_() for f in feats]
        with record_kept(head) as kept:
            loss = sum(m.square().mean() for m in head(inputs))
        size = sum(kept.values()) - sum(f.nbytes for f in inputs)
        loss.backward()
        results.append((size, [p.grad for p in head.parameters()], dict(head.named_buffers())))
    without, with_checkpointing = results
    for grad, checkpointed_grad in zip(without[1], with_checkpointing[1]):
        torch.testing.assert_close(grad, checkpointed_grad)
    for name, value in without[2].items():
        torch.testing.assert_close(with_checkpointing[2][name], value)
    assert with_checkpointing[0] < 0.7 * without[0]


def test_training_returns_every_unit_and_evaluation_the_last():
    model = estimator(2)
    every = model.train()(image(2), None, mode='tensor')
    assert [tuple(m.shape) for m in every] == [(2, 17, 16, 24)] * 8
    last = model.eval()(image(2), None, mode='tensor')
    assert last.shape == (2, 17, 16, 24)


@pytest.mark.parametrize(
    ('argument', 'value', 'message'),
    [
        ('stages', 0, 'stages is 0: expected a number of stages, 1 to 4'),
        ('stages', 2.0, 'stages is 2.0: expected'),
        ('stages', True, 'stages is True: expected'),
        ('num_blocks', (3, 4, 6), r'num_blocks is \(3, 4, 6\): expected 4'),
        ('num_blocks', (3, 4, 6, 0), 'expected 4 integers of at least 1'),
        ('num_blocks', (3, 4, 6, 1.5), r'num_blocks is \(3, 4, 6, 1.5\)'),
        ('num_blocks', 4, 'num_blocks is 4: expected 4 integers'),
        ('base_channels', 'a', "base_channels is 'a': expected an integer"),
        ('base_channels', 0, 'base_channels is 0'),
        ('unit_channels', -1, 'unit_channels is -1'),
        ('norm_cfg', dict(type='BM'), "'BM'.*did you mean BN"),
    ],
)
def test_invalid_backbone_arguments_raise(argument, value, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MSPN(**{'stages': 2, **SMALL, argument: value})


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(stages=0), 'stages is 0: expected'),
        (dict(levels=(0, 1, 2, 3)), r'levels is \(0, 1, 2, 3\): expected 8'),
        (
            dict(levels=(0, 1, 2, 3, 1, 2, 3, 5)),
            r'has 5 kernel_sizes, \(9, 7, 5, 3, 1\): expected at least 6',
        ),
        (
            dict(decoder=dict(CODEC, kernel_sizes=(9, 7, 5, 3))),
            r'has 4 kernel_sizes, .*expected at least 5, since .*\(0, 1, 2, 3, 1, ',
        ),
        (
            dict(last_loss=dict(type='pose_backbones.HardKeypointsMSELoss', topk=0)),
            'topk is 0: expected',
        ),
        (dict(out_channels=5), 'last_loss has topk=8: expected at most 5'),
        (
            dict(out_shape=(24, 16)),
            r'out_shape is \(24, 16\): expected \(16, 24\), height and width',
        ),
    ],
)
def test_invalid_head_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_head(**arguments)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(head_stages=3), r"head.stages is 3: expected 2, the backbone's"),
        (dict(unit_channels=8), r'head.unit_channels is 8: expected 16'),
        (
            dict(out_indices=(3, 7)),
            r'backbone.out_indices is \(3, 7\): expected '
            'None, since the head needs the maps of all 8 units',
        ),
    ],
)
def test_mismatched_backbone_and_head_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimator(2, **arguments)


def test_mismatched_maps_and_targets_raise():
    model = estimator(2)
    feats = model.extract_feat(image())
    with pytest.raises(
        ValueError, match='got 7 maps of 16 channels: expected 8 of 16, 4 for each of its 2 stages'
    ):
        model.head(feats[1:])
    few = sample()
    few.gt_fields = PixelData(heatmaps=torch.zeros(3 * 17, 16, 24))
    with pytest.raises(
        ValueError,
        match='targets are 51 maps: expected 17 keypoints for each of at least 5 kernels',
    ):
        model.head.loss(feats, [few])
    with pytest.raises(ValueError, match='topk is 8: expected at most 5'):
        HardKeypointsMSELoss()(*torch.zeros(2, 1, 5, 4, 4), torch.ones(1, 5))
