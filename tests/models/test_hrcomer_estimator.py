"""Tests of `HRCoMerEstimator`: flip test, scales, padding and checkpoints."""

import copy

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData, PixelData
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from pose_backbones.checkpoints.loading import load_weights, read_checkpoint
from pose_backbones.errors import CheckpointError
from tests.helpers.hrcomer_cases import ARCH, DECODER, FLIP
from tests.helpers.pose_cases import use_statistics_of_next_batch
from tests.helpers.random_weights import randomize


def model(seed: int = 0, **kwargs):
    """Return a small estimator for 5 joints."""
    settings = dict(
        type='pose_backbones.HRCoMerEstimator',
        backbone=dict(type='pose_backbones.HRCoMer', arch=ARCH),
        head=dict(
            type='pose_backbones.HRCoMerHead',
            in_channels=ARCH['embed_dims'],
            num_keypoints=5,
            confidence_channels=4,
            heatmap_channels=4,
            joint_channels=2,
            refine_channels=2,
            decoder=DECODER,
            limbs=[[0, 1], [1, 2]],
        ),
    )
    net = randomize(MODELS.build({**settings, **copy.deepcopy(kwargs)}), seed)
    use_statistics_of_next_batch(net)
    with torch.no_grad():
        net.head(net.backbone(torch.cat([image(s) for s in range(20, 24)])))
    return net.eval()


def image(seed: int = 2, height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, height, width, generator=generator)


def data_sample(width: int = 96, height: int = 64, **meta) -> PoseDataSample:
    """Return the data sample of an image of twice the size, with its center at (100, 60)."""
    return PoseDataSample(
        metainfo=dict(
            input_size=(width, height),
            flip_indices=FLIP,
            id=1,
            img_id=1,
            input_center=np.array((100.0, 60.0)),
            input_scale=np.array((2.0 * width, 2.0 * height)),
            **meta,
        )
    )


def predict(net, inputs, *samples):
    with torch.no_grad():
        predictions = net.predict(inputs, list(samples or [data_sample()]))
    return [part.pred_instances for part in predictions]


def people_of(net, x, flip=None):
    """Return poses in pixels of the input, from all queries, and joint scores."""
    with torch.no_grad():
        if flip:
            x = torch.cat((x, x.flip(-1)))
        outputs = net.head(net.backbone(x), flip)
    outputs['joints'] = outputs['joints_refined']
    return net.head.decoder.decode([outputs])


