"""Replacements are used where, and only where, the real modules cannot be imported."""

import importlib.machinery
import subprocess
import sys

import pytest

from pose_backbones_env import finder
from tests.helpers.tools import ROOT, tool_env


def run(code: str, *folders, options=('-W', 'ignore'), **env) -> str:
    """Run code in a new interpreter that finds modules in the folders first."""
    paths = ':'.join(map(str, (*folders, ROOT)))
    done = subprocess.run(
        [sys.executable, *options, '-c', code],
        env=tool_env(**env) | {'PYTHONPATH': paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


#: hides the real modules from the finders of the interpreter
HIDE = """
import sys
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, path=None, target=None: None
    if name in ('xtcocotools', 'pkg_resources')
    else find_spec(name, path, target))
from pose_backbones_env import finder
finder.install()
"""


def test_missing_packages_are_replaced():
    code = HIDE + (
        'import xtcocotools.cocoeval, pkg_resources\n'
        'print(xtcocotools.cocoeval.COCOeval.__module__)\n'
        "print(pkg_resources.get_distribution('numpy').version)\n"
        'print(finder.active())\n'
    )
    import numpy

    names, version, active = run(code).splitlines()
    assert names == 'xtcocotools.cocoeval'
    assert version == numpy.__version__
    assert "'pkg_resources', 'xtcocotools'" in active


def test_mmengine_finds_packages_with_the_replacement():
    code = HIDE + (
        'from mmengine.utils import get_installed_path, is_installed\n'
        "print(is_installed('mmpose'), is_installed('no_such_package'))\n"
        "print(get_installed_path('mmengine'))\n"
    )
    import mmengine

    assert run(code).splitlines() == ['True False', mmengine.__path__[0]]


@pytest.mark.parametrize(
    'error', ['ImportError("numpy.core.multiarray failed")', 'ValueError("x")']
)
def test_package_that_does_not_import_is_replaced(tmp_path, error):
    package = tmp_path / 'xtcocotools'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / '_mask.py').write_text(f'raise {error}')
    code = (
        'from pose_backbones_env import finder\nfinder.install()\n'
        'import xtcocotools.mask\nprint(xtcocotools.__file__, finder.active())'
    )
    path, active = run(code, tmp_path).split(' ', 1)
    assert path.startswith(finder.FOLDER)
    assert 'xtcocotools' in active


@pytest.mark.parametrize('name', ['pkg_resources', 'mmcv._ext'])
def test_module_that_raises_is_replaced(tmp_path, name):
    *parents, last = name.split('.')
    folder = tmp_path.joinpath(*parents)
    folder.mkdir(exist_ok=True)
    for _ in parents:
        (folder / '__init__.py').touch()
    (folder / f'{last}.py').write_text("raise AttributeError('no ImpImporter')")
    code = (
        'import importlib, warnings\nfrom pose_backbones_env import finder\nfinder.install()\n'
        'with warnings.catch_warnings(record=True) as log:\n'
        f"    module = importlib.import_module('{name}')\n"
        'print(module.__file__, finder.active(), [str(entry.message) for entry in log])'
    )
    output = run(code, tmp_path, options=('-W', 'always'))
    assert output.startswith(finder.FOLDER)
    assert f"'{name}'" in output
    assert f'{name} is installed, but cannot be imported (AttributeError: no ImpImporter)' in output


def test_compiled_module_that_does_not_load_is_replaced(tmp_path):
    """For example operators that were compiled for another version of PyTorch."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv/__init__.py').touch()
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / f'mmcv/_ext{suffix}').write_bytes(b'no library')
    code = (
        'from pose_backbones_env import finder\nfinder.install()\n'
        'from mmcv import _ext\nprint(_ext.__file__, callable(_ext.nms))'
    )
    path, has_nms = run(code, tmp_path).split()
    assert path.startswith(finder.FOLDER)
    assert has_nms == 'True'


def test_package_that_imports_is_not_replaced(tmp_path):
    package = tmp_path / 'xtcocotools'
    package.mkdir()
    for name in ('__init__', '_mask', 'mask'):
        (package / f'{name}.py').touch()
    code = (
        'from pose_backbones_env import finder\nfinder.install()\n'
        'import xtcocotools.mask\nprint(xtcocotools.__file__)\nprint(finder.active())'
    )
    path, active = run(code, tmp_path).splitlines()
    assert path == str(package / '__init__.py')
    assert 'xtcocotools' not in active


def test_variable_disables_replacements():
    code = HIDE + (
        'try:\n    import xtcocotools\nexcept ModuleNotFoundError as error:\n    print(error)\n'
    )
    assert run(code, POSE_BACKBONES_REPLACEMENTS='0') == "No module named 'xtcocotools'"


def test_finder_imports_no_modules():
    """The finder is installed at the start of each interpreter, by a file that `-S` ignores."""
    code = (
        'import os, sys\nbefore = set(sys.modules)\nfrom pose_backbones_env import finder\n'
        'finder.install()\nprint(sorted(set(sys.modules) - before))'
    )
    expected = "['pose_backbones_env', 'pose_backbones_env.finder']"
    assert run(code, options=['-S']) == expected


def test_function_is_called_after_an_import(tmp_path):
    """Once: after the next import, or now, if the module has been imported already."""
    (tmp_path / 'some_module.py').write_text('value = 1')
    code = (
        'import sys\nfrom pose_backbones_env import finder\nfinder.install()\n'
        'def report(): print(sys.modules["some_module"].value)\n'
        'finder.after_import("some_module", report)\n'
        'print("not imported")\n'
        'import some_module\n'
        'some_module.value = 2\n'
        'finder.after_import("some_module", report)\n'
        'import some_module\n'
    )
    assert run(code, tmp_path).splitlines() == ['not imported', '1', '2']


def test_function_that_an_import_adds_is_called_after_it(tmp_path):
    """As in `import mmengine.infer`, which imports the runner and thereby `pose_backbones`."""
    (tmp_path / 'some_module.py').write_text(
        'from pose_backbones_env import finder\n'
        'finder.after_import(__name__, lambda: print("function", value))\n'
        'value = 1\nprint("module")\n'
    )
    code = (
        'from pose_backbones_env import finder\nfinder.install()\n'
        'finder.after_import("some_module", lambda: None)\nimport some_module'
    )
    assert run(code, tmp_path).splitlines() == ['module', 'function 1']


def test_function_that_fails_does_not_break_the_import(tmp_path):
    (tmp_path / 'some_module.py').touch()
    code = (
        'import warnings\nfrom pose_backbones_env import finder\nfinder.install()\n'
        'finder.after_import("some_module", lambda: 1 / 0)\n'
        'with warnings.catch_warnings(record=True) as log:\n    import some_module\n'
        'print([str(entry.message) for entry in log])'
    )
    assert run(code, tmp_path, options=('-W', 'always')) == (
        "['pose_backbones cannot patch some_module (ZeroDivisionError: division by zero); "
        "pose-backbones doctor finds the cause']"
    )


def test_without_the_finder_modules_are_imported_at_once(tmp_path):
    (tmp_path / 'some_module.py').write_text('print("module")')
    code = (
        'from pose_backbones_env import finder\nfinder.install()\n'
        'finder.after_import("some_module", lambda: print("function"))\nprint("end")'
    )
    output = run(code, tmp_path, POSE_BACKBONES_REPLACEMENTS='0')
    assert output.splitlines() == ['module', 'function', 'end']


@pytest.mark.parametrize(
    'first',
    [
        'mmengine.infer',
        'mmengine.runner',
        'mmpose.apis',
        'pose_backbones',
        'pose_backbones.checkpoints.reading',
        'pose_backbones.registry',
    ],
)
def test_mmengine_is_patched_in_any_order_of_imports(first):
    code = (
        'import warnings\nwarnings.filterwarnings("error", "pose_backbones")\n'
        'from pose_backbones_env import finder\nfinder.install()\n'
        f'import {first}\n'
        'import mmengine.infer, mmpose.registry\n'
        'from mmengine.runner import CheckpointLoader, checkpoint\n'
        'print(CheckpointLoader._schemes[""].__module__, checkpoint.load_from_http.__module__)\n'
        'print(checkpoint.load_state_dict.is_strict_for_inference)\n'
        'print(mmengine.infer.BaseInferencer._load_model_from_metafile.finds_pose_backbones)\n'
        'print(mmpose.registry.MODELS._locations[-1])\n'
        'from pose_backbones.registry import KEYPOINT_CODECS\n'
        'print(mmpose.registry.KEYPOINT_CODECS.children["pose_backbones"] is KEYPOINT_CODECS)'
    )
    assert run(code).splitlines() == [
        'pose_backbones._compat.checkpoint_loading pose_backbones',
        'True',
        'True',
        'pose_backbones._compat.mmpose_locations',
        'True',
    ]


def test_package_imports_neither_pytorch_nor_mmpose():
    code = (
        'import sys, pose_backbones\n'
        "names = ['torch', 'mmcv', 'mmdet', 'mmpose', 'cv2', 'timm', 'matplotlib', 'scipy']\n"
        'print([name for name in names if name in sys.modules])'
    )
    assert run(code) == '[]'


@pytest.mark.parametrize(
    ('name', 'uses_timm'),
    [
        ('moganet-xt_1xb8-demo_coco-128x96', False),
        ('uniformer-s_coco-256x192', False),
        ('convnext-t_coco-256x192', True),
    ],
)
def test_only_some_models_import_timm(name, uses_timm):
    code = (
        'import sys\nfrom pose_backbones import build, zoo\n'
        f"build(zoo.find_name('{name}'))\nprint('timm' in sys.modules)"
    )
    assert run(code) == str(uses_timm)
