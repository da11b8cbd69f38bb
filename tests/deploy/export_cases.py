"""Exported models against the PyTorch models they are made from, run by test_export.py."""

import json
import re
import runpy
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmpose.apis import init_model

from pose_backbones import PoseInferencer
from pose_backbones.cli.export import main as export_command
from pose_backbones.configs import load_config
from pose_backbones.deploy import quantization, timing, verification
from pose_backbones.deploy.crop_model import CropModel
from pose_backbones.deploy.estimator import ExportedEstimator, use_exported
from pose_backbones.deploy.export import export_model
from pose_backbones.deploy.exported import read_exported
from pose_backbones.deploy.precisions import PRECISIONS
from pose_backbones.deploy.quantization import quantize
from pose_backbones.deploy.runtimes import load_runtime, precision_hint
from pose_backbones.deploy.verification import check_difference, compare, example_crops
from pose_backbones.deploy.writing import write_model
from pose_backbones.errors import ConfigError, ExportError, WorkDirError
from pose_backbones.inference.loading import load_model
from tests.deploy.test_crop_model import build
from tests.helpers.pose_cases import (
    BOTTOM_UP,
    boxes_in,
    estimator,
    make_image,
    write_checkpoint,
    write_config,
)
from tests.helpers.processes import Server
from tests.helpers.tools import free_port, run_code, run_tool

BACKENDS = ('openvino', 'onnx', 'torch-export')


@pytest.fixture(scope='module')
def exported(tmp_path_factory) -> dict[str, Path]:
    """Export the tiny model with the flip test, once for each backend."""
    folders = {}
    for backend in BACKENDS:
        folders[backend] = tmp_path_factory.mktemp('exported') / backend
        export_model(estimator(), folders[backend], backend, flip_test=True)
    return folders


def images_and_boxes() -> tuple[list[np.ndarray], list[np.ndarray]]:
    images = [make_image(k, *size) for k, size in enumerate(((80, 60), (64, 64), (200, 50)))]
    boxes = [boxes_in(k, 3, image.shape[1], image.shape[0]) for k, image in enumerate(images)]
    return images, boxes


@pytest.mark.parametrize('backend', BACKENDS)
def test_keypoints_equal_pytorch(exported: dict[str, Path], backend: str) -> None:
    images, boxes = images_and_boxes()
    expected = list(PoseInferencer(estimator(), flip_test=True)(images, boxes))
    for batch_size in (1, 4):
        pose = PoseInferencer(exported[backend], batch_size=batch_size)
        for result, reference in zip(pose(images, boxes), expected, strict=True):
            np.testing.assert_allclose(result.keypoints, reference.keypoints, atol=1e-3)
            np.testing.assert_allclose(result.scores, reference.scores, atol=1e-5)
            np.testing.assert_array_equal(result.boxes, reference.boxes)
            assert result.names == reference.names


class TestRuntimes:
    """What all backends do with crops."""

    @pytest.fixture(scope='class', params=BACKENDS)
    def runtime(self, request, exported: dict[str, Path]):
        model = read_exported(exported[request.param])
        return load_runtime(request.param, model.path, 'fp32', threads=1)

    def test_zero_crops(self, runtime) -> None:
        keypoints, scores = runtime(np.zeros((0, 64, 48, 3), np.uint8))
        assert (keypoints.shape, keypoints.dtype) == ((0, 17, 2), np.float32)
        assert (scores.shape, scores.dtype) == ((0, 17), np.float32)

    def test_number_of_crops_does_not_change_the_keypoints(self, runtime) -> None:
        crops = example_crops((48, 64), 5)
        expected = [runtime(crop[None]) for crop in crops]
        for count in (2, 5):
            results = runtime(crops[:count])
            for values, parts in zip(results, zip(*expected[:count]), strict=True):
                np.testing.assert_allclose(values, np.concatenate(parts), atol=1e-4)
        keypoints, _ = runtime(crops[::2])  # not contiguous
        np.testing.assert_allclose(keypoints[2], expected[4][0][0], atol=1e-4)

    @pytest.mark.parametrize(
        'crops',
        [
            np.zeros((2, 64, 48, 3), np.float32),
            np.zeros((2, 48, 64, 3), np.uint8),
            np.zeros((64, 48, 3), np.uint8),
            np.zeros((2, 3, 64, 48), np.uint8),
        ],
        ids=['type', 'size', 'one crop', 'layout'],
    )
    def test_other_crops(self, runtime, crops: np.ndarray) -> None:
        shape = re.escape(str(crops.shape))
        message = rf'shape {shape} and the type {crops.dtype}: expected \(N, 64, 48, 3\) and uint8'
        with pytest.raises(ValueError, match=message):
            runtime(crops)

    def test_calls_of_several_threads(self, runtime) -> None:
        crops = example_crops((48, 64), 6)
        expected = runtime(crops)
        with ThreadPoolExecutor(3) as pool:
            for first, (keypoints, _) in enumerate(
                pool.map(lambda first: runtime(crops[first : first + 3]), range(4))
            ):
                np.testing.assert_allclose(keypoints, expected[0][first : first + 3], atol=1e-4)


