"""The computation from crops to keypoints against the estimators of MMPose."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.apis import init_model
from mmpose.structures import PoseDataSample

from pose_backbones.deploy.crop_model import CropModel
from tests.helpers.pose_cases import TOP_DOWN, use_statistics_of_next_batch
from tests.helpers.random_weights import randomize

SIZE = (48, 64)
CODECS = {
    'MSRAHeatmap': dict(type='MSRAHeatmap', input_size=SIZE, heatmap_size=(12, 16), sigma=1.0),
    'UDPHeatmap': dict(type='UDPHeatmap', input_size=SIZE, heatmap_size=(12, 16), sigma=1.0),
    'SimCCLabel': dict(type='SimCCLabel', input_size=SIZE, sigma=2.0, simcc_split_ratio=2.0),
    'RegressionLabel': dict(type='RegressionLabel', input_size=SIZE),
    'IntegralRegressionLabel': dict(
        type='IntegralRegressionLabel', input_size=SIZE, heatmap_size=(12, 16), sigma=1.0
    ),
}
HEADS = {
    'heatmap': (CODECS['MSRAHeatmap'], None),
    'udp': (CODECS['UDPHeatmap'], None),
    'simcc': (
        CODECS['SimCCLabel'],
        dict(
            type='SimCCHead',
            out_channels=17,
            input_size=SIZE,
            in_channels=8,
            in_featuremap_size=(2, 2),
            simcc_split_ratio=2.0,
            deconv_out_channels=(8,),
            deconv_kernel_sizes=(4,),
            deconv_num_groups=(1,),
            loss=dict(type='KLDiscretLoss', use_target_weight=True),
        ),
    ),
    'rtmpose': (
        CODECS['SimCCLabel'],
        dict(
            type='RTMCCHead',
            in_channels=8,
            out_channels=17,
            input_size=SIZE,
            in_featuremap_size=(2, 2),
            simcc_split_ratio=2.0,
            final_layer_kernel_size=1,
            gau_cfg=dict(
                hidden_dims=16,
                s=8,
                expansion_factor=2,
                dropout_rate=0.0,
                drop_path=0.0,
                act_fn='SiLU',
                use_rel_bias=False,
                pos_enc=False,
            ),
            loss=dict(type='KLDiscretLoss', use_target_weight=True),
        ),
    ),
    'regression': (
        CODECS['RegressionLabel'],
        dict(
            type='RegressionHead',
            in_channels=8,
            num_joints=17,
            loss=dict(type='SmoothL1Loss', use_target_weight=True),
        ),
    ),
    'rle': (
        CODECS['RegressionLabel'],
        dict(
            type='RLEHead',
            in_channels=8,
            num_joints=17,
            loss=dict(type='RLELoss', use_target_weight=True),
        ),
    ),
    'integral': (
        CODECS['IntegralRegressionLabel'],
        dict(
            type='IntegralRegressionHead',
            in_channels=8,
            in_featuremap_size=(2, 2),
            num_joints=17,
            deconv_out_channels=(8, 8, 8),
            deconv_kernel_sizes=(4, 4, 4),
            loss=dict(type='SmoothL1Loss', use_target_weight=True),
        ),
    ),
}


def build(name: str, flip_test: bool, **test_cfg):
    """Return an estimator with random weights and a head."""
    cfg = Config.fromstring(TOP_DOWN, '.py')
    codec, head = HEADS[name]
    if head is not None:
        cfg.model.head = head
    if name in ('regression', 'rle'):
        cfg.model.neck = dict(type='GlobalAveragePooling')
    cfg.model.head.decoder = codec
    cfg.model.test_cfg = dict(
        flip_test=flip_test, shift_heatmap=True, shift_coords=True, **test_cfg
    )
    model = init_model(cfg, device='cpu')
    use_statistics_of_next_batch(randomize(model))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        model.extract_feat(torch.randn(4, 3, 64, 48, generator=generator))
    return model.eval()


def random_crops(count: int) -> torch.Tensor:
    """Return crops (N, H, W, 3), uint8."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 64, 48, 3), dtype=torch.uint8, generator=generator)


def predict(model, crops: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints in pixels of the crop, and scores, of MMPose's `test_step`."""
    metainfo = dict(
        input_size=SIZE,
        input_center=np.array(SIZE) / 2,
        input_scale=np.array(SIZE, float),
        flip_indices=model.dataset_meta['flip_indices'],
    )
    samples = []
    for _ in crops:
        instances = InstanceData(bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1))
        samples.append(PoseDataSample(metainfo=metainfo, gt_instances=instances))
    with torch.no_grad():
        results = model.test_step(
            dict(inputs=list(crops.permute(0, 3, 1, 2)), data_samples=samples)
        )
    instances = [result.pred_instances for result in results]
    return (
        np.concatenate([instance.keypoints for instance in instances]),
        np.concatenate([instance.keypoint_scores for instance in instances]),
    )


@pytest.mark.parametrize('flip_test', [False, True])
@pytest.mark.parametrize('name', HEADS)
def test_keypoints_equal_mmpose(name: str, flip_test: bool) -> None:
    model = build(name, flip_test)
    crops = random_crops(3)
    expected, expected_scores = predict(model, crops)
    with torch.no_grad():
        keypoints, scores = CropModel(model)(crops)
    assert np.ptp(expected, axis=(0, 1)).min() > 0.3
    difference = np.abs(keypoints.numpy() - expected).max(-1)
    # In maps without a clear peak, the Newton step of UDP magnifies rounding errors.
    assert np.quantile(difference, 0.9 if name == 'udp' else 1) < 1e-3
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-4, atol=1e-5)


def test_flip_test_of_the_argument() -> None:
    crops = random_crops(2)
    with torch.no_grad():
        expected = CropModel(build('heatmap', True))(crops)
        results = CropModel(build('heatmap', False), flip_test=True)(crops)
        without = CropModel(build('heatmap', True), flip_test=False)(crops)
    assert torch.equal(results[1], expected[1])
    assert not torch.equal(without[1], expected[1])


def test_output_keypoint_indices() -> None:
    indices = [3, 0, 16]
    model = build('heatmap', False, output_keypoint_indices=indices)
    crops = random_crops(2)
    expected, _ = predict(model, crops)
    with torch.no_grad():
        keypoints, scores = CropModel(model)(crops)
    assert keypoints.shape == (2, 3, 2)
    assert scores.shape == (2, 3)
    np.testing.assert_allclose(keypoints, expected, atol=1e-3)


def test_estimator_is_not_changed() -> None:
    model = build('heatmap', True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    methods = dict(vars(model.head))
    crops = random_crops(2)
    with torch.no_grad():
        CropModel(model)(crops)
    assert vars(model.head) == methods
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
