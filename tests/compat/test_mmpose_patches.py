"""Patches of errors in MMPose's models, and of MMEngine's search for base configs."""

import numpy as np
import pytest
import scipy.special
import torch
from mmpose.models.heads.heatmap_heads import heatmap_head
from mmpose.models.heads.transformer_heads.edpose_head import EDPoseOutHead
from mmpose.registry import MODELS

from pose_backbones.configs import load_config
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import get_config


@pytest.fixture(autouse=True, scope='module')
def _models():
    MODELS.import_from_location()


def test_accuracy_of_heatmaps_with_offsets():
    """Of three maps of a keypoint, the first one is the heatmap."""
    maps = np.random.default_rng(0).uniform(0, 1, (1, 6, 32, 32))
    other = maps.copy()
    other[:, [1, 2, 4, 5]] = 0
    other[:, 3] = np.roll(other[:, 3], 16, axis=(1, 2))
    mask = np.ones((1, 2), bool)
    assert heatmap_head.pose_pck_accuracy(maps, other, mask)[1] == 0.5
    assert heatmap_head.pose_pck_accuracy(maps[:, :2], maps[:, :2], mask)[1] == 1


@pytest.mark.parametrize(('scale', 'weight'), [(1.0, 1.0), (1.0, 0.0), (300.0, 1.0)])
def test_gradients_of_the_loss_of_dsnt(scale, weight):
    """They are finite for keypoints that are not labelled, and for cells that are zero."""
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn((2, 3, 16), generator=generator)).requires_grad_()
    truth = (4 * torch.randn((2, 3, 16), generator=generator)).softmax(-1)
    predicted = logits.softmax(-1)
    loss = MODELS.build(dict(type='JSDiscretLoss'))(
        predicted.reshape(2, 3, 4, 4), truth.reshape(2, 3, 4, 4), torch.full((2, 3), weight)
    )
    loss.backward()
    p, q = predicted.detach().double().numpy(), truth.double().numpy()
    mean = (p + q) / 2
    expected = weight * (scipy.special.rel_entr(p, mean) + scipy.special.rel_entr(q, mean)) / 2
    assert loss.item() == pytest.approx(expected.sum() / 2, rel=1e-5)
    # dJS/dp = log(p / mean) / 2, and dp/dlogits is that of the softmax
    slope = np.log(np.divide(p, mean, out=np.ones_like(p), where=p > 0)) / 2
    gradient = weight * p * (slope - (p * slope).sum(-1, keepdims=True)) / 2
    np.testing.assert_allclose(logits.grad, gradient, rtol=1e-4, atol=1e-6)


def test_edpose_starts_without_offsets():
    """The last layers of the branches are zero, as MMPose means to set them."""
    head = EDPoseOutHead(
        num_classes=2,
        num_keypoints=17,
        num_queries=4,
        num_group=5,
        num_box_decoder_layers=1,
        embed_dims=8,
        cls_no_bias=False,
        dec_pred_class_embed_share=True,
        dec_pred_bbox_embed_share=False,
        dec_pred_pose_embed_share=False,
    )
    head.init_weights()
    for branch in (*head.bbox_embed, *head.pose_embed):
        first, *_, last = branch.layers
        assert not last.weight.any()
        assert not last.bias.any()
        assert first.weight.any()


def test_base_config_in_mim(tmp_path):
    """`mmpose.configs` is `mmpose/.mim/configs`, for bases of configs in pure Python only."""
    cfg = get_config('edpose_res50_8xb2-50e_coco-800x1333')
    assert cfg.default_hooks.logger.interval == 50
    path = tmp_path / 'config.py'
    path.write_text(
        'from mmengine.config import read_base\n'
        'with read_base():\n'
        '    from mmpose.configs._base_.missing import *\n'
    )
    with pytest.raises(ConfigError, match='config unreadable: .*configs/_base_/missing.py not f'):
        load_config(str(path))
