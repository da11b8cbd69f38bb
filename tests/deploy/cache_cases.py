"""`PoseInferencer` with backends other than PyTorch, and the cache of exported models.

Run by test_export.py.
"""

import json
import os
import platform
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_backbones import PoseInferencer
from pose_backbones.deploy import cache, export, timing
from pose_backbones.deploy.estimator import ExportedEstimator
from pose_backbones.deploy.exported import is_exported, read_exported
from pose_backbones.errors import ConfigError, ExportError
from pose_backbones.inference import backends
from pose_backbones.inference.predictors import CropPredictor, TorchRuntime
from tests.helpers.bottom_up_export import bottom_up_estimator
from tests.helpers.pose_cases import BOTTOM_UP, boxes_in, estimator, make_image
from tests.helpers.tools import run_code

FLOAT_ERROR = 1e-3  # pixels


@pytest.fixture(scope='module')
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the model once, to OpenVINO without the flip test."""
    folder = tmp_path_factory.mktemp('filled')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TORCH_HOME', str(folder))
        PoseInferencer(estimator(), backend='openvino')
    return folder


@pytest.fixture(autouse=True)
def cache_folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Use an empty cache, or a copy of `filled` if a test requests it, and the default backend.

    Exported models count as faster than PyTorch.
    """
    home = tmp_path / 'torch'
    if 'filled' in request.fixturenames:
        shutil.copytree(request.getfixturevalue('filled'), home)
    monkeypatch.setenv('TORCH_HOME', str(home))
    monkeypatch.delenv('POSE_BACKBONES_BACKEND')
    monkeypatch.setattr(backends, 'speed_ratio', lambda *_: 2.0)
    return cache.cache_dir()