_AFFINITIES = """
import os, sys
from pathlib import Path
import numpy as np
from pose_backbones.deploy.runtimes import load_runtime

run = load_runtime('openvino', Path(sys.argv[1]), 'fp32', 1)
for count in (1, 3):
    run(np.zeros((count, 64, 48, 3), np.uint8))
cores = [os.sched_getaffinity(int(name)) for name in os.listdir('/proc/self/task')]
print(len(cores), all(each == os.sched_getaffinity(0) for each in cores))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='the affinity of threads is read in /proc')
def test_openvino_threads_may_use_all_cores(exported: dict[str, Path]) -> None:
    """By default, OpenVINO binds the threads of each process to the same cores."""
    done = run_code(_AFFINITIES, read_exported(exported['openvino']).path)
    count, has_all_cores = done.stdout.splitlines()[-1].split()
    assert int(count) > 1
    assert has_all_cores == 'True'


def test_no_images(exported: dict[str, Path]) -> None:
    assert ExportedEstimator(exported['openvino']).test_step(dict(inputs=[], data_samples=[])) == []


def test_number_of_threads(exported: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match='threads is 0: expected an integer of at least 1'):
        ExportedEstimator(exported['openvino'], threads=0)
    before = torch.get_num_threads()
    runtime = load_runtime('torch-export', exported['torch-export'] / 'model.pt2', 'fp32', 1)
    module, used = runtime._module, []

    def recorded(crops: torch.Tensor):
        used.append(torch.get_num_threads())
        return module(crops)

    runtime._module = recorded
    torch.set_num_threads(before + 1)
    try:
        runtime(example_crops((48, 64), 1))
        assert used == [1]
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize('backend', BACKENDS)
def test_example_runs_without_this_package(
    exported: dict[str, Path], backend: str, tmp_path: Path
) -> None:
    images, _ = images_and_boxes()
    image = images[0]
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    box = (10, 5, 60, 50)
    (expected,) = PoseInferencer(estimator(), flip_test=True)(image, [box])
    blocked = ['pose_backbones', 'mmpose', 'mmengine', 'mmcv', 'timm']
    blocked += ['torch'] if backend != 'torch-export' else []
    code = (
        f'import runpy, sys\n'
        f'sys.modules.update({{name: None for name in {blocked}}})\n'
        f'sys.argv = ["example.py", "image.png", "--box", *"{" ".join(map(str, box))}".split()]\n'
        f'runpy.run_path({str(exported[backend] / "example.py")!r}, run_name="__main__")\n'
    )
    done = subprocess.run(
        [sys.executable, '-S', '-c', _with_site(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == list(expected.names)
    values = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(values[:, :2], expected.keypoints[0], atol=0.06)
    np.testing.assert_allclose(values[:, 2], expected.scores[0], atol=1e-3)


def _with_site(code: str) -> str:
    """Add the directories of packages without running .pth files, which import this package."""
    return (
        f'import sys\nsys.path += {[path for path in sys.path if "site-packages" in path]}\n{code}'
    )


def test_description(exported: dict[str, Path]) -> None:
    description = json.loads((exported['openvino'] / 'model.json').read_text())
    assert description['input_size'] == [48, 64]
    assert description['box_padding'] == 1.25
    assert description['flip_test'] is True
    assert description['keypoints'][:2] == ['nose', 'left_eye']
    assert description['skeleton'][0] == [15, 13]
    assert description['sigmas'][:2] == [0.026, 0.025]
    assert description['verification']['stable'] > 0.8
    assert description['verification']['max_pixels'] < 0.05
    assert set(description['files']) == {
        'README.md',
        'config.json',
        'example.py',
        'model.bin',
        'model.xml',
    }
    metainfo = read_exported(exported['openvino']).dataset_meta
    for name, value in estimator().dataset_meta.items():
        np.testing.assert_equal(metainfo[name], json_lists(value))


def json_lists(value):
    return (
        [list(item) for item in value] if isinstance(value, list) and _is_nested(value) else value
    )


def _is_nested(value: list) -> bool:
    return bool(value) and isinstance(value[0], tuple)


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
def test_half_precision(tmp_path: Path, precision: str) -> None:
    """On CPUs without float16, where OpenVINO would compute fp16 in bfloat16, too."""
    model, difference = export_model(estimator(), tmp_path / 'half', 'openvino', precision)
    bound = PRECISIONS[precision]
    assert difference.max_pixels <= bound.pixels
    assert difference.max_score <= 2 * bound.noise
    crops = example_crops((48, 64))
    _, expected = load_runtime('openvino', model.path, precision)(crops)
    _, scores = runpy.run_path(str(tmp_path / 'half/example.py'))['load']()(crops)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize(
    ('supported', 'hints'), [(['FP16', 'BF16'], 'f32 f16 bf16'), (['BF16'], 'f32 f32 bf16')]
)
def test_precision_hint(supported: list[str], hints: str) -> None:
    core = SimpleNamespace(get_property=lambda device, name: supported)
    assert [precision_hint(core, name) for name in ('fp32', 'fp16', 'bf16')] == hints.split()


def test_evaluation(tmp_path: Path, synthetic: Path, tiny_config: Path) -> None:
    """tools/test.py computes the same metrics, in one process and in two."""
    model = init_model(load_config(str(tiny_config)), device='cpu')
    torch.manual_seed(0)
    torch.nn.init.normal_(model.head.final_layer.weight, std=0.5)
    weights, folder = tmp_path / 'weights.pth', tmp_path / 'exported'
    torch.save(dict(state_dict=model.state_dict()), weights)
    export_model(load_model(tiny_config, weights), folder)
    metrics = []
    for command in (
        ('test.py', tiny_config, weights),
        ('test.py', tiny_config, folder),
        ('dist_test.sh', tiny_config, folder, 2),
    ):
        out = tmp_path / f'{len(metrics)}.json'
        options = ('--data-root', synthetic, '--work-dir', tmp_path / 'work', '--out', out)
        done = run_tool(*command, *options, PORT=free_port())
        assert done.returncode == 0, done.stdout
        metrics.append(json.loads(out.read_text()))
    assert metrics[1] == metrics[2]
    assert metrics[1] == pytest.approx(metrics[0], abs=1e-6)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / 'model'
    config, weights = write_config(tmp_path), write_checkpoint(tmp_path)
    export_command([str(config), '--weights', str(weights), '--out', str(out)])
    assert 'openvino, fp32, compared with PyTorch' in capsys.readouterr().out
    assert not read_exported(out).description['flip_test']
    with pytest.raises(WorkDirError, match='already exists'):
        export_command([str(config), '--weights', str(weights), '--out', str(out)])


class TestDamagedDirectories:
    """Errors for directories that are not what `export_model` has written."""

    @pytest.fixture
    def folder(self, exported: dict[str, Path], tmp_path: Path) -> Path:
        import shutil

        return Path(shutil.copytree(exported['openvino'], tmp_path / 'copy'))

    def test_missing_file(self, folder: Path) -> None:
        (folder / 'model.bin').unlink()
        with pytest.raises(ExportError, match=r'has no file model\.bin: export the model again'):
            PoseInferencer(folder)

    def test_modified_file(self, folder: Path) -> None:
        path = folder / 'model.bin'
        path.write_bytes(path.read_bytes()[:-1] + b'x')
        with pytest.raises(ExportError, match=r'model\.bin was changed after the export'):
            PoseInferencer(folder)

    @pytest.mark.parametrize(
        ('change', 'message'),
        [
            (dict(format=2), 'has the format 2: expected 1'),
            (dict(backend='tensorrt'), "backend is 'tensorrt'"),
            (dict(precision=None), 'precision is None'),
            (dict(files={}), r'files has no model\.xml'),
            (dict(metainfo=[1]), 'metainfo: '),
        ],
    )
    def test_description(self, folder: Path, change: dict, message: str) -> None:
        path = folder / 'model.json'
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(ExportError, match=message):
            read_exported(folder)

    @pytest.mark.parametrize('content', ['', '[1]', '{"format": '])
    def test_json(self, folder: Path, content: str) -> None:
        (folder / 'model.json').write_text(content)
        with pytest.raises(ExportError, match=r'model\.json is damaged'):
            read_exported(folder)

    def test_other_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match='a directory from pose-backbones export'):
            PoseInferencer(tmp_path)


def test_arguments_that_contradict_the_export(
    exported: dict[str, Path], tmp_path: Path, tiny_config: Path
) -> None:
    with pytest.raises(ConfigError, match='half is True'):
        PoseInferencer(exported['openvino'], half=True)
    with pytest.raises(ConfigError, match='exported with flip_test=True'):
        PoseInferencer(exported['openvino'], flip_test=False)
    with pytest.raises(ConfigError, match='contains its weights'):
        PoseInferencer(exported['openvino'], write_checkpoint(tmp_path))
    cfg = load_config(str(tiny_config))
    with pytest.raises(ConfigError, match=r'crops of 96x128 .*: expected 48x64'):
        use_exported(cfg, str(exported['openvino']))


def test_unsupported_models_and_arguments(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    with pytest.raises(ConfigError, match='BottomupResize.*: expected ResizeAlign'):
        export_model(estimator(BOTTOM_UP), out)
    with pytest.raises(ConfigError, match=r'--image-size is 64x96, but TopdownPoseEstimator'):
        export_model(estimator(), out, image_size=(64, 96))
    with pytest.raises(ConfigError, match='bf16 is not available for the backend onnx'):
        export_model(estimator(), out, 'onnx', 'bf16')
    with pytest.raises(ValueError, match="backend is 'tensorrt': expected openvino"):
        export_model(estimator(), out, 'tensorrt')
    assert not out.exists()


def test_openvino_sends_no_usage_data(exported: dict[str, Path]) -> None:
    code = (
        'import os, sys\n'
        'from pose_backbones.deploy.runtimes import load_runtime\n'
        'from pathlib import Path\n'
        'os.fork = None  # usage data is sent by another process\n'
        'load_runtime("openvino", Path(sys.argv[1]), "fp32")\n'
        'assert "openvino_telemetry" not in sys.modules\n'
        'import openvino.tools.ovc.telemetry_utils as utils\n'
        'print(utils.tm.__name__)\n'
    )
    done = run_code(code, exported['openvino'] / 'model.xml')
    assert done.returncode == 0, done.stdout
    assert done.stdout.split()[-1] == 'openvino.tools.ovc.telemetry_stub'


def test_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(ConfigError, match='which is not installed: pip install openvino'):
        export_model(estimator(), tmp_path / 'out')


def test_missing_nncf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'nncf', None)
    message = 'int8 needs the package nncf, which is not installed: pip install nncf'
    with pytest.raises(ConfigError, match=message):
        export_model(estimator(), tmp_path / 'out', precision='int8')


class TestQuantization:
    """What does not need NNCF."""

    @pytest.fixture(autouse=True)
    def no_nncf(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, 'nncf', ModuleType('nncf'))

    @pytest.mark.parametrize(
        ('precision', 'shape', 'message'),
        [
            ('int8', (63, 64, 48, 3), 'calibration set has 63 crops: expected at least 64'),
            ('int8', (64, 48, 64, 3), r'\(64, 48, 64, 3\) .*: expected \(N, 64, 48, 3\) and uint8'),
            ('bf16', (64, 64, 48, 3), 'the precision is bf16: expected int8'),
        ],
    )
    def test_calibration(self, tmp_path: Path, precision: str, shape: tuple, message: str) -> None:
        crops = np.zeros(shape, np.uint8)
        with pytest.raises(ValueError, match=message):
            export_model(estimator(), tmp_path / 'out', precision=precision, calibration=crops)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize('sigmas', [None, [0.1] * 5])
    def test_sigmas(self, exported: dict[str, Path], sigmas: list | None) -> None:
        path = read_exported(exported['openvino']).path
        found = 'no' if sigmas is None else '5'
        with pytest.raises(ConfigError, match=f'has {found} sigmas, .*: expected 17'):
            quantize(path, example_crops((48, 64), 8), sigmas)

    def test_speed_ratio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 0.0
        monkeypatch.setattr(timing.time, 'perf_counter', lambda: now)

        def runtime(seconds: list[float]):
            calls = iter([100.0, *seconds, *[1.0] * 20])  # the first call compiles

            def run(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                nonlocal now
                now += next(calls)
                return crops, crops

            return run

        crops = np.zeros((1, 64, 48, 3), np.uint8)
        first, second = runtime([2.0, 3.0, 2.0, 2.5, 50.0]), runtime([1.0, 2.0, 1.0, 1.0, 1.0])
        ratio = timing.speed_ratio(first, second, crops, min_rounds=5, seconds=4.0)
        assert ratio == 2

    def test_accuracy(self) -> None:
        """The OKS of the worst keypoint, which is 12 pixels away, is exp(-12**2 / (2 k))."""
        crops = np.zeros((2, 64, 48, 3), np.uint8)
        keypoints = np.zeros((2, 17, 2), np.float32)
        moved = keypoints.copy()
        moved[1, 0, 0] = 12
        scores = np.ones((2, 17), np.float32)
        oks, pixels = quantization._compare(
            lambda _: (keypoints, scores), lambda _: (moved, scores), crops, np.full(17, 0.1)
        )
        area = 0.53 * 64 * 48 / 1.25**2
        similarity = np.exp(-(12**2) / (2 * area * 0.2**2))
        assert oks == pytest.approx((33 + similarity) / 34)
        assert pixels == pytest.approx(12 / 34)

    @pytest.mark.parametrize('name', ['heatmap', 'udp', 'simcc', 'rle'])
    def test_layers_in_float(self, tmp_path: Path, name: str) -> None:
        """The weights of the backbone are quantized; the last layer and the decoding are not."""
        import openvino

        write_model(CropModel(build(name, True)), 'openvino', 'int8', tmp_path)
        model = openvino.Core().read_model(tmp_path / 'model.xml')
        assert len(model.outputs) == 2
        names = set(quantization.layers_in_float(model))
        weighted = [
            node.get_friendly_name()
            for node in model.get_ops()
            if node.get_type_name() in quantization._WEIGHTED
        ]
        in_float = [layer for layer in weighted if layer in names]
        # one last layer, or one for each axis; the smoothing of UDP has one for each direction
        assert len(in_float) == dict(heatmap=1, udp=3, simcc=2, rle=1)[name]
        assert len(weighted) - len(in_float) > 10
        assert all(result.get_friendly_name() in names for result in model.get_results())


def test_calibration_options(tmp_path: Path) -> None:
    for options, message in (
        (['--calibration', 'x'], '--calibration requires --precision int8'),
        (['--precision', 'int8', '--calibration-boxes', 'x'], 'requires --calibration'),
    ):
        with pytest.raises(ConfigError, match=message):
            export_command(['x', '--out', str(tmp_path / 'out'), *options])


class TestProcesses:
    """Exports that are stopped, and two exports to the same directory."""

    @pytest.fixture
    def arguments(self, tmp_path: Path) -> list:
        config, weights = write_config(tmp_path), write_checkpoint(tmp_path)
        return [config, '--weights', weights, '--out', tmp_path / 'new' / 'out']

    @pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize('stage', ['start', 'model'])
    def test_signals(
        self, server: Server, arguments: list, tmp_path: Path, number: int, stage: str
    ) -> None:
        before = sorted(tmp_path.iterdir())
        process = server.start('export.py', *arguments)
        pattern = 'new/out.*.part' + ('/model.bin' if stage == 'model' else '')
        process.wait_until(lambda: any(tmp_path.glob(pattern)))
        process.send(number)
        assert process.wait() == 128 + number, process.output
        assert process.user_messages() == ['stopped; run the command again']
        assert sorted(tmp_path.iterdir()) == before

    def test_signal_during_a_call_that_does_not_return(
        self, server: Server, tmp_path: Path
    ) -> None:
        """The main thread cannot react, like that of a model that takes long to be compiled."""
        code = (
            'import hashlib, sys\n'
            'from pathlib import Path\n'
            'from pose_backbones.cli.entry_point import run\n'
            'from pose_backbones.utils.files import draft_folder\n'
            'def main(argv):\n'
            '    with draft_folder(Path(sys.argv[1])) as draft:\n'
            '        (draft / "model.bin").touch()\n'
            '        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)\n'
            'run(main)\n'
        )
        process = server.start_code(code, tmp_path / 'out')
        process.wait_until(lambda: any(tmp_path.glob('out.*.part/model.bin')))
        process.send(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
        assert list(tmp_path.iterdir()) == []

    def test_two_exports_at_once(self, server: Server, arguments: list, tmp_path: Path) -> None:
        processes = [server.start('export.py', *arguments) for _ in range(2)]
        statuses = [process.wait() for process in processes]
        assert sorted(statuses) == [0, 2], [process.output for process in processes]
        loser = processes[statuses.index(2)]
        assert loser.user_messages() == [
            f'error: --out {arguments[-1]} already exists: choose another directory, or remove it'
        ]
        assert [path.name for path in (tmp_path / 'new').iterdir()] == ['out']
        assert read_exported(arguments[-1]).description['backend'] == 'openvino'


def test_deviating_model_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = example_crops((48, 64))
    model = CropModel(estimator())

    def shifted(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            keypoints, scores = model(torch.from_numpy(crops))
        return keypoints.numpy() + [0.2, 0], scores.numpy()

    difference = compare(model, shifted, crops, PRECISIONS['fp32'])
    assert difference.max_pixels == pytest.approx(0.2, abs=1e-3)
    with pytest.raises(ExportError, match=r'deviates from PyTorch: 153 keypoints .* 0\.2 pixels'):
        check_difference(difference, PRECISIONS['fp32'])
    monkeypatch.setattr('pose_backbones.deploy.export.load_runtime', lambda *_: shifted)
    with pytest.raises(ExportError, match='deviates'):
        export_model(estimator(), tmp_path / 'out', 'torch-export')
    assert list(tmp_path.iterdir()) == []


def test_unstable_keypoints_are_not_compared() -> None:
    """Of two equally high peaks, either may be chosen."""
    model = CropModel(estimator())
    maps = torch.zeros(1, 17, 16, 12)
    for channels, y, x in ((slice(None), 4, 5), (0, 10, 2)):
        maps[:, channels, y - 1 : y + 2, x - 1 : x + 2] = 0.1
        maps[:, channels, y, x] = 1
        maps[:, channels, y, x + 1] = maps[:, channels, y + 1, x] = 0.5
    model.outputs = lambda crops: maps.expand(len(crops), -1, -1, -1)

    def runtime(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keypoints, scores = model.decode(model.outputs(crops))
        keypoints = keypoints.numpy().copy()
        keypoints[:, 0] += 24
        return keypoints, scores.numpy()

    crops = np.zeros((8, 64, 48, 3), np.uint8)
    difference = compare(model, runtime, crops, PRECISIONS['fp32'])
    assert difference.stable == pytest.approx(16 / 17)
    assert difference.max_pixels == 0
    assert difference.mean_pixels == pytest.approx(24 * 2**0.5 / 17)


def test_nan_is_a_deviation() -> None:
    difference = verification.Difference(17, 1.0, np.nan, 0.0, np.nan)
    with pytest.raises(ExportError):
        check_difference(difference, PRECISIONS['fp32'])
