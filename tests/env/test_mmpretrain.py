"""The replacement of mmpretrain computes what mmpretrain 1.2.0 computes."""

import copy
import json
import sys
import warnings
from pathlib import Path

import mmpose
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model.weight_init import PretrainedInit
from mmengine.optim import build_optim_wrapper
from mmpose.engine.optim_wrappers.layer_decay_optim_wrapper import LayerDecayOptimWrapperConstructor
from mmpose.registry import MODELS
from mmpose.testing import get_packed_inputs
from mmpose.utils import register_all_modules

from pose_backbones import PoseInferencer
from pose_backbones.checkpoints.loading import load_weights
from pose_backbones.configs import load_config
from pose_backbones.errors import CheckpointError
from pose_backbones_env import finder
from tests.env.test_finder import run
from tests.helpers import golden_values

if 'mmpretrain' not in finder.active():
    pytest.skip('mmpretrain is installed', allow_module_level=True)

from mmpretrain.models import VisionTransformer

GOLDEN = golden_values.load('vision_transformer')
CONFIGS = Path(mmpose.__path__[0]) / '.mim/configs'
VITPOSE = sorted(CONFIGS.glob('body_2d_keypoint/**/*ViTPose*.py'))
TINY = GOLDEN['cases']['vitpose']['args']


@pytest.fixture(autouse=True, scope='module')
def _modules():
    register_all_modules()


def vitpose(name: str = 'td-hm_ViTPose-small_8xb64-210e_coco-256x192', **backbone) -> Config:
    """Return a config of MMPose without pretrained weights, with changes of the backbone."""
    cfg = Config.fromfile(CONFIGS / f'body_2d_keypoint/topdown_heatmap/coco/{name}.py')
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.update(backbone)
    return cfg


@pytest.mark.parametrize('name', GOLDEN['cases'])
def test_outputs_and_gradients_match_mmpretrain(name):
    record = GOLDEN['cases'][name]
    model = VisionTransformer(**copy.deepcopy(record['args'])).eval()
    names = [key for key, _ in record['state']]
    assert list(model.state_dict()) == names
    model.load_state_dict(golden_values.weights(record), strict=True)
    image = golden_values.image(record).requires_grad_()
    outputs = model(image)
    sum(output.square().sum() for output in outputs).backward()
    golden_values.assert_reproduced([*(one.detach() for one in outputs), image.grad], record)


def test_learning_rates_decay_by_layer_as_with_mmpretrain():
    model = torch.nn.ModuleDict(
        dict(backbone=VisionTransformer(**TINY), head=torch.nn.Linear(32, 1))
    )
    constructor = LayerDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.1)),
        dict(num_layers=3, layer_decay_rate=0.8),
    )
    groups = []
    constructor.add_params(groups, model)
    rates = {
        name: [group['lr'], group['weight_decay']]
        for group in groups
        for name in group['param_names']
    }
    assert rates == GOLDEN['layer_decay']
    depths = {name: model.backbone.get_layer_depth(name, 'backbone.') for name in rates}
    for name, (depth, count) in depths.items():
        assert count == 5
        assert rates[name][0] == 5e-4 * 0.8 ** (count - 1 - depth)


@pytest.mark.parametrize('path', VITPOSE, ids=lambda path: path.stem)
def test_mmpose_config_builds(path):
    """On the meta device, without memory for the weights."""
    cfg = load_config(str(path))
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        heatmaps = model(torch.empty(2, 3, 256, 192), None, mode='tensor')
    assert heatmaps.shape == (2, 17, 64, 48)


def test_all_configs_are_found():
    assert len(VITPOSE) == 12


@pytest.mark.parametrize('size', ['large', 'huge'])
def test_configs_of_mmcls_are_translated(size):
    """The model is that of COCO; only the file of the pretrained weights has another name."""
    folder, name = CONFIGS / 'body_2d_keypoint/topdown_heatmap', f'td-hm_ViTPose-{size}_8xb64-210e'
    path = folder / f'humanart/{name}_humanart-256x192.py'
    assert "type='mmcls.VisionTransformer'" in path.read_text()
    models = []
    for each in (path, folder / f'coco/{name}_coco-256x192.py'):
        model = load_config(str(each)).model.to_dict()
        assert 'mae_pretrain_vit' in model['backbone'].pop('init_cfg')['checkpoint']
        models.append(model)
    assert models[0] == models[1]


