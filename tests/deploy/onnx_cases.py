"""ONNX files of small models of all families and heads, run by test_export.py.

`export_model` compares each with PyTorch.
"""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmpose.apis import init_model
from torch import nn

from pose_backbones.configs import load_config
from pose_backbones.deploy.export import export_model
from tests.deploy.test_crop_model import HEADS, build
from tests.helpers.pose_cases import TOP_DOWN, with_random_weights
from tests.helpers.tools import ROOT
from tests.models.test_contract import CASES

FAMILIES = [name for name in CASES if not name.startswith(('MSPN', 'HRCoMer', 'Timm'))]
MSPN = ROOT / 'configs/mspn/td-hm_mspn-2stg_1xb8-demo_synthetic-128x96.py'
#: backbones of MMPose, Swin, and models of timm: arguments, and the number of channels
OTHERS = {
    'ResNet': (dict(type='ResNet', depth=50, base_channels=8, stem_channels=8), 256),
    'HRNet': (
        dict(
            type='HRNet',
            extra=dict(
                stage1=dict(
                    num_modules=1,
                    num_branches=1,
                    block='BOTTLENECK',
                    num_blocks=(1,),
                    num_channels=(8,),
                ),
                **{
                    f'stage{count}': dict(
                        num_modules=1,
                        num_branches=count,
                        block='BASIC',
                        num_blocks=(1,) * count,
                        num_channels=(8, 16, 32, 64)[:count],
                    )
                    for count in (2, 3, 4)
                },
            ),
        ),
        8,
    ),
    'Swin': (
        dict(
            type='pose_backbones.SwinTransformer',
            embed_dims=8,
            depths=(1, 2, 2, 1),
            num_heads=(1, 2, 4, 8),
            window_size=3,
            out_indices=(3,),
        ),
        64,
    ),
    'timm, convolutions': (
        dict(type='pose_backbones.TimmBackbone', model_name='resnet10t', out_indices=(3,)),
        256,
    ),
    'timm, transformer': (
        dict(
            type='pose_backbones.TimmBackbone',
            model_name='vit_tiny_patch16_224',
            img_size=(64, 64),
            model_args=dict(depth=4, embed_dim=48),
            out_indices=(3,),
        ),
        48,
    ),
}


def model_with(backbone: dict, channels: int) -> nn.Module:
    # HRNet requires multiples of 32 pixels.
    text = TOP_DOWN.replace('(48, 64)', '(64, 64)').replace('(12, 16)', '(16, 16)')
    cfg = Config.fromstring(text, '.py')
    cfg.model.backbone = backbone
    cfg.model.head.in_channels = channels
    return with_random_weights(init_model(cfg, device='cpu'))


def check_onnx(model: nn.Module, folder: Path) -> None:
    """Export a model with the flip test, which raises an exception if the file deviates."""
    exported, difference = export_model(model, folder / 'out', 'onnx', flip_test=True)
    assert exported.path.name == 'model.onnx'
    assert difference.keypoints == 153
    assert difference.stable > 0.3


@pytest.mark.parametrize('family', FAMILIES)
def test_families(family: str, tmp_path: Path) -> None:
    name, settings = CASES[family]
    backbone = dict(type=f'pose_backbones.{name}', **settings, out_indices=(3,))
    check_onnx(model_with(backbone, channels=32), tmp_path)


@pytest.mark.parametrize('stages', [1, 4])
def test_mspn(stages: int, tmp_path: Path) -> None:
    cfg = load_config(str(MSPN))
    cfg.model.backbone.update(stages=stages, num_blocks=(1, 1, 1, 1), base_channels=8)
    cfg.model.backbone.unit_channels = cfg.model.head.unit_channels = 16
    cfg.model.head.stages = stages
    check_onnx(with_random_weights(init_model(cfg, device='cpu'), (128, 96)), tmp_path)


@pytest.mark.parametrize('name', OTHERS)
def test_other_backbones(name: str, tmp_path: Path) -> None:
    check_onnx(model_with(*OTHERS[name]), tmp_path)


@pytest.mark.parametrize('name', HEADS)
def test_heads(name: str, tmp_path: Path) -> None:
    check_onnx(build(name, True), tmp_path)
