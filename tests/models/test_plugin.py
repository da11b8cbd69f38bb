"""Tests of the package as a plug-in of MMPose, MMDetection and MMSegmentation."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.fork_server import ForkServer
from tests.helpers.tools import tool_env

# Stands for a full mmcv, whose operators the building of a model needs not.
FULL_MMCV = """
import importlib.machinery, sys, types
class Ext(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return lambda *args, **kwargs: None
ext = Ext('mmcv._ext')
ext.__spec__ = importlib.machinery.ModuleSpec('mmcv._ext', loader=None)
sys.modules['mmcv._ext'] = ext
"""
BACKBONE = """dict(
    type='{type}',
    arch=dict(embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1),
              ffn_ratios=(2, 2, 2, 2)),
    out_indices={out})"""


#: imported once for all tests; neither this package nor a package that it extends
COMMON = (
    'tests.helpers.only_replacements',
    'torch',
    'torchvision',
    'timm',
    'cv2',
    'scipy.optimize',
    'matplotlib.pyplot',
    'mmcv.cnn',
)


@pytest.fixture(scope='module')
def server() -> Iterator[ForkServer]:
    """A process in which nothing has imported this package, MMPose, MMDetection or MMSegmentation.

    The code of each test runs in a process that is forked from it.
    """
    server = ForkServer(tool_env(), COMMON)
    yield server
    server.close()


def run_code(server: ForkServer | None, path: Path, code: str) -> str:
    """Run code in a process forked from the server, or in a new interpreter; return its output."""
    path.write_text(
        f"""
import sys, warnings
warnings.simplefilter('ignore')
import tests.helpers.only_replacements
for name in ('pose_backbones', 'mmpose', 'mmdet', 'mmseg'):
    assert name not in sys.modules, name
{code}"""
    )
    if server is not None:
        done = server.run([str(path)], tool_env())
    else:
        done = subprocess.run(
            [sys.executable, path],
            env=tool_env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    return done.stdout


POSE = """
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor'),
    backbone=BACKBONE,
    head=dict(
        type='HeatmapHead', in_channels=32, out_channels=17,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=dict(type='MSRAHeatmap', input_size=(64, 64),
                     heatmap_size=(16, 16), sigma=1)))
