"""Tests of building models by name, with and without weights."""

import subprocess
import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.apis import inference_topdown, init_model
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

import pose_backbones
from pose_backbones.checkpoints.downloads import cached_file
from pose_backbones.cli import flops
from pose_backbones.cli import infer as cli_infer
from pose_backbones.errors import CheckpointError, ConfigError
from pose_backbones.zoo import find_name, read_models
from pose_backbones.zoo.mmpose import read_mmpose_models
from tests.helpers.tools import ROOT, tool_env

NAME = 'td-hm_moganet-xt_8xb32-210e_coco-256x192'
LAST = 'head.final_layer.weight'


@pytest.fixture(scope='module')
def by_hand():
    """Model built by MMPose from the config file, with random weights."""
    register_all_modules()
    init_default_scope('mmpose')
    config = Config.fromfile(str(ROOT / f'configs/moganet/{NAME}.py'))
    config.model.backbone.init_cfg = None
    torch.manual_seed(1)
    model = MODELS.build(config.model).eval()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value += 0.01 * torch.rand_like(value)
    return model


@pytest.fixture(scope='module')
def checkpoint(by_hand, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'pose.pth'
    torch.save(dict(state_dict=by_hand.state_dict(), meta={}), path)
    return path


def test_get_config_returns_a_new_config():
    path = str(ROOT / f'configs/moganet/{NAME}.py')
    config = pose_backbones.get_config(NAME)
    assert config._cfg_dict == Config.fromfile(path)._cfg_dict
    config.model.head.out_channels = 1
    assert pose_backbones.get_config(NAME).model.head.out_channels == 17


def test_package_exports():
    assert {'build', 'get_config', 'list_models'} <= set(dir(pose_backbones))
    assert set(pose_backbones.__all__) <= set(dir(pose_backbones))
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        pose_backbones.bild  # noqa: B018


def test_import_is_fast():
    code = (
        'import sys, pose_backbones\n'
        'print([name for name in ("mmpose.models", "mmpose.apis", "timm", '
        '"matplotlib", "pose_backbones.models", "pose_backbones.zoo") '
        'if name in sys.modules])\n'
        'pose_backbones.list_models("*")\n'
        'print("mmpose.models" in sys.modules)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], env=tool_env(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split('\n')[:2] == ['[]', 'False']


def test_build_equals_mmpose_model(by_hand, checkpoint):
    model = pose_backbones.build(NAME, pretrained=str(checkpoint))
    assert not model.training
    image = torch.randn(2, 3, 256, 192)
    with torch.no_grad():
        assert torch.equal(model(image, None, mode='tensor'), by_hand(image, None, mode='tensor'))


def test_predictions_equal_those_of_init_model(checkpoint):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (240, 320, 3), np.uint8)
    boxes = [[20, 10, 120, 220], [150, 40, 300, 230]]
    built = pose_backbones.build(NAME, pretrained=str(checkpoint))
    expected_model = init_model(
        str(ROOT / f'configs/moganet/{NAME}.py'), str(checkpoint), device='cpu'
    )
    assert built.dataset_meta['flip_indices'] == expected_model.dataset_meta['flip_indices']
    actual, expected = (inference_topdown(model, image, boxes) for model in (built, expected_model))
    assert len(actual) == 2
    for sample, expected_sample in zip(actual, expected):
        np.testing.assert_array_equal(
            sample.pred_instances.keypoints, expected_sample.pred_instances.keypoints
        )


def test_initial_weights_are_those_of_init_weights(capsys):
    """The weights are random, without a download or a log message."""
    torch.manual_seed(5)
    untrained = pose_backbones.build(NAME)
    assert 'init_weights' not in ''.join(capsys.readouterr())
    two = pose_backbones.build(NAME)
    weights = untrained.state_dict()[LAST]
    assert weights.std() == pytest.approx(0.001, rel=0.1)
    assert not torch.equal(weights, two.state_dict()[LAST])
    torch.manual_seed(5)
    again = pose_backbones.build(NAME)
    assert torch.equal(weights, again.state_dict()[LAST])


def test_num_keypoints_replaces_the_final_layer(by_hand, checkpoint, mmengine_log):
    """All layers except the final one are loaded; the log names that one."""
    model = pose_backbones.build(NAME, 5, pretrained=str(checkpoint))
    expected, actual = by_hand.state_dict(), model.state_dict()
    assert set(actual) == set(expected)
    for name in expected:
        if not name.startswith('head.final_layer.'):
            assert torch.equal(actual[name], expected[name]), name
    assert actual[LAST].shape == (5, 256, 1, 1)
    assert actual[LAST].std() == pytest.approx(0.001, rel=0.2)
    for name in (LAST, 'head.final_layer.bias'):
        assert f'missing key: {name}' in mmengine_log.text
        assert f'ignored key: {name}' in mmengine_log.text
    assert f'{len(expected) - 2} of {len(expected)} tensors' in mmengine_log.text


def test_head_config_without_number_of_keypoints():
    """The default of the head class applies."""
    name = 'td-hm_mspn-2stg_1xb8-demo_synthetic-128x96'
    assert 'out_channels' not in pose_backbones.get_config(name).model.head
    model = pose_backbones.build(name)
    assert model.dataset_meta['num_keypoints'] == model.head.out_channels == 17
    assert pose_backbones.build(name, num_keypoints=9).head.out_channels == 9


def test_unnamed_keypoints_disable_flip_testing():
    """The flip pairs are unknown."""
    model = pose_backbones.build(NAME, 5)
    assert model.dataset_meta['num_keypoints'] == 5
    assert not model.test_cfg['flip_test']
    (result,) = inference_topdown(model, np.zeros((64, 64, 3), np.uint8))
    assert result.pred_instances.keypoints.shape == (1, 5, 2)
    with_default = pose_backbones.build(NAME, 17)
    assert with_default.test_cfg['flip_test']
    assert with_default.dataset_meta['keypoint_id2name'][0] == 'nose'


def test_checkpoint_with_keypoint_description(by_hand, tmp_path):
    """The final layer is loaded, and flip testing uses the flip pairs of the checkpoint."""
    weights = dict(by_hand.state_dict())
    for name in (LAST, 'head.final_layer.bias'):
        weights[name] = weights[name][:3]
    meta = dict(dataset_name='mine', num_keypoints=3, flip_indices=[0, 2, 1])
    path = tmp_path / 'mine.pth'
    torch.save(dict(state_dict=weights, meta=dict(dataset_meta=meta)), path)
    model = pose_backbones.build(NAME, 3, pretrained=str(path))
    assert torch.equal(model.state_dict()[LAST], weights[LAST])
    assert model.dataset_meta == meta
    assert model.test_cfg['flip_test']
    with pytest.raises(CheckpointError, match=r'final_layer.weight is \(3,'):
        pose_backbones.build(NAME, pretrained=str(path))


def test_released_weights(checkpoint, tmp_path, monkeypatch, by_hand):
    """The URL is that of the metafile; the file is in the download cache of PyTorch."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = tmp_path / 'hub/checkpoints'
    folder.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    cached_file(read_models()[NAME].weights).write_bytes(checkpoint.read_bytes())
    model = pose_backbones.build(NAME, pretrained=True)
    expected = by_hand.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_released_weights_in_a_mirror(checkpoint, tmp_path, monkeypatch, by_hand):
    """Without a network connection; the file is used in place, also by MMEngine's loader."""
    url = read_models()[NAME].weights
    file = tmp_path / url.removeprefix('https://')
    file.parent.mkdir(parents=True)
    file.write_bytes(checkpoint.read_bytes())
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.setenv('POSE_BACKBONES_MIRROR', str(tmp_path))
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', '1')
    model = pose_backbones.build(NAME, pretrained=True)
    by_url = init_model(model.cfg, url, device='cpu')
    for name, value in by_hand.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
        assert torch.equal(by_url.state_dict()[name], value)
    assert not (tmp_path / 'torch').exists()
    file.write_bytes(b'damaged')
    with pytest.raises(CheckpointError, match=f'unreadable: {url} .{file}. '):
        pose_backbones.build(NAME, pretrained=True)
    assert file.read_bytes() == b'damaged'


def test_download_error(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def unreachable(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr('urllib.request.OpenerDirector.open', unreachable)
    with pytest.raises(
        CheckpointError,
        match=(
            'checkpoint out of reach: https://github.com/Westlake-AI/.*moganet_xt_coco_256x192.pth '
            '.*no network'
        ),
    ):
        pose_backbones.build(NAME, pretrained=True)


def test_model_without_released_weights_raises():
    name = 'td-hm_moganet-s_8xb32-210e_crowdpose-256x192'
    with pytest.raises(
        CheckpointError,
        match=(
            f'{name} has no released weights: .*did you mean '
            'td-hm_moganet-s_8xb32-210e_coco-256x192'
        ),
    ):
        pose_backbones.build(name, pretrained=True)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(num_keypoints=0), ValueError, 'num_keypoints is 0: expected at'),
        (dict(num_keypoints='5'), TypeError, "num_keypoints is '5': expected a"),
        (dict(num_keypoints=True), TypeError, 'num_keypoints is True: expected'),
        (dict(pretrained=1), TypeError, 'pretrained is 1: expected False, True'),
        (dict(pretrained='x.pth'), CheckpointError, 'not found: x.pth'),
    ],
)
def test_invalid_arguments_raise(arguments, error, message):
    with pytest.raises(error, match=message):
        pose_backbones.build(NAME, **arguments)


