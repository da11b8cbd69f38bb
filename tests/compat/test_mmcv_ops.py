"""Tests of the replacement of mmcv's compiled operators."""

import importlib
import sys

import mmcv
import mmcv.ops
import numpy as np
import pytest
import torch

from pose_backbones_env import finder

lite_only = pytest.mark.skipif(
    'mmcv._ext' not in finder.active(),
    reason='full mmcv is installed, so its own operators are in use',
)


def reference_nms(boxes, scores, threshold, offset):
    order, kept = list(np.argsort(-scores)), []
    while order:
        best = order.pop(0)
        kept.append(best)
        rest = []
        for other in order:
            low = np.maximum(boxes[best, :2], boxes[other, :2])
            high = np.minimum(boxes[best, 2:], boxes[other, 2:])
            inter = np.prod(np.maximum(high - low + offset, 0))
            areas = [np.prod(boxes[i, 2:] - boxes[i, :2] + offset) for i in (best, other)]
            if inter / (sum(areas) - inter) <= threshold:
                rest.append(other)
        order = rest
    return kept


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_matches_reference(offset):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (80, 2))
    boxes = np.hstack([corner, corner + rng.uniform(5, 40, (80, 2))])
    scores = rng.permutation(80) / 80
    _, kept = mmcv.ops.nms(boxes.astype(np.float32), scores.astype(np.float32), 0.4, offset=offset)
    assert list(kept) == reference_nms(boxes, scores, 0.4, offset)


@lite_only
def test_missing_operator_raises_when_called():
    features, rois = torch.zeros(1, 4, 8, 8), torch.zeros(1, 5)
    with pytest.raises(
        sys.modules['mmcv._ext'].MissingOperatorError,
        match="'roi_align_forward' requires .* pip uninstall mmcv-lite",
    ):
        mmcv.ops.roi_align(features, rois, (2, 2))


@lite_only
def test_replacement_is_not_reported_as_compiled():
    from mmcv.utils import ext_loader

    assert not ext_loader.check_ops_exist()
    with pytest.raises(AttributeError):
        sys.modules['mmcv._ext'].__wrapped__  # noqa: B018


def test_compiled_extension_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / '_ext.py').write_text('compiled = True\n')
    monkeypatch.setattr(mmcv, '__path__', [*mmcv.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    assert importlib.import_module('mmcv._ext').compiled
    assert 'mmcv._ext' not in finder.active()


def test_rtmdet_runs_with_replacement():
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmengine.hub import get_config
    from mmengine.registry import init_default_scope

    config = get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py')
    config.model.backbone.init_cfg = None
    config.model.test_cfg.score_thr = 0.0
    init_default_scope('mmdet')
    try:
        torch.manual_seed(0)
        model = MODELS.build(config.model).eval()
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(64, 64),
                ori_shape=(64, 64),
                scale_factor=(1, 1),
                batch_input_shape=(64, 64),
            )
        )
        with torch.no_grad():
            (result,) = model.predict(torch.randn(1, 3, 64, 64), [sample])
    finally:
        init_default_scope('mmpose')
    instances = result.pred_instances
    assert 0 < len(instances) <= config.model.test_cfg.max_per_img
    assert (instances.scores[:-1] >= instances.scores[1:]).all()
    assert torch.isfinite(instances.bboxes).all()
