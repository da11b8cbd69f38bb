"""Models that are quantized with NNCF, run by test_export.py."""

import json
from pathlib import Path

import numpy as np
import openvino
import pytest

from pose_backbones import PoseInferencer
from pose_backbones.cli.export import main as export_command
from pose_backbones.deploy import quantization
from pose_backbones.deploy.export import export_model
from pose_backbones.deploy.quantization import MIN_CROPS
from pose_backbones.deploy.verification import example_crops
from pose_backbones.errors import ExportError
from tests.deploy.test_crop_model import build
from tests.helpers.pose_cases import estimator, make_image, write_checkpoint, write_config
from tests.helpers.tools import run_code

CROPS = example_crops((48, 64), MIN_CROPS, seed=1)


@pytest.fixture
def any_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept the results of a model with random weights, which have no clear peaks."""
    monkeypatch.setattr(quantization, 'MIN_OKS', 0.2)
    monkeypatch.setattr(quantization, 'speed_ratio', lambda *_: 1.25)


@pytest.mark.usefixtures('any_result')
def test_int8(tmp_path: Path) -> None:
    exported, result = export_model(
        estimator(), tmp_path / 'int8', precision='int8', calibration=CROPS
    )
    files = {'README.md', 'config.json', 'example.py', 'model.bin', 'model.xml'}
    assert {path.name for path in exported.folder.iterdir()} == files | {'model.json'}
    record = exported.description['verification']
    assert record == json.loads((exported.folder / 'model.json').read_text())['verification']
    assert record['crops'] == MIN_CROPS // 4
    assert record['ratio'] == 1.25
    assert record['reference'] in ('bf16', 'fp32')
    assert 'nncf' in exported.description['versions']
    model = openvino.Core().read_model(exported.path)
    assert model.input().partial_shape[0].is_dynamic
    assert sum(node.get_type_name() == 'FakeQuantize' for node in model.get_ops()) > 10

    export_model(estimator(), tmp_path / 'fp32')
    image = make_image(0)
    box = [(10, 5, 60, 50)]
    (expected,), (actual,) = (
        PoseInferencer(tmp_path / name)(image, box) for name in ('fp32', 'int8')
    )
    # Of maps without clear peaks, the heights are similar, but not the positions.
    assert not np.array_equal(actual.scores, expected.scores)
    assert np.corrcoef(actual.scores[0], expected.scores[0])[0, 1] > 0.9
    assert result.as_dict() == record


@pytest.mark.usefixtures('any_result')
def test_layers_that_are_not_quantized(tmp_path: Path) -> None:
    """The last convolution and the smoothing of the maps have inputs in float32."""
    exported, _ = export_model(
        build('udp', True), tmp_path / 'out', precision='int8', calibration=CROPS
    )
    model = openvino.Core().read_model(exported.path)
    quantized = {'FakeQuantize': 0, 'other': 0}
    for node in model.get_ops():
        if node.get_type_name().startswith(('Convolution', 'GroupConvolution')):
            source = node.input_value(0).get_node().get_type_name()
            quantized['FakeQuantize' if source == 'FakeQuantize' else 'other'] += 1
    assert quantized['FakeQuantize'] > 5
    names = quantization.layers_in_float(model)
    operators = {node.get_friendly_name(): node for node in model.get_ops()}
    kinds = [operators[name].get_type_name() for name in names if name in operators]
    assert 'FakeQuantize' not in kinds
    assert sum(kind in quantization._WEIGHTED for kind in kinds) >= 2


def test_deviation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, 'MIN_OKS', 1.1)
    with pytest.raises(ExportError, match=r'mean OKS with those of fp32 is 0\.\d{4} on 16 crops'):
        export_model(estimator(), tmp_path / 'out', precision='int8', calibration=CROPS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures('any_result')
@pytest.mark.parametrize('reference', ['bf16', 'fp32'])
def test_slower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    monkeypatch.setattr(quantization, 'speed_ratio', lambda *_: 0.85)
    monkeypatch.setattr(quantization, 'supports_bfloat16', lambda: reference == 'bf16')
    message = f'int8 is not faster than {reference} on this CPU, but 0.85 times as fast: use '
    with pytest.raises(ExportError, match=message):
        export_model(estimator(), tmp_path / 'out', precision='int8', calibration=CROPS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures('any_result')
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import cv2

    images = tmp_path / 'images'
    images.mkdir()
    for index in range(MIN_CROPS):
        cv2.imwrite(str(images / f'{index}.png'), make_image(index))
    config, weights = write_config(tmp_path), write_checkpoint(tmp_path)
    out = tmp_path / 'model'
    options = ['--weights', weights, '--out', out, '--precision', 'int8', '--calibration', images]
    export_command([str(value) for value in (config, *options)])
    printed = capsys.readouterr()
    assert 'openvino, int8, compared with fp32:' in printed.out
    assert 'on 16 crops that were not used for the calibration; 1.25 times' in printed.out
    assert 'Statistics collection' not in printed.out + printed.err


def test_nncf_sends_no_usage_data() -> None:
    code = (
        'import os, sys\n'
        'from pose_backbones.deploy.runtimes import import_backend, import_nncf\n'
        'import_backend("openvino")\n'
        'nncf = import_nncf()\n'
        'assert "openvino_telemetry" not in sys.modules\n'
        'from nncf.telemetry.wrapper import NNCFTelemetry, telemetry\n'
        'print(isinstance(telemetry, NNCFTelemetry))\n'
    )
    done = run_code(code)
    assert done.returncode == 0, done.stdout
    assert done.stdout.split()[-1] == 'False'