def test_model_of_mmpose(tmp_path):
    """The weights, the metainfo and the predictions are those of MMPose's functions."""
    name = 'rtmpose-t_8xb256-420e_body8-256x192'
    path = tmp_path / 'weights.pth'
    config = read_mmpose_models()[name].config
    expected = init_model(str(config), device='cpu')
    torch.save(dict(state_dict=expected.state_dict()), path)
    model = pose_backbones.build('rtmpose-t', pretrained=str(path))
    assert model.cfg.filename == str(config)
    assert model.dataset_meta['keypoint_id2name'] == expected.dataset_meta['keypoint_id2name']
    image = np.random.default_rng(0).integers(0, 255, (120, 100, 3), np.uint8)
    (sample,), (other,) = (inference_topdown(each, image) for each in (model, expected))
    np.testing.assert_array_equal(sample.pred_instances.keypoints, other.pred_instances.keypoints)
    (result,) = pose_backbones.PoseInferencer('rtmpose-t', path)(image)
    np.testing.assert_allclose(result.keypoints, other.pred_instances.keypoints, atol=1e-3)
    assert result.names[0] == 'nose'


@pytest.mark.parametrize('name', ['rtmpose-t', 'cspnext-tiny_udp_8xb256-210e_aic-coco-256x192'])
def test_other_number_of_keypoints_of_a_model_of_mmpose(name):
    """The second one returns 17 of its 19 keypoints."""
    model = pose_backbones.build(name, 5)
    assert model.head.out_channels == model.dataset_meta['num_keypoints'] == 5
    (result,) = inference_topdown(model, np.zeros((64, 64, 3), np.uint8))
    assert result.pred_instances.keypoints.shape == (1, 5, 2)


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        ('human3d', dict(num_keypoints=5), r'keypoints of .* \(PoseLifter\) cannot be changed'),
        (
            'cpm_mpii-368x368',
            dict(num_keypoints=5),
            r'keypoints of .* \(CPMHead\) cannot be changed',
        ),
        ('hrnet-w32_udp-regress-8xb64-210e', dict(num_keypoints=5), 'udp-regress.* cannot be chan'),
        ('hand3d', dict(num_keypoints=5), r'keypoints of .* \(InternetHead\) cannot be changed'),
        ('rtmpose-m_8xb64-270e_coco-ubody-wholebody-256x192', dict(pretrained=True), 'no released'),
    ],
)
def test_model_of_mmpose_that_cannot_be_built(name, arguments, message):
    with pytest.raises((ConfigError, CheckpointError), match=message):
        pose_backbones.build(name, **arguments)