@pytest.fixture
def copied_exports(filled: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Copy the model of `filled` instead of exporting one; note the precision of each export."""
    (source,) = (filled / 'hub/pose_backbones/exported').iterdir()
    precisions = []

    def export(_: object, folder: Path, __: str, precision: str) -> tuple:
        precisions.append(precision)
        shutil.copytree(source, folder)
        return read_exported(folder), None

    monkeypatch.setattr(cache, 'export_model', export)
    return precisions


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def keypoints(**options) -> np.ndarray:
    image, boxes = make_image(1), boxes_in(1, 5)
    (result,) = PoseInferencer(estimator(), **options)(image, boxes)
    return result.keypoints


def uses_torch(pose: PoseInferencer) -> bool:
    return not isinstance(pose._predictor, CropPredictor) or isinstance(
        pose._predictor.runtime, TorchRuntime
    )


@pytest.mark.parametrize(('backend', 'flip_test'), [('onnx', False), ('openvino', True)])
def test_keypoints_equal_pytorch(backend: str, flip_test: bool) -> None:
    expected = keypoints(backend='torch', flip_test=flip_test)
    other = keypoints(backend='torch', flip_test=not flip_test)
    assert np.abs(other - expected).max() > 0.1
    result = keypoints(backend=backend, flip_test=flip_test)
    np.testing.assert_allclose(result, expected, atol=FLOAT_ERROR)


def test_export_is_reused(cache_folder: Path, mmengine_log, monkeypatch) -> None:
    expected = keypoints(backend='torch')
    assert entries(cache_folder) == []
    np.testing.assert_allclose(keypoints(), expected, atol=FLOAT_ERROR)
    (folder,) = entries(cache_folder)
    assert is_exported(folder)
    messages = mmengine_log.messages
    assert sum('exporting the model to openvino (fp32), once' in text for text in messages) == 1
    assert messages[-1] == 'using openvino (fp32)'
    monkeypatch.setattr(cache, 'export_model', None)
    np.testing.assert_allclose(keypoints(), expected, atol=FLOAT_ERROR)


def test_other_weights_are_another_entry(cache_folder: Path, filled: Path) -> None:
    model = estimator()
    with torch.no_grad():
        model.head.final_layer.weight.mul_(-1)
    try:
        image, boxes = make_image(1), boxes_in(1, 5)
        (result,) = PoseInferencer(model)(image, boxes)
        (expected,) = PoseInferencer(model, backend='torch')(image, boxes)
    finally:
        estimator.cache_clear()
    np.testing.assert_allclose(result.keypoints, expected.keypoints, atol=FLOAT_ERROR)
    assert len(entries(cache_folder)) == 2


def test_changed_code_of_the_model_is_noticed(
    cache_folder: Path, filled: Path, mmengine_log, monkeypatch
) -> None:
    """The weights and the config are the same."""
    (folder,) = entries(cache_folder)
    created = (folder / 'model.bin').stat().st_ino
    model = estimator()
    forward = type(model.head).forward
    monkeypatch.setattr(type(model.head), 'forward', lambda self, x: -forward(self, x))
    expected = keypoints(backend='torch')
    np.testing.assert_allclose(keypoints(), expected, atol=FLOAT_ERROR)
    assert entries(cache_folder) == [folder]
    assert (folder / 'model.bin').stat().st_ino != created
    assert any('deviates from PyTorch' in text for text in mmengine_log.messages)


@pytest.mark.parametrize('name', ['model.bin', 'model.json'])
def test_damaged_entry_is_exported_again(
    cache_folder: Path, copied_exports: list[str], mmengine_log, name: str
) -> None:
    (folder,) = entries(cache_folder)
    path = folder / name
    path.write_bytes(path.read_bytes()[:-10])
    np.testing.assert_allclose(keypoints(), keypoints(backend='torch'), atol=FLOAT_ERROR)
    assert copied_exports == ['fp32']
    assert entries(cache_folder) == [folder]
    assert any('removed from the cache' in text for text in mmengine_log.messages)


def test_failed_export_is_not_repeated(cache_folder: Path, mmengine_log, monkeypatch) -> None:
    def fail(*_) -> None:
        raise ExportError('the exported model deviates from PyTorch: by much')

    monkeypatch.setattr(cache, 'export_model', fail)
    expected = keypoints(backend='torch')
    np.testing.assert_array_equal(keypoints(), expected)
    assert mmengine_log.messages[-1] == (
        'using PyTorch, not OpenVINO: the exported model deviates from PyTorch: by much'
    )
    monkeypatch.setattr(cache, 'export_model', None)
    np.testing.assert_array_equal(keypoints(), expected)
    with pytest.raises(ExportError, match=r'by much \(remove .*\.failed to try again\)'):
        PoseInferencer(estimator(), backend='openvino')


def test_cache_is_not_writable(cache_folder: Path, mmengine_log) -> None:
    cache_folder.parent.mkdir(parents=True)
    cache_folder.write_text('a file')
    np.testing.assert_array_equal(keypoints(), keypoints(backend='torch'))
    assert 'using PyTorch, not OpenVINO' in mmengine_log.messages[-1]


def test_size_of_the_cache_is_limited(
    cache_folder: Path, copied_exports: list[str], monkeypatch
) -> None:
    (first,) = entries(cache_folder)
    old = time.time() - 3 * 24 * 3600
    draft = cache_folder / 'x.1.part'
    draft.mkdir()
    os.utime(draft, (old, old))
    os.utime(first, (old, old))
    PoseInferencer(estimator(), half=True)
    (second,) = (path for path in entries(cache_folder) if path != first)
    assert first.is_dir()
    assert not draft.exists()
    monkeypatch.setattr(cache, '_MAX_BYTES', 1000)
    shutil.rmtree(second)
    PoseInferencer(estimator(), half=True)
    assert entries(cache_folder) == [second]


def test_half_precision(copied_exports: list[str], mmengine_log, monkeypatch) -> None:
    for supported, message in (
        (True, 'using openvino (bf16)'),
        (False, 'using openvino (fp32, since this CPU has no instructions for bfloat16)'),
    ):
        monkeypatch.setattr(backends, 'supports_bfloat16', lambda supported=supported: supported)
        PoseInferencer(estimator(), half=True)
        assert mmengine_log.messages[-1] == message
    assert copied_exports == ['bf16']


def test_slower_export_is_not_used(copied_exports: list[str], mmengine_log, monkeypatch) -> None:
    """The speed is measured once for each number of threads, with the crops of two people."""
    shapes = []

    def measure(first: TorchRuntime, second: object, crops: np.ndarray, *_: float) -> float:
        shapes.append(crops.shape)
        for outputs in zip(first(crops), second(crops), strict=True):
            np.testing.assert_allclose(*outputs, atol=FLOAT_ERROR)
        return 0.625

    monkeypatch.setattr(backends, 'speed_ratio', measure)
    for _ in range(2):
        assert uses_torch(PoseInferencer(estimator()))
        assert mmengine_log.messages[-1] == (
            'using PyTorch, which is 1.6 times as fast as openvino (fp32) for this model on this '
            'machine'
        )
    assert shapes == [(2, 64, 48, 3)]
    assert not uses_torch(PoseInferencer(estimator(), backend='openvino'))
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 7)
    assert uses_torch(PoseInferencer(estimator()))
    assert len(shapes) == 2


def test_speed_is_measured_for_each_precision_of_pytorch(filled: Path, monkeypatch) -> None:
    """Without instructions for bfloat16, both have the same exported model."""
    monkeypatch.setattr(backends, 'supports_bfloat16', lambda: False)
    monkeypatch.setattr(backends, 'speed_ratio', lambda first, *_: 2.0 if first.half else 0.5)
    for _ in range(2):
        assert uses_torch(PoseInferencer(estimator()))
        assert not uses_torch(PoseInferencer(estimator(), half=True))


@pytest.mark.parametrize(
    'content', ['', '[1]', '{"other machine": 0.5}', '{"KEY": 0.0}', '{"KEY": NaN}']
)
def test_unusable_measurements_are_replaced(
    cache_folder: Path, filled: Path, monkeypatch, content: str
) -> None:
    (folder,) = entries(cache_folder)
    file = folder / 'speed.json'
    file.write_text(
        content.replace('KEY', f'{platform.node()}, threads: {torch.get_num_threads()}')
    )
    monkeypatch.setattr(backends, 'speed_ratio', timing.speed_ratio)
    PoseInferencer(estimator())
    *others, ratio = json.loads(file.read_text()).values()
    assert others == ([0.5] if 'other' in content else [])
    assert ratio > 0
    stored = file.read_bytes()
    monkeypatch.setattr(backends, 'speed_ratio', None)
    PoseInferencer(estimator())
    assert file.read_bytes() == stored


def test_other_bottom_up_models_use_pytorch(cache_folder: Path, mmengine_log) -> None:
    assert uses_torch(PoseInferencer(estimator(BOTTOM_UP), half=True))
    assert 'using PyTorch, not OpenVINO' in mmengine_log.messages[-1]
    with pytest.raises(ConfigError, match='expected ResizeAlign'):
        PoseInferencer(estimator(BOTTOM_UP), backend='openvino')
    assert entries(cache_folder) == []


def test_hrcomer(
    cache_folder: Path, tmp_path: Path, mmengine_log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, PyTorch is faster, so that OpenVINO is used only if it is named."""
    model = bottom_up_estimator(tmp_path)
    images = [make_image(1, 80, 60), make_image(2, 50, 120)]
    expected = list(PoseInferencer(model)(images))
    assert mmengine_log.messages[-1] == 'using PyTorch, which is faster for this model'
    PoseInferencer(model, backend='openvino')
    assert mmengine_log.messages[-1] == 'using openvino (fp32)'
    monkeypatch.setattr(cache, 'export_model', None)  # the model is exported once
    results = list(PoseInferencer(model, backend='openvino')(images))
    for result, people in zip(results, expected, strict=True):
        assert result.keypoints.shape == (6, 17, 2)
        np.testing.assert_allclose(result.keypoints, people.keypoints, atol=0.05)
        np.testing.assert_allclose(result.scores, people.scores, atol=1e-4)


def test_hrcomer_in_half_precision(
    cache_folder: Path, tmp_path: Path, mmengine_log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The people of random weights may differ in bfloat16, so the difference is not checked."""
    monkeypatch.setattr(backends, 'supports_bfloat16', lambda: True)
    monkeypatch.setattr(export, 'check_difference', lambda *_: None)
    pose = PoseInferencer(bottom_up_estimator(tmp_path), half=True)
    assert mmengine_log.messages[-1] == 'using openvino (bf16)'
    assert isinstance(pose._predictor.model, ExportedEstimator)
    assert pose._predictor.model.description['precision'] == 'bf16'
    (result,) = pose(make_image(1, 80, 60))
    assert result.keypoints.shape == (6, 17, 2)


def test_package_is_missing(mmengine_log, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, 'openvino', None)
    assert uses_torch(PoseInferencer(estimator()))
    assert mmengine_log.messages[-1].endswith('is not installed: pip install openvino')
    with pytest.raises(ConfigError, match='pip install openvino'):
        PoseInferencer(estimator(), backend='openvino')


def test_environment_variable(cache_folder: Path, filled: Path, monkeypatch) -> None:
    monkeypatch.setenv('POSE_BACKBONES_BACKEND', 'torch')
    assert uses_torch(PoseInferencer(estimator()))
    assert not uses_torch(PoseInferencer(estimator(), backend='openvino'))
    monkeypatch.setenv('POSE_BACKBONES_BACKEND', 'tensorrt')
    with pytest.raises(ValueError, match="POSE_BACKBONES_BACKEND is 'tensorrt': expected 'auto'"):
        PoseInferencer(estimator())
    with pytest.raises(ValueError, match="backend is 'cuda': expected 'auto', 'torch'"):
        PoseInferencer(estimator(), backend='cuda')


def test_two_processes_export_at_once(cache_folder: Path) -> None:
    code = (
        'import subprocess, sys\n'
        'one = "from tests.deploy.cache_cases import keypoints; print(keypoints().tolist())"\n'
        'runs = [subprocess.Popen([sys.executable, "-c", one], stdout=-1) for _ in range(2)]\n'
        'outputs = [run.communicate()[0].splitlines()[-1] for run in runs]\n'
        'assert outputs[0] == outputs[1]\n'
        'print(outputs[0].decode(), [run.returncode for run in runs])\n'
    )
    done = run_code(code)
    assert done.returncode == 0, done.stdout
    assert done.stdout.strip().endswith('[0, 0]')
    assert [is_exported(path) for path in entries(cache_folder)] == [True]
