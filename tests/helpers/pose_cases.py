"""Tiny models with fixed random weights, and random images."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmpose.utils import register_all_modules
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.helpers.random_weights import randomize

#: config of a top-down model with inputs of 64x48 pixels
TOP_DOWN = """
default_scope = 'mmpose'
dataset_type, data_mode = 'CocoDataset', 'topdown'
visualizer = dict(type='PoseLocalVisualizer', name='visualizer')
codec = dict(
    type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=1.)
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='pose_backbones.MogaNet',
        arch=dict(embed_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1),
                  ffn_ratios=(2, 2, 2, 2))),
    head=dict(
        type='HeatmapHead', in_channels=8, out_channels=17,
        deconv_out_channels=(8, 8, 8), deconv_kernel_sizes=(4, 4, 4),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=codec),
    test_cfg=dict(flip_test=False, flip_mode='heatmap', shift_heatmap=True))
test_dataloader = dict(dataset=dict(
    type=dataset_type, data_mode=data_mode,
    pipeline=[
        dict(type='LoadImage'),
        dict(type='GetBBoxCenterScale'),
        dict(type='TopdownAffine', input_size=(48, 64)),
        dict(type='PackPoseInputs')]))
train_dataloader = test_dataloader
"""

#: config of a bottom-up model, whose input sizes are multiples of 32 of at least 64
BOTTOM_UP = """
default_scope = 'mmpose'
names = ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear')
metainfo = dict(
    dataset_name='five',
    keypoint_info={k: dict(
        name=name, id=k, color=[0, 0, 0], type='upper',
        swap=(name.replace('left', 'right') if 'left' in name else
              name.replace('right', 'left')) if '_' in name else '')
        for k, name in enumerate(names)},
    skeleton_info={0: dict(link=('nose', 'left_eye'), id=0, color=[0, 0, 0])},
    joint_weights=[1.] * 5, sigmas=[.1, .1, .05, .2, .2])
model = dict(
    type='pose_backbones.HRCoMerEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='pose_backbones.HRCoMer',
        arch=dict(
            base_net=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 3, 2),
                          use_grn=True),
            embed_dims=(8, 12, 16, 24), stage1_channels=8,
            num_modules=(1, 1, 2, 1), depths=(1, 2, 2, 2))),
    head=dict(
        type='pose_backbones.HRCoMerHead', in_channels=(8, 12, 16, 24),
        num_keypoints=5, confidence_channels=4, heatmap_channels=4,
        joint_channels=2, refine_channels=2, limbs=[[0, 1], [1, 2]],
        decoder=dict(
            type='pose_backbones.MultiScaleJoints', input_size=(64, 64),
            heatmap_size=(16, 16), sigmas=metainfo['sigmas'],
            max_num_people=6, nms_num_close=3)),
    test_cfg=dict(flip_test=False))
test_dataloader = dict(dataset=dict(
    type='CocoDataset', data_mode='bottomup', metainfo=metainfo,
    pipeline=[
        dict(type='LoadImage'),
        dict(type='BottomupResize', input_size=(64, 64), size_factor=32,
             resize_mode='expand'),
        dict(type='PackPoseInputs', meta_keys=(
            'id', 'img_id', 'img_path', 'ori_shape', 'img_shape',
            'input_size', 'input_center', 'input_scale', 'flip_indices'))]))
train_dataloader = test_dataloader
"""


def write_config(folder: Path, text: str = TOP_DOWN) -> Path:
    path = folder / 'tiny.py'
    path.write_text(text)
    return path


def write_checkpoint(folder: Path, text: str = TOP_DOWN) -> Path:
    """Save the weights of `estimator`."""
    path = folder / 'tiny.pth'
    torch.save(dict(state_dict=estimator(text).state_dict()), path)
    return path


def model_options(folder: Path) -> list[str]:
    """Return the options of tools/infer.py that select the model of `estimator`."""
    return [
        '--model',
        str(write_config(folder)),
        '--weights',
        str(write_checkpoint(folder)),
        '--device',
        'cpu',
    ]


def use_statistics_of_next_batch(model: nn.Module) -> None:
    """Let batch norms take the statistics of the next batch: no output is then saturated."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.momentum = 1.0


@cache
def estimator(text: str = TOP_DOWN) -> nn.Module:
    """Build the model of a config, whose outputs differ between keypoints."""
    from mmpose.apis import init_model

    register_all_modules()
    return with_random_weights(init_model(Config.fromstring(text, '.py'), device='cpu'))


def with_random_weights(model: nn.Module, size: tuple[int, int] = (64, 64)) -> nn.Module:
    """Give a model random weights, and batch norms the statistics of images (height, width)."""
    use_statistics_of_next_batch(randomize(model))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        model.head.forward(model.backbone(torch.randn(4, 3, *size, generator=generator)))
    return model.eval()


def make_image(seed: int, width: int = 80, height: int = 60) -> np.ndarray:
    """Return a random image of smooth colors, uint8, BGR."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def boxes_in(seed: int, count: int, width: int = 80, height: int = 60) -> np.ndarray:
    """Return random boxes (count, 4), float32, xyxy; some extend beyond the image."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-0.1, 0.6, (count, 2)) * (width, height)
    sizes = rng.uniform(0.2, 0.6, (count, 2)) * (width, height)
    return np.concatenate((corners, corners + sizes), 1).astype(np.float32)