"""


@pytest.mark.parametrize(('kind', 'forked'), [('MogaNet', False), ('pose_backbones.MogaNet', True)])
def test_mmpose_config_with_custom_imports(server, tmp_path, kind, forked):
    config = tmp_path / 'config.py'
    config.write_text(
        "default_scope = 'mmpose'\n"
        "custom_imports = dict(imports=['pose_backbones'])\n"
        + POSE.replace('BACKBONE', BACKBONE.format(type=kind, out=(3,)))
    )
    printed = run_code(
        server if forked else None,
        tmp_path / 'program.py',
        textwrap.dedent(f"""
        from mmengine.config import Config
        config = Config.fromfile({str(config)!r})
        import torch
        from mmengine.registry import init_default_scope
        from mmpose.registry import MODELS
        init_default_scope('mmpose')
        model = MODELS.build(config.model)
        maps = model(torch.zeros(1, 3, 64, 64), None, mode='tensor')
        print(type(model.backbone).__module__, tuple(maps.shape))
        """),
    )
    assert printed.split('\n')[-2] == ('pose_backbones.models.backbones.moganet (1, 17, 16, 16)')


def test_mmpose_config_by_prefix_without_import(server, tmp_path):
    model = POSE.replace('BACKBONE', BACKBONE.format(type='pose_backbones.MogaNet', out=(3,)))
    printed = run_code(
        server,
        tmp_path / 'program.py',
        FULL_MMCV
        + model
        + textwrap.dedent("""
        import torch
        from mmengine.registry import init_default_scope
        from mmpose.registry import MODELS
        init_default_scope('mmpose')
        assert 'pose_backbones' not in sys.modules
        maps = MODELS.build(model)(
            torch.zeros(1, 3, 64, 64), None)
        print(tuple(maps.shape))
        """),
    )
    assert printed.split('\n')[-2] == '(1, 17, 16, 16)'


def test_detector_with_fpn_by_prefix_without_import(server, tmp_path):
    backbone = BACKBONE.format(type='pose_backbones.MogaNet', out=(0, 1, 2, 3))
    printed = run_code(
        server,
        tmp_path / 'program.py',
        FULL_MMCV
        + f'backbone = {backbone}'
        + textwrap.dedent("""
        import torch
        from mmengine.hub import get_config
        from mmengine.registry import init_default_scope
        from mmengine.structures import InstanceData
        from mmdet.registry import MODELS
        from mmdet.structures import DetDataSample
        init_default_scope('mmdet')
        config = get_config(
            'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py').model
        config.backbone = backbone
        config.neck.in_channels = [8, 16, 24, 32]
        config.neck.out_channels = config.bbox_head.in_channels = 16
        config.bbox_head.feat_channels = 16
        config.bbox_head.num_classes = 3
        assert 'pose_backbones' not in sys.modules
        model = MODELS.build(config)
        assert 'pose_backbones' in sys.modules
        torch.manual_seed(0)
        sample = DetDataSample(metainfo=dict(
            img_shape=(64, 64), pad_shape=(64, 64), ori_shape=(64, 64),
            scale_factor=(1, 1), batch_input_shape=(64, 64)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8., 8., 40., 60.]]),
            labels=torch.tensor([1]))
        model.train()
        losses = model(torch.randn(2, 3, 64, 64), [sample, sample],
                       mode='loss')
        total = sum(sum(values) for values in losses.values())
        total.backward()
        gradients = [p.grad for p in model.backbone.parameters()]
        # The first stage is checked first: its gradient passes through all other stages.
        print(bool(total.isfinite()), len(losses['loss_cls']),
              float(gradients[0].abs().sum()) > 0,
              all(g is not None for g in gradients))
        """),
    )
    assert printed.split('\n')[-2] == 'True 5 True True'


def test_segmentor_by_prefix_without_import(server, tmp_path):
    backbone = BACKBONE.format(type='pose_backbones.MogaNet', out=(0, 1, 2, 3))
    printed = run_code(
        server,
        tmp_path / 'program.py',
        FULL_MMCV
        + f'backbone = {backbone}'
        + textwrap.dedent("""
        import torch
        from mmengine.config import ConfigDict
        from mmengine.registry import init_default_scope
        from mmengine.structures import PixelData
        from mmseg.registry import MODELS
        from mmseg.structures import SegDataSample
        init_default_scope('mmseg')
        assert 'pose_backbones' not in sys.modules
        model = MODELS.build(ConfigDict(
            type='EncoderDecoder',
            backbone=backbone,
            neck=dict(type='FPN', in_channels=[8, 16, 24, 32],
                      out_channels=16, num_outs=4),
            decode_head=dict(
                type='FPNHead', in_channels=[16] * 4, in_index=[0, 1, 2, 3],
                feature_strides=[4, 8, 16, 32], channels=16, num_classes=5,
                loss_decode=dict(type='CrossEntropyLoss')),
            train_cfg=dict(), test_cfg=dict(mode='whole')))
        torch.manual_seed(0)
        sample = SegDataSample(metainfo=dict(
            img_shape=(64, 64), ori_shape=(64, 64), padding_size=(0,) * 4))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 5, (1, 64, 64)))
        model.train()
        losses = model(torch.randn(2, 3, 64, 64), [sample] * 2, mode='loss')
        losses['decode.loss_ce'].backward()
        gradients = [p.grad for p in model.backbone.parameters()]
        finite = bool(losses['decode.loss_ce'].isfinite())
        model.eval()
        result = model(torch.randn(1, 3, 64, 64), [sample], mode='predict')
        print(finite, all(g is not None for g in gradients),
              float(gradients[0].abs().sum()) > 0,
              tuple(result[0].pred_sem_seg.data.shape))
        """),
    )
    assert printed.split('\n')[-2] == 'True True True (1, 64, 64)'


def test_registered_names_of_openmmlab_are_not_replaced():
    from mmpose.registry import MODELS

    from pose_backbones._compat.mmpose_registry import register_in
    from pose_backbones.registry import MODELS as OURS

    resnet = MODELS.get('ResNet')
    OURS.import_from_location()
    OURS._module_dict['ResNet'] = object
    try:
        register_in(MODELS)
        assert MODELS.get('ResNet') is resnet
        assert MODELS.get('pose_backbones.ResNet') is object
    finally:
        del OURS._module_dict['ResNet']


@pytest.mark.parametrize('package_first', [True, False])
def test_classes_of_other_projects_with_the_same_name_have_priority(
    server, tmp_path, package_first
):
    ours = 'import pose_backbones; MODELS.get("MogaNet")'
    theirs = """
@MODELS.register_module()
class UniFormer(torch.nn.Module):
    pass
MODELS.register_module(name=["HRCoMer", "ConvNeXt"], module=UniFormer)
"""
    order = [ours, theirs] if package_first else [theirs, ours]
    printed = run_code(
        server,
        tmp_path / 'program.py',
        'import torch\nfrom mmpose.registry import MODELS\n'
        + '\n'.join(order)
        + textwrap.dedent("""
        for name in 'UniFormer', 'HRCoMer', 'ConvNeXt', 'MogaNet', 'pose_backbones.UniFormer':
            print(MODELS.get(name).__module__.split('.')[0])
        try:
            MODELS.register_module(name='UniFormer', module=torch.nn.Identity)
        except KeyError as error:
            print(error)
        """),
    )
    assert printed.split('\n')[-7:-1] == [
        *['__main__'] * 3,
        *['pose_backbones'] * 2,
        "'UniFormer is already registered in model at __main__'",
    ]