def test_other_outputs_of_mmcls_are_not_translated(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("model = dict(backbone=dict(type='mmcls.VisionTransformer', arch='s'))")
    assert load_config(str(path)).model.backbone == dict(type='mmcls.VisionTransformer', arch='s')


@pytest.mark.parametrize(
    ('size', 'width', 'blocks'),
    [('0.3b', 1024, 24), ('0.6b', 1280, 32), ('1b', 1536, 40), ('2b', 1920, 48)],
)
def test_sapiens_backbone_builds(size, width, blocks):
    """Width and blocks are those of Sapiens' configs."""
    cfg = dict(
        type='mmpretrain.VisionTransformer',
        arch=f'sapiens_{size}',
        img_size=(1024, 768),
        qkv_bias=True,
        with_cls_token=False,
        out_type='featmap',
        patch_cfg=dict(padding=2),
    )
    with torch.device('meta'):
        model = MODELS.build(cfg)
        (features,) = model(torch.empty(1, 3, 1024, 768))
    assert features.shape == (1, width, 64, 48)
    assert len(model.layers) == blocks
    assert model.layers[0].ffn.feedforward_channels == 4 * width


def test_scope_in_dicts_is_ignored():
    """MMEngine adds `_scope_` to dicts that a config takes from its base."""
    arguments = {
        name: dict(value, _scope_='mmpose') if isinstance(value, dict) else value
        for name, value in TINY.items()
    }
    norm, layer = dict(type='LN', _scope_='mmpose'), dict(num_fcs=3, _scope_='mmpose')
    model = VisionTransformer(**arguments, norm_cfg=norm, layer_cfgs=layer)
    assert model.patch_embed.projection.padding == (2, 2)


def test_vitpose_trains_one_step():
    """With the model, the optimizer and the learning rates of MMPose's config, but no drop path."""
    cfg = vitpose(drop_path_rate=0.0)
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(cfg.model)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = copy.deepcopy(model.state_dict())
    batch = get_packed_inputs(
        1, num_instances=1, num_keypoints=17, input_size=(192, 256), heatmap_size=(48, 64)
    )
    log = model.train().train_step(batch, wrapper)
    assert 0 < log['loss'].item() < 10
    rates = {group['lr'] for group in wrapper.optimizer.param_groups}
    assert rates == {5e-4 * 0.8**depth for depth in range(14)}
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed >= {name for name, _ in model.named_parameters()}


def test_saved_model_is_loaded_by_the_inferencer(tmp_path):
    cfg = vitpose(arch=dict(embed_dims=384, num_layers=1, num_heads=12, feedforward_channels=8))
    model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.backbone.pos_embed)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    inferencer = PoseInferencer(cfg, tmp_path / 'weights.pth', device='cpu')
    assert torch.equal(inferencer.model.backbone.pos_embed, model.backbone.pos_embed)
    (result,) = inferencer(np.zeros((90, 60, 3), np.uint8), [[[0, 0, 60, 90]]])
    assert result.keypoints.shape == (1, 17, 2)


@pytest.mark.parametrize(
    ('tokens', 'kept'), [(12, slice(None)), (13, slice(1, None)), (17, None), (16, None)]
)
def test_class_token_of_the_checkpoint_is_removed(tokens, kept):
    """17 and 16 tokens are those of 4x4 patches, with and without a class token."""
    model = VisionTransformer(**TINY)
    embedding = torch.arange(tokens * 32.0).view(1, tokens, 32)
    load_weights(model, dict(model.state_dict(), pos_embed=embedding), 'weights.pth')
    if kept is not None:
        expected = embedding[:, kept]
    else:
        grid = embedding[:, tokens - 16 :].unflatten(1, (4, 4)).movedim(3, 1)
        expected = torch.nn.functional.interpolate(grid, (4, 3), mode='bicubic')
        expected = expected.flatten(2).mT
    torch.testing.assert_close(model.pos_embed.detach(), expected)


