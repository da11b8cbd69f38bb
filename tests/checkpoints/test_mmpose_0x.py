"""Checkpoints of MMPose 0.x load into the models of today and give the outputs of MMPose 0.x.

The names, shapes and outputs in `tests/golden/mmpose_0x` are those of the definitions of MMPose
0.29 and, for ViTPose, of the ViTPose repository, which is based on MMPose 0.24. The models have few
channels and blocks.
"""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.utils import register_all_modules

from pose_backbones import PoseInferencer, get_config
from pose_backbones.checkpoints.loading import load_weights
from pose_backbones.errors import CheckpointError
from tests.helpers import golden_values
from tests.helpers.pose_cases import make_image


def small_hrnet(cfg: Config, in_channels: int) -> None:
    """Change an HRNet to one block in each branch, and few channels."""
    for number, channels in {1: (8,), 2: (4, 8), 3: (4, 8, 8), 4: (4, 8, 8, 8)}.items():
        cfg.model.backbone.extra[f'stage{number}'].update(
            num_modules=1, num_blocks=(1,) * number, num_channels=channels
        )
    cfg.model.head.in_channels = in_channels


def hrnet(cfg: Config) -> None:
    small_hrnet(cfg, 4)


def resnet(cfg: Config) -> None:
    cfg.model.backbone.depth = 18
    cfg.model.head.update(in_channels=512, deconv_out_channels=(8, 8, 8))


def resnet_convs(cfg: Config) -> None:
    resnet(cfg)
    cfg.model.head.update(conv_out_channels=(8, 8), conv_kernel_sizes=(3, 3))


def litehrnet(cfg: Config) -> None:
    cfg.model.backbone.extra.stages_spec.num_modules = (1, 1, 1)


def unchanged(cfg: Config) -> None:
    pass


def dekr(cfg: Config) -> None:
    small_hrnet(cfg, 28)
    cfg.model.head.update(num_heatmap_filters=8, num_displacement_filters_per_keypoint=3)
    cfg.model.head.rescore_cfg.pop('init_cfg')


def vitpose(cfg: Config) -> None:
    cfg.model.backbone.update(
        arch=dict(embed_dims=48, num_layers=2, num_heads=4, feedforward_channels=192),
        img_size=(64, 64),
    )
    cfg.model.head.in_channels = 48
    if cfg.model.head.deconv_out_channels:
        cfg.model.head.deconv_out_channels = (8, 8)


#: record → name of the config, and a function that makes the model smaller
CASES = {
    'hrnet': ('td-hm_hrnet-w32_8xb64-210e_coco-256x192', hrnet),
    'resnet': ('td-hm_res50_8xb64-210e_coco-256x192', resnet),
    'resnet_convs': ('td-hm_res50_8xb64-210e_coco-256x192', resnet_convs),
    'litehrnet': ('td-hm_litehrnet-18_8xb64-210e_coco-256x192', litehrnet),
    'vipnas_resnet': ('td-hm_vipnas-res50_8xb64-210e_coco-256x192', unchanged),
    'vipnas_mbv3': ('td-hm_vipnas-mbv3_8xb64-210e_coco-256x192', unchanged),
    'scnet': ('td-hm_scnet50_8xb64-210e_coco-256x192', unchanged),
    'dekr': ('dekr_hrnet-w32_8xb10-140e_coco-512x512', dekr),
    'ae': ('ae_hrnet-w32_8xb24-300e_coco-512x512', hrnet),
    'vitpose': ('td-hm_ViTPose-base_8xb64-210e_coco-256x192', vitpose),
    'vitpose_simple': ('td-hm_ViTPose-base-simple_8xb64-210e_coco-256x192', vitpose),
}


@pytest.fixture(autouse=True)
def scope():
    register_all_modules()
    init_default_scope('mmpose')


def make_config(case: str) -> Config:
    name, change = CASES[case]
    cfg = get_config(name)
    cfg.model.backbone.init_cfg = None
    change(cfg)
    return cfg


@pytest.mark.parametrize('case', CASES)
def test_outputs_are_those_of_mmpose_0x(case):
    record = golden_values.load(f'mmpose_0x/{case}')
    model = MODELS.build(make_config(case).model).eval()
    load_weights(model, golden_values.weights(record), 'old.pth')
    with torch.no_grad():
        outputs = model(golden_values.image(record), None, mode='tensor')
    if case == 'dekr':
        heatmaps, displacements = outputs
        # In 0.x, the heatmap of the center is the first one, and the vectors point to the center.
        outputs = torch.cat([heatmaps[:, -1:], heatmaps[:, :-1]], 1), -displacements
    elif case == 'ae':
        outputs = [torch.cat(outputs, 1)]
    golden_values.assert_reproduced([outputs] if torch.is_tensor(outputs) else outputs, record)


