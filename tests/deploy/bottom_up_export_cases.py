"""Exported HRCoMer models against PyTorch, run by test_export.py."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pose_backbones import PoseInferencer
from pose_backbones.cli.export import main as export_command
from pose_backbones.deploy.export import export_model
from pose_backbones.deploy.exported import read_exported
from pose_backbones.errors import ConfigError
from tests.helpers.bottom_up_export import bottom_up_estimator, write_bottom_up_config
from tests.helpers.pose_cases import make_image
from tests.helpers.tools import run_tool

#: sizes of images with several aspect ratios
SIZES = ((80, 60), (64, 64), (200, 50), (50, 120), (80, 60))
#: backend → fixed size, flip test
BACKENDS = {'openvino': (None, True), 'onnx': ((96, 64), False), 'torch-export': (None, False)}


@pytest.fixture(scope='module')
def estimator(tmp_path_factory) -> nn.Module:
    return bottom_up_estimator(tmp_path_factory.mktemp('config'))


@pytest.fixture(scope='module')
def exported(tmp_path_factory, estimator) -> dict[str, Path]:
    folders = {}
    for backend, (size, flip_test) in BACKENDS.items():
        folders[backend] = tmp_path_factory.mktemp('exported') / backend
        export_model(estimator, folders[backend], backend, flip_test=flip_test, image_size=size)
    return folders


def images() -> list[np.ndarray]:
    return [make_image(seed, *size) for seed, size in enumerate(SIZES)]


def reference(estimator: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """Return the results of PyTorch with the test pipeline of an exported model."""
    exported = read_exported(folder)
    monkeypatch.setattr(estimator, 'cfg', exported.cfg)
    pose = PoseInferencer(estimator, flip_test=exported.description['flip_test'])
    return list(pose(images()))


@pytest.mark.parametrize('backend', BACKENDS)
def test_people_equal_pytorch(
    exported: dict[str, Path], estimator, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = reference(estimator, exported[backend], monkeypatch)
    for batch_size in (1, 2):
        pose = PoseInferencer(exported[backend], batch_size=batch_size)
        for result, people in zip(pose(images()), expected, strict=True):
            assert people.keypoints.shape == (6, 17, 2)
            np.testing.assert_allclose(result.keypoints, people.keypoints, atol=0.05)
            np.testing.assert_allclose(result.scores, people.scores, atol=1e-4)
            np.testing.assert_allclose(result.boxes, people.boxes, atol=0.05)
            assert result.names == people.names


@pytest.mark.parametrize('backend', BACKENDS)
def test_example_runs_without_this_package(
    exported: dict[str, Path],
    estimator,
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = reference(estimator, exported[backend], monkeypatch)[2]
    cv2.imwrite(str(tmp_path / 'image.png'), images()[2])
    blocked = ['pose_backbones', 'mmpose', 'mmengine', 'mmcv', 'timm']
    blocked += ['torch'] if backend != 'torch-export' else []
    paths = [path for path in sys.path if 'site-packages' in path]
    code = (
        f'import sys\nsys.path += {paths}\nimport runpy\n'
        f'sys.modules.update({{name: None for name in {blocked}}})\n'
        f'sys.argv = ["example.py", "image.png"]\n'
        f'runpy.run_path({str(exported[backend] / "example.py")!r}, run_name="__main__")\n'
    )
    done = subprocess.run(
        [sys.executable, '-S', '-c', code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line]
    assert [row[0] for row in rows] == list(expected.names) * len(expected.keypoints)
    values = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(values[:, :2], expected.keypoints.reshape(-1, 2), atol=0.1)
    np.testing.assert_allclose(values[:, 2], expected.scores.ravel(), atol=1e-3)


def test_description(exported: dict[str, Path]) -> None:
    description = json.loads((exported['openvino'] / 'model.json').read_text())
    assert description['kind'] == 'bottom-up'
    assert description['image_size'] is None
    assert (description['short_side'], description['size_divisor']) == (64, 32)
    assert description['max_people'] == 6
    assert description['flip_test'] is True
    assert description['verification']['stable'] > 0.5
    assert description['verification']['max_pixels'] < 0.05
    assert json.loads((exported['onnx'] / 'model.json').read_text())['image_size'] == [96, 64]


def test_evaluation(exported: dict[str, Path], estimator, tmp_path: Path, synthetic: Path) -> None:
    """tools/test.py predicts the same people."""
    config, weights = write_bottom_up_config(tmp_path), tmp_path / 'weights.pth'
    torch.save(dict(state_dict=estimator.state_dict()), weights)
    predictions, metrics = [], []
    for model in (weights, exported['openvino']):
        dump, out = (tmp_path / f'{len(metrics)}{suffix}' for suffix in ('.pkl', '.json'))
        options = ('--data-root', synthetic, '--work-dir', tmp_path / 'work', '--out', out)
        options += ('--dump', dump, '--cfg-options', 'model.test_cfg.flip_test=True')
        done = run_tool('test.py', config, model, *options)
        assert done.returncode == 0, done.stdout
        metrics.append(json.loads(out.read_text()))
        predictions.append(pickle.loads(dump.read_bytes()))
    assert metrics[1] == pytest.approx(metrics[0], abs=1e-6)
    assert len(predictions[0]) == 10
    for expected, result in zip(*predictions, strict=True):
        people, found = (sample['pred_instances'] for sample in (expected, result))
        assert len(people['keypoints']) == 6
        np.testing.assert_allclose(found['keypoints'], people['keypoints'], atol=0.5)
        np.testing.assert_allclose(found['keypoint_scores'], people['keypoint_scores'], atol=1e-3)


def test_half_precision(estimator, tmp_path: Path) -> None:
    """The backbone computes in bfloat16, the head in float32."""
    import openvino

    exported, difference = export_model(
        estimator, tmp_path / 'half', 'openvino', 'bf16', image_size=(96, 64)
    )
    assert difference.max_pixels <= 1
    options = {'INFERENCE_PRECISION_HINT': 'f32'}
    model = openvino.Core().compile_model(str(exported.path), 'CPU', options)
    kinds: dict[str, set[str]] = {}
    for node in model.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kinds.setdefault(info['layerType'].astype(str), set()).add(
            info['runtimePrecision'].astype(str)
        )
    assert kinds['Interpolate'] == {'bf16'}
    assert kinds['GridSample'] == kinds['MatMul'] == {'f32'}


def test_arguments(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        export_command(['x.py', '--out', str(tmp_path / 'x'), '--image-size', '100'])
    with pytest.raises(ConfigError, match='--image-size is 100x64'):
        export_command(['x.py', '--out', str(tmp_path / 'x'), '--image-size', '100x64'])