def test_unused_class_token_of_mmcls_is_not_loaded(mmengine_log):
    """Models of mmcls without a class token save one, and a position embedding for it."""
    model = VisionTransformer(**TINY)
    embedding, token = torch.randn(1, 13, 32), torch.randn(1, 1, 32)
    weights = dict(model.state_dict(), pos_embed=embedding, cls_token=token)
    load_weights(model, weights, 'weights.pth')
    assert torch.equal(model.pos_embed, embedding[:, 1:])
    assert 'cls_token is not loaded: with_cls_token=False' in mmengine_log.text
    with pytest.raises(CheckpointError, match='1 unexpected key: cls_token'):
        load_weights(model, dict(model.state_dict(), cls_token=token), 'weights.pth')


def test_position_embedding_that_is_not_square_raises():
    model = VisionTransformer(**TINY)
    weights = dict(model.state_dict(), pos_embed=torch.zeros(1, 20, 32))
    with pytest.raises(
        CheckpointError, match='pos_embed has 20 tokens: expected 12, for images of 64x48'
    ):
        load_weights(model, weights, 'weights.pth')


def test_frozen_blocks_are_not_trained():
    model = VisionTransformer(**dict(TINY, frozen_stages=2, out_type='avg_featmap'))
    learned = {name for name, value in model.named_parameters() if value.requires_grad}
    assert {name.split('.')[0] for name in learned} == {'layers', 'ln1', 'ln2'}
    assert all(name.startswith(('layers.2.', 'ln')) for name in learned)
    assert not model.layers[1].training
    assert model.layers[2].training
    model = VisionTransformer(**dict(TINY, frozen_stages=3, out_type='avg_featmap'))
    assert not any(value.requires_grad for value in model.parameters())


def test_initial_weights():
    torch.manual_seed(0)
    model = VisionTransformer(**TINY)
    model.init_weights()
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.2)
    ffn = model.layers[0].ffn.layers
    limit = (6 / (32 + 48)) ** 0.5
    assert 0.9 * limit < ffn[0][0].weight.abs().max() <= limit
    assert 0 < ffn[1].bias.abs().max() < 1e-5


@pytest.mark.parametrize('kind', ['Pretrained', PretrainedInit])
def test_loaded_position_embedding_is_kept(tmp_path, kind):
    weights = VisionTransformer(**TINY).state_dict()
    weights['pos_embed'] = torch.full_like(weights['pos_embed'], 3.0)
    torch.save(weights, tmp_path / 'vit.pth')
    init_cfg = dict(type=kind, checkpoint=str(tmp_path / 'vit.pth'))
    model = VisionTransformer(**TINY, init_cfg=init_cfg)
    model.init_weights()
    assert torch.equal(model.pos_embed, weights['pos_embed'])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(arch='tiny'), "arch is 'tiny': expected one of s, small, b, base"),
        (dict(arch=dict(embed_dims=8)), 'expected a name, or a dict with the keys embed_dims'),
        (dict(arch=dict(TINY['arch'], depth=3)), 'expected a name, or a dict with the keys'),
        (dict(arch=dict(TINY['arch'], num_heads=5)), 'embed_dims is 32: .* num_heads=5'),
        (dict(out_type='map'), "out_type is 'map': expected one of .*'featmap'"),
        (dict(out_type='cls_token'), 'expected with_cls_token=True'),
        (dict(interpolate_mode='nearest'), "interpolate_mode is 'nearest': .*'bilinear'"),
        (dict(out_indices=[0, 3]), r'out_indices is \[0, 3\]: .* -3 to 2'),
        (dict(frozen_stages=4), 'frozen_stages is 4: expected -1 to 3'),
        (dict(drop_path_rate=1.0), 'drop_path_rate is 1.0: expected 0 <= rate < 1'),
        (dict(norm_cfg=dict(type='LN2d')), "norm_cfg is {'type': 'LN2d'}: .* install mmpretrain"),
        (dict(layer_cfgs=[{}]), 'layer_cfgs has 1 dicts: expected one, or 3'),
        (dict(layer_cfgs=dict(ffn_type='mlp')), "ffn_type is 'mlp': expected one of"),
        (
            dict(layer_cfgs=dict(ffn_type='swiglu_fused', num_fcs=3)),
            'num_fcs is 3 and act_cfg is .* expected no such argument',
        ),
    ],
)
def test_invalid_argument_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        VisionTransformer(**dict(TINY, **arguments))


