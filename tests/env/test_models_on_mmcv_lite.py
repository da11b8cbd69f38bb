"""Tests of models of MMPose, MMDetection and MMSegmentation that use mmcv's operators."""

import re

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData

from pose_backbones_env import finder

SIZE = 64


@pytest.fixture(scope='module', autouse=True)
def _modules():
    from mmdet.utils import register_all_modules
    from mmseg.utils import register_all_modules as register_mmseg

    register_all_modules(init_default_scope=False)
    register_mmseg(init_default_scope=False)


#: of MogaNet, for all models but one
SMALL = dict(embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), ffn_ratios=(2, 2, 2, 2))


def detector_sample():
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    size = (SIZE, SIZE)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=size,
            ori_shape=size,
            pad_shape=size,
            scale_factor=(1.0, 1.0),
            batch_input_shape=size,
        )
    )
    masks = np.zeros((2, *size), np.uint8)
    masks[0, 8:56, 8:40] = masks[1, 20:60, 30:60] = 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 40, 56], [30, 20, 60, 60]]),
        labels=torch.tensor([0, 1]),
        masks=BitmapMasks(masks, *size),
    )
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    return sample


def train_step(model, losses):
    """Run the backward pass; return the names of parameters without a gradient."""
    values = [v for name, value in losses.items() if 'loss' in name for v in _flat(value)]
    loss = sum(value.mean() for value in values)
    assert loss.isfinite()
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(g.isfinite().all() for g in gradients.values() if g is not None)
    return {name for name, g in gradients.items() if g is None or not g.any()}


def _flat(value):
    return value if isinstance(value, list | tuple) else [value]


def rcnn(model):
    """Reduce a two-stage detector: fewer channels and regions."""
    model.neck.update(out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=30)
    model.test_cfg.rpn.update(nms_pre=50, max_per_img=30)
    model.test_cfg.rcnn.score_thr = 0.0
    heads = model.roi_head.bbox_head
    for head in heads if isinstance(heads, list) else [heads]:
        head.update(in_channels=16, fc_out_channels=16, num_classes=3)
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.get('mask_roi_extractor')):
        if extractor:
            extractor.out_channels = 16
    if 'mask_head' in model.roi_head:
        model.roi_head.mask_head.update(in_channels=16, conv_out_channels=16, num_classes=3)


def deform_pooling(model):
    rcnn(model)
    model.roi_head.bbox_roi_extractor.roi_layer.update(output_channels=16, deform_fc_channels=8)


def detr(model):
    model.backbone.out_indices = (1, 2, 3)
    model.neck.update(out_channels=32, norm_cfg=dict(type='GN', num_groups=4))
    model.num_queries = 10
    for part in (model.encoder, model.decoder):
        part.num_layers = 1
        for name in ('self_attn_cfg', 'cross_attn_cfg'):
            if name in part.layer_cfg:
                part.layer_cfg[name].update(embed_dims=32, num_heads=4)
        part.layer_cfg.ffn_cfg.update(embed_dims=32, feedforward_channels=32)
    model.positional_encoding.num_feats = 16
    model.bbox_head.update(embed_dims=32, num_classes=3)
    model.test_cfg.max_per_img = 10


def one_stage(model):
    necks = model.neck if isinstance(model.neck, list) else [model.neck]
    necks[0].update(out_channels=16)
    for neck in necks[1:]:
        neck.update(in_channels=16, out_channels=16, num_blocks=1)
    head = model.bbox_head
    head.update(in_channels=16, feat_channels=16, num_classes=3)
    model.test_cfg.update(score_thr=0.0, nms_pre=50)


#: config, changes, part of the names of parameters that may have no gradient: those of levels and
#: regions without objects, and those before a layer whose weights start at zero
DETECTORS = {
    'Faster R-CNN': ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', rcnn, 'fpn_convs'),
    'Mask R-CNN': ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', rcnn, 'fpn_convs'),
    'Cascade R-CNN': ('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', rcnn, 'fpn_convs'),
    'Deformable DETR': (
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py', detr, 'level_embed|reg_branches'
    ),
    'Faster R-CNN, deformable RoI pooling': (
        'dcnv2/faster-rcnn_r50_fpn_mdpool_1x_coco.py', deform_pooling, 'fpn_convs|offset_fc|mask_fc'
    ),
    'ATSS, DyHead': ('dyhead/atss_r50_fpn_dyhead_1x_coco.py', one_stage, 'fpn_convs|scales'),
    'RetinaNet': ('retinanet/retinanet_r50_fpn_1x_coco.py', one_stage, 'fpn_convs'),
}  # fmt: skip


