"""Tests of MMPose's inferencers with models of this package, by name, by config and in its demo."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.infer import BaseInferencer
from mmpose.apis import MMPoseInferencer

import pose_backbones
from pose_backbones import PoseInferencer
from pose_backbones._compat import model_names
from tests.helpers.pose_cases import make_image, write_checkpoint, write_config
from tests.helpers.tools import ROOT, run_tool

NAME = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


@pytest.fixture
def image(tmp_path):
    path = str(tmp_path / 'image.png')
    assert cv2.imwrite(path, make_image(1))
    return path


def predict_with_mmpose(image: str, **arguments) -> np.ndarray:
    """Return the keypoints (instances, K, 2) that MMPose predicts in the whole image."""
    inferencer = MMPoseInferencer(device='cpu', det_model='whole_image', **arguments)
    (instances,) = next(inferencer(image))['predictions']
    return np.array([instance['keypoints'] for instance in instances])


def predict_with_pose_backbones(image: str, *arguments) -> np.ndarray:
    return next(PoseInferencer(*arguments, device='cpu')(image)).keypoints


@pytest.mark.parametrize(
    'name', [NAME, 'moganet-xt_synthetic-128x96', f'pose_backbones::moganet/{NAME}.py']
)
def test_inferencer_accepts_model_name(name, image, tmp_path):
    torch.manual_seed(0)
    weights = str(tmp_path / 'weights.pth')
    torch.save(dict(state_dict=pose_backbones.build(NAME).state_dict()), weights)
    keypoints = predict_with_mmpose(image, pose2d=name, pose2d_weights=weights)
    np.testing.assert_allclose(
        keypoints, predict_with_pose_backbones(image, NAME, weights), atol=1e-2
    )


def test_inferencer_accepts_config(image, tmp_path):
    config, weights = write_config(tmp_path), write_checkpoint(tmp_path)
    keypoints = predict_with_mmpose(image, pose2d=str(config), pose2d_weights=str(weights))
    assert keypoints.shape == (1, 17, 2)
    np.testing.assert_allclose(
        keypoints, predict_with_pose_backbones(image, config, weights), atol=1e-2
    )


def test_mmpose_demo_runs(image, tmp_path):
    config, weights = write_config(tmp_path), write_checkpoint(tmp_path)
    out = tmp_path / 'out'
    done = run_tool(
        ROOT / 'demo/inferencer_demo.py',
        image,
        '--pose2d',
        config,
        '--pose2d-weights',
        weights,
        '--det-model',
        'whole_image',
        '--device',
        'cpu',
        '--vis-out-dir',
        out,
        '--pred-out-dir',
        out,
    )
    assert done.returncode == 0, done.stdout
    (person,) = json.loads((out / 'image.json').read_text())
    np.testing.assert_allclose(
        [person['keypoints']], predict_with_pose_backbones(image, config, weights), atol=1e-2
    )
    drawn = cv2.imread(str(out / 'image.png')).astype(int)
    assert np.abs(drawn - make_image(1)).max() > 50


def test_model_name_selects_released_weights():
    """The URL of the weights is found, as for MMPose's own model names."""
    model = pose_backbones.zoo.read_models()['td-hm_moganet-s_8xb32-210e_coco-256x192']
    inferencer = BaseInferencer.__new__(MMPoseInferencer)
    inferencer.scope = 'mmpose'
    config, weights = inferencer._load_model_from_metafile('moganet-s_coco-256x192')
    assert weights.startswith('http')
    assert weights == model.weights
    assert config.filename.endswith(f'{model.name}.py')


def test_unknown_model_name_raises():
    with pytest.raises(
        ValueError,
        match="Cannot find model: moganet-q in mmpose; unknown model 'moganet-q': expected",
    ):
        MMPoseInferencer(pose2d='moganet-q')
    with pytest.raises(ValueError, match='pose_backbones::moganet/q.py'):
        MMPoseInferencer(pose2d='pose_backbones::moganet/q.py')


def test_other_scopes_are_not_changed():
    inferencer = BaseInferencer.__new__(MMPoseInferencer)
    inferencer.scope = 'pose_backbones'
    with pytest.raises(ValueError, match='^Cannot find model: q in pose_backbones$'):
        inferencer._load_model_from_metafile('q')


def test_install_twice_has_no_effect():
    before = BaseInferencer._load_model_from_metafile
    model_names.install(lambda name: (None, None))
    assert BaseInferencer._load_model_from_metafile is before