def test_rescore_net_of_dekr_keeps_its_weights():
    weights = golden_values.weights(golden_values.load('mmpose_0x/dekr'))
    model = MODELS.build(make_config('dekr').model)
    load_weights(model, dict(weights), 'old.pth')
    for name, value in model.head.rescore_net.state_dict().items():
        torch.testing.assert_close(value, weights[f'rescore_net.{name}'], rtol=0, atol=0)


def test_other_architecture_raises():
    weights = golden_values.weights(golden_values.load('mmpose_0x/resnet'))
    model = MODELS.build(make_config('resnet_convs').model)
    with pytest.raises(CheckpointError, match='missing keys: head.conv_layers.0.weight'):
        load_weights(model, weights, 'old.pth')


def test_inferencer_and_current_checkpoint_agree(tmp_path):
    """The file is read from disk, and again after saving it with the names of today."""
    cfg = make_config('resnet')
    config = str(tmp_path / 'config.py')
    cfg.dump(config)
    old, new = str(tmp_path / 'old.pth'), str(tmp_path / 'new.pth')
    weights = golden_values.weights(golden_values.load('mmpose_0x/resnet'))
    torch.save(dict(state_dict=weights, meta=dict(mmpose_version='0.29.0')), old)
    image = str(tmp_path / 'image.png')
    assert cv2.imwrite(image, make_image(1))
    (expected,) = PoseInferencer(config, old, device='cpu')(image)
    model = MODELS.build(cfg.model)
    load_weights(model, weights, old)
    torch.save(dict(state_dict=model.state_dict()), new)
    (result,) = PoseInferencer(config, new, device='cpu')(image)
    torch.testing.assert_close(expected.keypoints, result.keypoints, rtol=0, atol=0)
    torch.testing.assert_close(expected.scores, result.scores, rtol=0, atol=0)


#: `test_cfg` of MMPose 0.x → the codec of today, see docs/mmpose_0x.md
CODECS = {
    'default': dict(type='MSRAHeatmap', sigma=2),
    'unbiased': dict(type='MSRAHeatmap', sigma=2, unbiased=True, blur_kernel_size=11),
    'unbiased_17': dict(type='MSRAHeatmap', sigma=3, unbiased=True, blur_kernel_size=17),
    'megvii': dict(type='MegviiHeatmap', kernel_size=11),
    'udp': dict(type='UDPHeatmap', sigma=2, blur_kernel_size=11),
    'combined': dict(type='UDPHeatmap', heatmap_type='combined', blur_kernel_size=17),
}


def make_heatmaps() -> tuple[np.ndarray, np.ndarray]:
    """Return heatmaps (2, 5, 64, 48) and those of UDP's combined type (2, 15, 64, 48)."""
    rng = np.random.RandomState(5)
    centers = rng.uniform((6, 6), (42, 58), (2, 5, 2)).astype(np.float32)
    y, x = np.mgrid[:64, :48]
    squares = [(grid - centers[..., i, None, None]) ** 2 for i, grid in enumerate((x, y))]
    peaks = np.exp(-sum(squares) / 8) * rng.uniform(0.5, 0.9, (2, 5, 1, 1))
    heatmaps = (peaks + rng.uniform(0, 0.02, peaks.shape)).astype(np.float32)
    # Constant, since MMPose 1.x does not smooth the offsets.
    offsets = [
        np.broadcast_to(rng.uniform(-0.5, 0.5, (2, 5, 1, 1)), heatmaps.shape) for _ in range(2)
    ]
    combined = np.stack([heatmaps, *offsets], 2).reshape(2, 15, 64, 48)
    return heatmaps, combined.astype(np.float32)


@pytest.mark.parametrize('case', CODECS)
def test_decoded_keypoints_are_those_of_mmpose_0x(case):
    """The records are of `keypoints_from_heatmaps` with these centers and scales of boxes."""
    record = golden_values.load('mmpose_0x/decode')
    codec = KEYPOINT_CODECS.build(dict(CODECS[case], input_size=(192, 256), heatmap_size=(48, 64)))
    center = np.array([[120, 90], [200.5, 150.25]], np.float32)
    scale = np.array([[150, 200], [240, 320]], np.float32)
    for index, heatmaps in enumerate(make_heatmaps()[case == 'combined']):
        keypoints, scores = codec.decode(heatmaps)
        keypoints = keypoints[0] / (192, 256) * scale[index] + center[index] - 0.5 * scale[index]
        expected = np.reshape(record[f'kpt_{case}'][index], (5, 2))
        np.testing.assert_allclose(keypoints, expected, atol=1e-3)
        np.testing.assert_allclose(scores[0], record[f'score_{case}'][index], atol=1e-6)