@pytest.mark.parametrize('flip', [None, FLIP])
def test_predictions_are_in_pixels_of_the_image(flip):
    net = model(test_cfg=dict(flip_test=flip is not None))
    (predictions,) = predict(net, image())
    ((poses, scores),) = people_of(net, image(), flip)
    assert len(predictions) == len(poses) == 6
    expected = (poses.numpy() - (48, 32)) * 2 + (100, 60)
    np.testing.assert_allclose(predictions.keypoints, expected, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(predictions.keypoint_scores, scores, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(predictions.bbox_scores, scores.mean(1), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        predictions.bboxes,
        np.concatenate((expected.min(1), expected.max(1)), 1),
        rtol=1e-3,
        atol=1e-2,
    )


def test_flip_test_is_one_forward_pass(monkeypatch):
    net = model(test_cfg=dict(flip_test=True))
    sizes, forward = [], net.backbone.forward
    monkeypatch.setattr(net.backbone, 'forward', lambda x: sizes.append(len(x)) or forward(x))
    (flipped,) = predict(net, image())
    assert sizes == [2]
    net.test_cfg['flip_test'] = False
    (unflipped,) = predict(net, image())
    assert np.abs(flipped.keypoint_scores - unflipped.keypoint_scores).max() > 0.01


def test_person_at_several_scales():
    net = model()
    sample = data_sample(128, scale_factors=(1, 0.5, 1.5))
    images = [image(2, 64, 128), image(3, 32, 64), image(4, 96, 192)]
    (predictions,) = predict(net, images, sample)
    with torch.no_grad():
        outputs = [net.head(net.backbone(part)) for part in images]
    for part in outputs:
        part['joints'] = part['joints_refined']
    ((poses, scores),) = net.head.decoder.decode(outputs, (1, 0.5, 1.5))
    assert len(predictions) == len(poses) > 6
    np.testing.assert_allclose(
        predictions.keypoints, (poses.numpy() - (64, 32)) * 2 + (100, 60), rtol=1e-3, atol=1e-2
    )
    np.testing.assert_allclose(predictions.keypoint_scores, scores, rtol=1e-3, atol=1e-4)
    sample = data_sample(128, aug_scales=[0.5, 1.5])  # as in MMPose's BottomupResize
    (mmpose_predictions,) = predict(net, images, sample)
    np.testing.assert_array_equal(mmpose_predictions.keypoints, predictions.keypoints)


@pytest.mark.parametrize(
    ('factors', 'count', 'message'),
    [
        ((0.75, 1), 2, r'scale_factors is \(0.75, 1\): expected 1'),
        ((1, 0.75), 1, r'images of 1 scales: expected 2.*\(1, 0.75\)'),
        ((1,), 2, 'images of 2 scales: expected 1'),
    ],
)
def test_invalid_scales_raise(factors, count, message):
    with pytest.raises(ValueError, match=message):
        predict(model(), [image()] * count, data_sample(scale_factors=factors))


def test_image_size_need_not_be_a_multiple_of_32():
    """The maps are those of the padded image, cropped."""
    net = model(test_cfg=dict(output_heatmaps=True))
    x = image(height=52, width=72)
    sample = data_sample(72, 52)
    (predictions,) = predict(net, x, sample)
    assert sample.pred_fields.heatmaps.shape == (5, 13, 18)
    with torch.no_grad():
        full_maps = net.backbone(torch.nn.functional.pad(x, (0, 24, 0, 12)))
        outputs = net.head(
            [part[..., :h, :w] for part, h, w in zip(full_maps, (13, 7, 4, 2), (18, 9, 5, 3))]
        )
    outputs['joints'] = outputs['joints_refined']
    ((poses, _),) = net.head.decoder.decode([outputs])
    np.testing.assert_allclose(
        predictions.keypoints, (poses.numpy() - (36, 26)) * 2 + (100, 60), rtol=1e-3, atol=1e-2
    )


def test_heatmaps_are_cropped_to_the_image():
    net = model(test_cfg=dict(output_heatmaps=True))
    samples = data_sample(), data_sample(40, 26)
    predict(net, image().expand(2, -1, -1, -1), *samples)
    full_maps, small = (part.pred_fields.heatmaps for part in samples)
    assert full_maps.shape == (5, 16, 24)
    assert torch.equal(small, full_maps[:, :7, :10])


def test_no_person_is_predicted_in_batch_padding():
    net = model()
    with torch.no_grad():  # the outputs depend on the position of the query
        net.head.joints_head.reg_layer.weight.zero_()
        net.head.joints_head.reg_layer.bias.zero_()
        net.head.refine_head.reg_layer.weight.zero_()
        net.head.refine_head.reg_layer.bias.zero_()
    x = image().expand(2, -1, -1, -1)
    full_maps, small = predict(net, x, data_sample(), data_sample(40, 24))
    assert (full_maps.keypoints[..., 0] > 100 - 48 * 2 + 80).any()
    places = (small.keypoints - (100, 60)) / 2 + (20, 12)
    assert len(small) > 0
    assert (places[..., 0] < 40).all()
    assert (places[..., 1] < 24).all()


def test_image_without_people(tmp_path):
    net = model()
    net.head.decoder.score_threshold = 0.9999
    samples = [data_sample(ori_shape=(120, 200), raw_ann_info=[]) for _ in range(2)]
    predictions = predict(net, image().expand(2, -1, -1, -1), *samples)
    for part in predictions:
        assert part.keypoints.shape == (0, 5, 2)
        assert part.keypoint_scores.shape == (0, 5)
        assert part.bboxes.shape == (0, 4)
        assert part.bbox_scores.shape == (0,)
    metric = CocoMetric(
        format_only=True,
        outfile_prefix=str(tmp_path / 'people'),
        score_mode='bbox',
        nms_mode='none',
    )
    metric.dataset_meta = dict(dataset_name='coco', num_keypoints=5, sigmas=np.ones(5))
    for sample in samples:
        sample.gt_instances = InstanceData()
    metric.process({}, [sample.to_dict() for sample in samples])
    assert [len(pred['keypoints']) for pred, _ in metric.results] == [0, 0]


def train_sample(people: int = 2) -> PoseDataSample:
    sample = data_sample()
    joints = torch.zeros(6, 5, 3)
    joints[:people] = torch.tensor((9.0, 7, 1))
    joints[:people, :, 0] += torch.arange(5.0)
    areas = torch.zeros(6)
    areas[:people] = 40
    sample.gt_instance_labels = InstanceData(
        target_joints=joints, target_areas=areas, target_sizes=areas.sqrt()
    )
    heatmaps = torch.zeros(5, 16, 24)
    heatmaps[:, 7, 9] = 1.0 * (people > 0)
    mask = torch.ones(1, 16, 24, dtype=torch.bool)
    mask[:, 12:] = False
    sample.gt_fields = PixelData(heatmaps=heatmaps, heatmap_mask=mask)
    return sample


def test_training_reduces_losses():
    torch.manual_seed(0)
    net = model().train()
    x = torch.cat((image(), image(5)))
    samples = [train_sample(), train_sample(0)]
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    totals = []
    for _ in range(12):
        losses = net.loss(x, samples)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert np.isfinite(totals).all()
    assert totals[-1] < 0.5 * totals[0]


def test_heatmap_mask_excludes_unlabelled_pixels():
    net = model()
    sample = train_sample(0)
    losses = net.loss(image(), [sample])
    sample.gt_fields.heatmap_mask[:] = True
    everywhere = net.loss(image(), [sample])
    fields = PixelData(heatmaps=sample.gt_fields.heatmaps)
    sample.gt_fields = fields
    without = net.loss(image(), [sample])
    assert everywhere['loss_heatmap'] > 1.1 * losses['loss_heatmap']
    assert everywhere['loss_confidence'] != losses['loss_confidence']
    for name, value in everywhere.items():
        torch.testing.assert_close(without[name], value)
    assert losses['loss_joint'] == losses['loss_oks'] == 0


def test_finetune_flip():
    net = model(finetune_flip=True).train()
    assert net.training
    before = copy.deepcopy(net.state_dict())
    losses = net.loss(image(), [train_sample()])
    sum(losses.values()).backward()
    with torch.no_grad():
        for value in net.parameters():
            if value.requires_grad:
                value -= 0.01 * value.grad.sign()
    changed = {
        name for name, value in net.state_dict().items() if not torch.equal(value, before[name])
    }
    assert all(name.startswith(('head.refine_head', 'head.heatmaps_head')) for name in changed)
    assert not any(
        '.bn' in name or '.norm.' in name or name.endswith('trans_block.1.weight')
        for name in changed
    )
    assert any('refine_head.reg_layer' in name for name in changed)
    with torch.no_grad():
        maps = net.backbone(torch.cat((image(), image().flip(-1))))
        sample = train_sample()
        expected = net.head.loss(maps, [sample], dict(flip=True))
        unflipped_losses = net.head.loss(net.backbone(image()), [sample])
    losses = net.loss(image(), [sample])
    torch.testing.assert_close(losses['loss_oks'], expected['loss_oks'])
    torch.testing.assert_close(losses['loss_heatmap'], expected['loss_heatmap'])
    assert losses['loss_heatmap'] != unflipped_losses['loss_heatmap']


def original_names(net) -> dict[str, torch.Tensor]:
    """Return the checkpoint that the trainer of the original would save."""
    weights = {}
    for name, value in net.state_dict().items():
        name = name.removeprefix('head.')
        if name.startswith(('confidences', 'heatmaps')):
            name = name.replace('.bn', '.norm')
        weights[name] = value
    weights['refine_head.filter_block.0.regular_matrix'] = torch.ones(3, 9)
    return {'model': weights, 'optimizer': {}, 'meta': None}


@pytest.mark.parametrize('loader', ['torch', 'mmengine', 'pose_backbones', 'saved'])
def test_original_checkpoints_load_with_every_loader(loader, tmp_path):
    source, net, path = model(seed=1), model(), str(tmp_path / 'model.pth')
    content = {'state_dict': source.state_dict()} if loader == 'saved' else original_names(source)
    torch.save(content, path)
    if loader == 'torch':
        net.load_state_dict(content, strict=True)
    elif loader == 'pose_backbones':
        load_weights(net, read_checkpoint(path)['model'], path)
    else:
        load_checkpoint(net, path, strict=True)
    (predictions,) = predict(net, image())
    (expected,) = predict(source, image())
    np.testing.assert_array_equal(predictions.keypoints, expected.keypoints)
    np.testing.assert_array_equal(predictions.keypoint_scores, expected.keypoint_scores)


def test_checkpoint_of_another_model_raises(tmp_path):
    content = original_names(model())
    name = 'backbone.hr_adapter.stage1_trans.0.weight'
    content['model'][name] = torch.ones(3, 3, 1, 1)
    torch.save(content, tmp_path / 'model.pth')
    with pytest.raises(
        CheckpointError, match='not a checkpoint of this model: 821 of 822 .*stage1_trans'
    ):
        load_checkpoint(model(), str(tmp_path / 'model.pth'))


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        (
            dict(test_cfg=dict(multiscale=True)),
            ValueError,
            'test_cfg has multiscale: expected flip_test',
        ),
        (dict(finetune_flip='yes'), TypeError, "finetune_flip is 'yes'"),
        (
            dict(
                backbone=dict(
                    type='pose_backbones.HRCoMer', arch=dict(ARCH, embed_dims=(8, 12, 16, 32))
                )
            ),
            ValueError,
            r'in_channels is \(8, 12, 16, 24\): expected \(8, 12, 16, 32\)',
        ),
    ],
)
def test_invalid_arguments_raise(settings, error, message):
    with pytest.raises(error, match=message):
        model(**settings)


def test_prediction_without_codec_raises():
    net = model()
    net.head.decoder = None
    with pytest.raises(ValueError, match='decoder is None.*MultiScaleJoints'):
        predict(net, image())