def count_flops(name):
    flops.main([name])


def infer(name):
    cli_infer.main([str(ROOT / 'docs/demo_excerpt.jpg'), '--model', name, '--out', 'results'])


@pytest.mark.parametrize(
    ('name', 'functions', 'message'),
    [
        (
            'dwpose_l_dis_m_coco-256x192',
            (pose_backbones.build, pose_backbones.PoseInferencer, infer, count_flops),
            'dwpose_l_dis_m_coco-256x192 is the config of a distillation, .* the student, '
            'mmpose::rtmpose-m_8xb64-270e_coco-wholebody-256x192$',
        ),
        (
            'human3d',
            (pose_backbones.PoseInferencer, infer),
            r'motionbert_.* predicts keypoints in 3D \(MotionBERTLabel\), .* expected a 2D model',
        ),
        (
            'hand3d',
            (pose_backbones.PoseInferencer, infer),
            r'internet_.* predicts keypoints in 3D \(Hand3DHeatmap\), .* expected a 2D model',
        ),
    ],
)
def test_same_error_before_weights_are_looked_for(tmp_path, monkeypatch, name, functions, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', '1')
    messages = set()
    for function in functions:
        with pytest.raises(ConfigError, match=message) as error:
            function(name)
        messages.add(str(error.value))
    assert len(messages) == 1
    student = message.rpartition(' ')[2].removesuffix('$')
    if student.startswith('mmpose::'):
        assert find_name(student) == student.removeprefix('mmpose::')


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ("'resnet'", "config.py: model is 'resnet': expected a dict"),
        ("dict(backbone='resnet')", "model.backbone is 'resnet': expected a dict"),
        ("dict(backbone=dict(), head=dict(decoder=['x']))", "head.decoder is .'x'.: expected a di"),
        ('None', 'config.py has no model.backbone'),
    ],
)
def test_parts_of_a_model_that_are_no_dicts(tmp_path, model, message):
    path = tmp_path / 'config.py'
    path.write_text(f'model = {model}\n')
    with pytest.raises(ConfigError, match=message):
        pose_backbones.PoseInferencer(path)


def test_weights_of_a_detector_are_not_looked_for_before_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', '1')
    image, out = str(ROOT / 'docs/demo_excerpt.jpg'), str(tmp_path / 'out')
    with pytest.raises(ConfigError, match='predicts keypoints in 3D'):
        cli_infer.main([image, '--model', 'hand3d', '--detector', 'rtmdet-m', '--out', out])


def test_weights_of_another_model_raise(checkpoint):
    """Weights are loaded strictly."""
    with pytest.raises(
        CheckpointError, match="appears to be MogaNet 'x-tiny', but the model is 'tiny'"
    ):
        pose_backbones.build('td-hm_moganet-t_8xb32-210e_coco-256x192', pretrained=str(checkpoint))
