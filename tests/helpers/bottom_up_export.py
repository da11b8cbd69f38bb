"""A tiny HRCoMer with random weights that finds people, for tests of its export."""

from functools import cache
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from pose_backbones.configs import load_config
from tests.helpers.pose_cases import use_statistics_of_next_batch
from tests.helpers.random_weights import randomize
from tests.helpers.tools import ROOT

#: config of a model of COCO's keypoints, for images whose shorter side is 64 pixels
_TEXT = """
_base_ = '{root}/configs/hrcomer/bu_hrcomer-b_8xb12-70e_coco-768.py'
codec = dict(input_size=(64, 64), heatmap_size=(16, 16), max_num_people=6)
model = dict(
    backbone=dict(
        _delete_=True,
        type='pose_backbones.HRCoMer',
        arch=dict(
            base_net=dict(embed_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), use_grn=True),
            embed_dims=(8, 12, 16, 24), stage1_channels=8, num_modules=(1, 1, 1, 1),
            depths=(1, 1, 1, 1))),
    head=dict(
        in_channels=(8, 12, 16, 24), confidence_channels=4, heatmap_channels=4, joint_channels=2,
        refine_channels=2,
        decoder=dict(input_size=(64, 64), heatmap_size=(16, 16), max_num_people=6)))
pipeline = [
    dict(type='pose_backbones.LoadImage'),
    dict(type='pose_backbones.ResizeAlign', short_side=64, size_divisor=32),
    dict(type='pose_backbones.PackBottomupInputs'),
]
data_root = 'data/synthetic/'
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/person_keypoints_val.json',
        data_prefix=dict(img='val/'),
        pipeline=pipeline))
test_evaluator = dict(ann_file=data_root + 'annotations/person_keypoints_val.json')
"""


def write_bottom_up_config(folder: Path) -> Path:
    path = folder / 'tiny_hrcomer.py'
    path.write_text(_TEXT.format(root=ROOT))
    return path


def bottom_up_config(folder: Path, **resize) -> Config:
    """Return the config; `resize` are further arguments of `ResizeAlign`."""
    cfg = load_config(str(write_bottom_up_config(folder)))
    cfg.test_dataloader.dataset.pipeline[1].update(resize)
    return cfg


@cache
def bottom_up_estimator(folder: Path) -> nn.Module:
    """Build the model, whose outputs differ between keypoints and queries."""
    from mmpose.apis import init_model
    from mmpose.utils import register_all_modules

    from pose_backbones.zoo.models import without_weights

    register_all_modules()
    model = init_model(without_weights(bottom_up_config(folder)), device='cpu')
    use_statistics_of_next_batch(randomize(model))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        model.head.forward(model.backbone(torch.randn(4, 3, 96, 64, generator=generator)))
    return model.eval()