@pytest.mark.parametrize('name', DETECTORS)
def test_detector_trains_and_detects(name):
    from mmdet.registry import MODELS

    if name.endswith('pooling') and 'mmcv._ext' not in finder.active():
        pytest.skip('the full mmcv has deformable RoI pooling on a GPU only')
    path, change, without_gradient = DETECTORS[name]
    config = get_config(f'mmdet::{path}').model
    config.backbone = ConfigDict(
        type='pose_backbones.MogaNet',
        arch='x-tiny' if name == 'Faster R-CNN' else SMALL,
        out_indices=(0, 1, 2, 3),
    )
    change(config)
    necks = config.neck if isinstance(config.neck, list) else [config.neck]
    widths = (32, 64, 96, 192) if name == 'Faster R-CNN' else SMALL['embed_dims']
    necks[0].in_channels = [widths[index] for index in config.backbone.out_indices]
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        model = MODELS.build(config)
        model.init_weights()
        model.train()
        images, samples = torch.randn(2, 3, SIZE, SIZE), [detector_sample(), detector_sample()]
        missing = train_step(model, model.loss(images, samples))
        assert not [one for one in missing if not re.search(without_gradient, one)]
        model.eval()
        with torch.no_grad():
            results = model.predict(images, samples)
    for result in results:
        instances = result.pred_instances
        assert len(instances) > 0
        assert instances.bboxes.isfinite().all()
        assert instances.scores.isfinite().all()


def test_dekr_trains_and_detects():
    from mmpose.registry import KEYPOINT_CODECS, MODELS
    from mmpose.structures import PoseDataSample

    config = get_config(
        'mmpose::body_2d_keypoint/dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py'
    )
    model = config.model
    model.backbone.init_cfg = None
    for stage in model.backbone.extra.values():
        stage.update(num_modules=1, num_blocks=(1,) * stage.num_branches)
    model.head.decoder.update(input_size=(SIZE, SIZE), heatmap_size=(SIZE // 4, SIZE // 4))
    with DefaultScope.overwrite_default_scope('mmpose'):
        torch.manual_seed(0)
        codec = KEYPOINT_CODECS.build(model.head.decoder)
        model = MODELS.build(model)
        rng = np.random.default_rng(0)
        samples = []
        for _ in range(2):
            encoded = codec.encode(rng.uniform(8, 56, (2, 17, 2)), np.ones((2, 17)))
            sample = PoseDataSample(
                metainfo=dict(
                    input_size=(SIZE, SIZE),
                    input_center=np.array([32.0, 32.0]),
                    input_scale=np.array([64.0, 64.0]),
                    flip_indices=[0, *(i + (1 if i % 2 else -1) for i in range(1, 17))],
                )
            )
            fields = {name: torch.from_numpy(encoded[name]) for name in codec.field_mapping_table}
            sample.gt_fields = PixelData(**fields)
            samples.append(sample)
        images = torch.randn(2, 3, SIZE, SIZE)
        missing = train_step(model, model.loss(images, samples))
        # rescoring is not trained
        assert not [name for name in missing if not re.search('rescore_net', name)]
        assert sum(type(m).__name__ == 'DeformConv2d' for m in model.modules()) == 2
        model.eval()
        with torch.no_grad():
            model.head.heatmap_conv_layers[-1].bias.fill_(0.5)
            (result,) = model.predict(images[:1], samples[:1])
    assert len(result.pred_instances) > 0
    assert np.isfinite(result.pred_instances.keypoints).all()
    assert np.isfinite(result.pred_instances.keypoint_scores).all()


def test_psanet_trains_and_predicts():
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    config = ConfigDict(
        type='EncoderDecoder',
        backbone=dict(type='pose_backbones.MogaNet', arch=SMALL, out_indices=(0, 1, 2, 3)),
        decode_head=dict(
            type='PSAHead',
            in_channels=32,
            in_index=3,
            channels=8,
            num_classes=3,
            mask_size=(7, 7),
            shrink_factor=2,
            norm_cfg=dict(type='BN'),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.manual_seed(0)
        model = MODELS.build(config)
        sample = SegDataSample(metainfo=dict(img_shape=(128, 128), ori_shape=(128, 128)))
        sample.gt_sem_seg = PixelData(data=torch.randint(3, (1, 128, 128)))
        images = torch.randn(2, 3, 128, 128)
        assert not train_step(model, model.loss(images, [sample, sample]))
        model.eval()
        with torch.no_grad():
            results = model.predict(images, [sample, sample])
    assert all(result.seg_logits.data.isfinite().all() for result in results)