@pytest.mark.parametrize('place', ['', 'patch_cfg', 'layer_cfgs'])
def test_unknown_argument_raises(place):
    unknown = dict(no_such_option=1)
    with pytest.raises(TypeError, match='no_such_option'):
        VisionTransformer(**dict(TINY, **({place: unknown} if place else unknown)))


def test_other_models_require_mmpretrain():
    with pytest.raises(KeyError, match=r'mmpretrain.ConvNeXt requires .* pip install mmpretrain'):
        MODELS.build(dict(type='mmpretrain.ConvNeXt'))


def test_mmdet_knows_that_mmpretrain_is_missing():
    from mmdet.models.reid import BaseReID, base_reid, linear_reid_head

    assert base_reid.mmpretrain is None
    assert linear_reid_head.mmpretrain is None
    with pytest.raises(RuntimeError, match='mim install mmpretrain'):
        BaseReID(backbone={})


FIND = 'from pose_backbones_env import finder\nfinder.install()\n'


def test_mmpretrain_that_imports_is_not_replaced(tmp_path):
    package = tmp_path / 'mmpretrain'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'models.py').touch()
    code = FIND + (
        'import mmpretrain\n'
        'spec = mmpretrain.__spec__\n'
        'print(mmpretrain.__file__)\n'
        'print(mmpretrain.models.__file__)\n'
        'print(type(spec.loader).__name__, spec.loader is mmpretrain.__loader__)\n'
    )
    assert run(code, tmp_path).splitlines() == [
        str(package / '__init__.py'),
        str(package / 'models.py'),
        'SourceFileLoader True',
    ]


def test_mmpretrain_that_does_not_import_is_replaced(tmp_path):
    """It has registered its classes before the error, which can be in `mmpretrain.models`."""
    package = tmp_path / 'mmpretrain'
    package.mkdir()
    (package / '__init__.py').write_text('from . import registry')
    (package / 'models.py').write_text('class Model(None): pass')
    (package / 'registry.py').write_text(
        'from mmengine import registry as root\n'
        "MODELS = root.Registry('model', parent=root.MODELS, scope='mmpretrain')\n"
        "DATASETS = root.Registry('dataset', parent=root.DATASETS, scope='mmpretrain')\n"
    )
    code = FIND + (
        'import json, sys, warnings\n'
        'with warnings.catch_warnings(record=True) as log:\n'
        '    warnings.simplefilter("always")\n'
        '    import mmpretrain.registry\n'
        'from mmengine.registry import DATASETS, MODELS\n'
        'print(json.dumps([str(one.message) for one in log if "mmpretrain" in str(one.message)]))\n'
        'print(mmpretrain.registry.__file__)\n'
        'print(MODELS.get("mmpretrain.VisionTransformer").__module__)\n'
        'print("mmpretrain" in DATASETS.children, "timm" in sys.modules)\n'
    )
    log, path, module, last = run(code, tmp_path).splitlines()
    assert json.loads(log) == [
        'mmpretrain is installed, but cannot be imported (TypeError: NoneType takes no '
        'arguments). pose_backbones replaces it, see docs/compatibility.md.'
    ]
    assert path.startswith(finder.FOLDER)
    assert module == 'mmpretrain.models.backbones.vision_transformer'
    assert last == 'False False'  # timm is imported when a model is built


def test_directory_without_package_is_replaced(tmp_path):
    """For example a clone of the repository in the working directory."""
    (tmp_path / 'mmpretrain/mmpretrain').mkdir(parents=True)
    code = FIND + 'import mmpretrain.registry\nprint(mmpretrain.__file__)'
    assert run(code, tmp_path).startswith(finder.FOLDER)


def test_class_is_in_the_module_of_mmpretrain():
    """Configs can name a class by its path."""
    module = sys.modules['mmpretrain.models.backbones.vision_transformer']
    assert (
        module.VisionTransformer is VisionTransformer is MODELS.get('mmpretrain.VisionTransformer')
    )
