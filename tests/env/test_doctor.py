"""`pose-backbones doctor` finds what does not fit together in an environment."""

import importlib.metadata
import sys
import sysconfig

import pytest

from pose_backbones_env import command, doctor

STANDARD_LIBRARY = sorted({sysconfig.get_path(name) for name in ('stdlib', 'platstdlib')})


def install(folder, name: str, version: str, *requirements: str) -> None:
    """Write the metadata of a distribution."""
    path = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    path.mkdir(parents=True)
    lines = ['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}']
    lines += [f'Requires-Dist: {requirement}' for requirement in requirements]
    (path / 'METADATA').write_text('\n'.join(lines) + '\n')


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An environment without packages."""
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *STANDARD_LIBRARY])
    importlib.invalidate_caches()
    return tmp_path


def lines(problems) -> list[str]:
    return [f'{problem.text} | {problem.fix}' for problem in problems]


def test_requirements(site):
    openmmlab = 'extra == "openmmlab-lite"'
    install(
        site,
        'pose_backbones',
        '1.0',
        'numpy>=2',
        'timm>=1',
        'torch',
        'opencv-python>=4.8',
        'av; extra == "video"',
        f'mmpose>=1.3; {openmmlab}',
        f'mmcv-lite<2.2; {openmmlab}',
    )
    install(site, 'numpy', '1.26.4')
    install(site, 'torch', '2.11.0')
    install(site, 'mmcv', '2.1.0')
    install(site, 'opencv-python-headless', '5.0.0.93')
    assert lines(doctor.check_requirements()) == [
        'pose_backbones requires numpy>=2, but 1.26.4 is installed | pip install "numpy>=2"',
        'timm is missing | pip install "timm>=1"',
        'mmpose is missing | pip install --no-deps "mmpose>=1.3"',
    ]


def test_not_installed(site):
    (problem,) = doctor.check_requirements()
    assert problem.text == 'pose_backbones is not installed'


def test_torchvision_of_another_torch(site):
    install(site, 'torch', '2.11.0+cpu')
    install(site, 'torchvision', '0.29.2', 'numpy', 'torch==2.14.1')
    assert lines(doctor.check_torchvision()) == [
        'torchvision 0.29.2 is built for torch==2.14.1, but torch 2.11.0+cpu is installed | '
        'pip install "torch==2.14.1"'
    ]


def test_torchvision_that_fits(site):
    install(site, 'torch', '2.14.1+cu130')
    install(site, 'torchvision', '0.29.2', 'torch==2.14.1')
    assert not list(doctor.check_torchvision())


def test_both_mmcv(site):
    install(site, 'mmcv', '2.2.0')
    install(site, 'mmcv-lite', '2.1.0')
    assert lines(doctor.check_alternatives()) == [
        'mmcv 2.2.0 and mmcv-lite 2.1.0 are installed in the same directory | '
        'pip uninstall -y mmcv mmcv-lite && pip install "mmcv-lite==2.1.0"'
    ]


@pytest.mark.parametrize(('version', 'count'), [('5.0.0.93', 0), ('4.11.0.86', 1)])
def test_both_opencv(site, version, count):
    install(site, 'opencv-python', '5.0.0.93')
    install(site, 'opencv-python-headless', version)
    assert len(list(doctor.check_alternatives())) == count


def test_two_installations(site, tmp_path, monkeypatch):
    other = tmp_path / 'other'
    install(site, 'timm', '1.0.0')
    install(other, 'timm', '1.0.31')
    for folder in (site, other):
        (folder / 'pose_backbones').mkdir()
        (folder / 'pose_backbones/__init__.py').touch()
    monkeypatch.setattr(sys, 'path', [str(site), str(other), *STANDARD_LIBRARY])
    first, second = lines(doctor.check_duplicates())
    assert first == (
        f'timm is installed twice: 1.0.0 in {site} is used, 1.0.31 in {other} is hidden | '
        'pip uninstall timm (until there is none), then pip install "timm==1.0.0"'
    )
    assert second.startswith(
        f'there are two copies of pose_backbones: {site}/pose_backbones is used, '
        f'{other}/pose_backbones is hidden | pip uninstall pose_backbones'
    )


@pytest.mark.parametrize(
    ('others', 'fix'), [('', 'unset PYTHONPATH'), (':/a:/b', 'export PYTHONPATH=/a:/b')]
)
def test_package_of_pythonpath_hides_another(site, tmp_path, monkeypatch, others, fix):
    other = tmp_path / 'other'
    install(site, 'timm', '1.0.31')
    install(other, 'timm', '1.0.0')
    monkeypatch.setattr(sys, 'path', [str(other), str(site), *STANDARD_LIBRARY])
    monkeypatch.setenv('PYTHONPATH', f'{other}{others}')
    (problem,) = doctor.check_duplicates()
    assert problem.fix == fix


def test_error_of_several_modules_is_reported_once(site):
    install(site, 'torchvision', '0.26.0')
    install(site, 'timm', '1.0')
    error = 'RuntimeError: operator torchvision::nms does not exist'
    (problem,) = doctor.check_imports({'torchvision': error, 'timm': error})
    assert problem.text == f'torchvision 0.26.0 does not import: {error}'


def test_other_numpy_is_reported_once(site):
    for name, version in (('numpy', '2.5.0'), ('scipy', '1.11.4'), ('mmpose', '1.3.2')):
        install(site, name, version)
    errors = {
        'scipy.stats': 'ValueError: numpy.dtype size changed, may indicate',
        'mmpose.apis': 'ImportError: numpy.core.multiarray failed to import',
    }
    (problem,) = doctor.check_imports(errors)
    assert problem.text == 'scipy 1.11.4 is compiled for another NumPy than 2.5.0'


def test_mismatch_of_torchvision_explains_its_errors(monkeypatch, capsys):
    problem = doctor.Problem('torchvision 0.26.0 is built for torch==2.11.0', 'pip install torch')
    error = 'RuntimeError: operator torchvision::nms does not exist'
    monkeypatch.setattr(doctor, 'check_torchvision', lambda: [problem])
    monkeypatch.setattr(doctor, 'probe', lambda: ({'timm': error, 'mmpose.apis': error}, {}))
    assert doctor.main([]) == 1
    output = capsys.readouterr().out
    assert '  1. torchvision 0.26.0 is built for torch==2.11.0\n' in output
    assert 'nms' not in output


@pytest.mark.parametrize(
    ('module', 'error', 'text', 'fix'),
    [
        (
            'scipy.stats',
            'ValueError: numpy.dtype size changed, may indicate binary incompatibility',
            'scipy 1.15.0 is compiled for another NumPy than 2.5.0',
            'pip install --upgrade --force-reinstall --no-deps scipy',
        ),
        (
            'cv2',
            'ImportError: libgthread-2.0.so.0: cannot open shared object file',
            'opencv-python 5.0.0 does not import: ImportError: libgthread-2.0.so.0',
            'pip uninstall -y opencv-python && pip install --no-deps '
            '"opencv-python-headless==5.0.0"',
        ),
        (
            'mmdet.apis',
            'AssertionError: MMCV==2.2.0 is used but incompatible. Please install',
            'mmdet 3.3.0 does not accept mmcv 2.2.0',
            'pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0',
        ),
        (
            'timm',
            'the interpreter ended while importing it (exit status -11)',
            'timm 1.0 does not import: the interpreter ended',
            'pip install --force-reinstall --no-deps "timm==1.0"',
        ),
    ],
)
def test_modules_that_do_not_import(site, module, error, text, fix):
    for name, version in (
        ('numpy', '2.5.0'),
        ('scipy', '1.15.0'),
        ('opencv-python', '5.0.0'),
        ('mmdet', '3.3.0'),
        ('timm', '1.0'),
    ):
        install(site, name, version)
    (problem,) = doctor.check_imports({'numpy': '', module: error})
    assert problem.text.startswith(text)
    assert problem.fix == fix


@pytest.mark.parametrize(
    ('facts', 'text'),
    [
        (dict(cuda=None, cuda_available=False), 'there is a GPU (driver for CUDA 12.2), but PyT'),
        (
            dict(cuda='13.0', cuda_available=False, cuda_error='driver too old'),
            'PyTorch is built for CUDA 13.0, but the driver supports CUDA 12.2: driver too old',
        ),
        (dict(cuda='12.1', cuda_available=True), None),
    ],
)
def test_gpu_that_is_not_used(tmp_path, monkeypatch, facts, text):
    script = tmp_path / 'nvidia-smi'
    script.write_text('#!/bin/sh\necho "| Driver Version: 535.1   CUDA Version: 12.2   |"\n')
    script.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    problems = list(doctor.check_cuda(facts, doctor.driver_version()))
    assert [problem.text.startswith(text) for problem in problems] == [True] * bool(text)


def test_probe_of_broken_modules(tmp_path, monkeypatch):
    (tmp_path / 'raising.py').write_text('raise ImportError("first line\\nsecond line")')
    (tmp_path / 'crashing.py').write_text('import os; os._exit(5)')
    (tmp_path / 'quiet.py').write_text('print("text")')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(
        doctor, 'PACKAGES', dict(numpy='quiet', torch='raising', timm='crashing', mmpose='never')
    )
    errors, facts = doctor.probe()
    assert errors == {
        'quiet': '',
        'raising': 'ImportError: first line',
        'crashing': 'the interpreter ended while importing it (exit status 5)',
    }
    assert facts == {}


def test_this_environment_has_no_problems(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['pose-backbones', 'doctor'])
    with pytest.raises(SystemExit) as ended:
        command.main()
    output = capsys.readouterr().out
    assert ended.value.code == 0, output
    assert output.rstrip().endswith('no problems')
    assert f'  numpy                   {importlib.metadata.version("numpy")}\n' in output


def test_fix_of_an_environment_without_pip(monkeypatch, capsys):
    fix = 'pip uninstall -y mmcv && pip install "mmcv-lite==2.1.0"'
    monkeypatch.setattr(doctor, 'check_alternatives', lambda: [doctor.Problem('text', fix)])
    monkeypatch.setattr(doctor, 'probe', lambda: ({}, {}))
    for pip, expected in ((None, fix.replace('pip ', 'uv pip ')), (object(), fix)):
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name, spec=pip: spec)
        assert doctor.main([]) == 1
        assert f'fix: {expected}\n' in capsys.readouterr().out


def test_package_that_cannot_be_imported(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['pose-backbones', 'train'])
    monkeypatch.setitem(sys.modules, 'pose_backbones.cli.__main__', None)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith('error: pose_backbones cannot be imported (')
