"""`pose-backbones doctor` finds what does not fit together in an environment."""

import importlib.metadata
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import packaging
import pytest

from pose_backbones_env import command, doctor, finder
from pose_backbones_env.doctor import ImportFailure

REPOSITORY = Path(doctor.__file__).parents[1]
NUMPY_ERROR = 'numpy.dtype size changed, may indicate binary incompatibility'
STANDARD_LIBRARY = sorted({sysconfig.get_path(name) for name in ('stdlib', 'platstdlib')})


def install(folder, name: str, version: str, *requirements: str, **modules: str) -> None:
    """Write the metadata of a distribution, and the source of its packages."""
    path = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    path.mkdir(parents=True)
    lines = ['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}']
    lines += [f'Requires-Dist: {requirement}' for requirement in requirements]
    (path / 'METADATA').write_text('\n'.join(lines) + '\n')
    (path / 'top_level.txt').write_text('\n'.join(modules))
    for module, source in modules.items():
        (folder / module).mkdir()
        (folder / module / '__init__.py').write_text(source)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An environment without packages."""
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *STANDARD_LIBRARY])
    install(tmp_path, 'packaging', '26.4')
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
    install(site, 'opencv-contrib-python', '4.5.5.64')
    assert lines(doctor.check_requirements()) == [
        'pose_backbones requires numpy>=2, but numpy 1.26.4 is installed | pip install "numpy>=2"',
        'timm is missing | pip install "timm>=1"',
        'mmpose is missing | pip install --no-deps "mmpose>=1.3"',
    ]


def test_alternatives_of_other_versions(site):
    mmcv = 'mmcv-lite<2.2; extra == "openmmlab-lite"'
    install(site, 'pose_backbones', '1.0', 'opencv-python>=4.8', mmcv)
    install(site, 'opencv-python-headless', '4.5.5.64')
    install(site, 'mmcv', '2.2.0')
    assert lines(doctor.check_requirements()) == [
        'pose_backbones requires opencv-python>=4.8, but opencv-python-headless 4.5.5.64 is '
        'installed | pip install "opencv-python-headless>=4.8"',
        'pose_backbones requires mmcv-lite<2.2, but mmcv 2.2.0 is installed | '
        'pip uninstall -y mmcv && pip install --no-deps "mmcv-lite<2.2"',
    ]


def test_not_installed(site):
    assert lines(doctor.check_requirements()) == [
        f'pose_backbones is not installed | pip install --no-deps -e {shlex.quote(str(REPOSITORY))}'
    ]


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
        'pip uninstall -y mmcv mmcv-lite && pip install --no-deps "mmcv-lite==2.1.0"'
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
    assert lines(doctor.check_duplicates()) == [
        f'timm is installed twice: 1.0.0 in {site} is used, 1.0.31 in {other} is hidden | '
        'pip uninstall -y timm && pip uninstall -y timm && pip install --no-deps "timm==1.0.0"',
        f'there are two copies of pose_backbones: {site}/pose_backbones is used, '
        f'{other}/pose_backbones is hidden | pip uninstall -y pose_backbones',
    ]


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
    failures = [ImportFailure('torchvision', error), ImportFailure('timm', error)]
    assert lines(doctor.check_imports(failures)) == [
        f'torchvision 0.26.0 cannot be imported: {error} | '
        'pip install --force-reinstall --no-deps "torchvision==0.26.0"'
    ]


def test_each_package_for_another_numpy_is_reported_once(site):
    for name, version in (('numpy', '2.5.0'), ('shapely', '2.0.2'), ('mmdet', '3.3.0')):
        install(site, name, version)
    install(site, 'contourpy', '1.0.1')
    failures = [
        ImportFailure('matplotlib.pyplot', f'ValueError: {NUMPY_ERROR}', 'contourpy'),
        ImportFailure('mmdet.apis', f'ValueError: {NUMPY_ERROR}', 'shapely'),
        ImportFailure('mmpose.apis', f'ValueError: {NUMPY_ERROR}', 'shapely'),
    ]
    command = 'pip install --upgrade --force-reinstall --no-deps'
    assert lines(doctor.check_imports(failures)) == [
        f'contourpy 1.0.1 is compiled for another NumPy than 2.5.0 | {command} contourpy',
        f'shapely 2.0.2 is compiled for another NumPy than 2.5.0 | {command} shapely',
    ]


def test_mismatch_of_torchvision_explains_its_errors(site):
    error = 'RuntimeError: operator torchvision::nms does not exist'
    assert not list(doctor.check_imports([ImportFailure('timm', error)], ['torchvision']))


def test_missing_modules(site):
    install(
        site, 'pose_backbones', '1.0', 'pyyaml>=6', 'shapely', 'mmdet<3.4; extra=="openmmlab-lite"'
    )
    install(site, 'mmpose', '1.3.2')
    install(site, 'scipy', '1.15.0')
    commands = {
        'yaml': 'pip install "pyyaml>=6"',
        'mmdet': 'pip install --no-deps "mmdet<3.4"',
        'json_tricks': 'pip install json-tricks',
        'distutils': 'pip install setuptools',
        'scipy': 'pip install --force-reinstall --no-deps "scipy==1.15.0"',  # without its files
        'mmpose.apis': 'pip install --force-reinstall --no-deps "mmpose==1.3.2"',
    }
    failures = [
        ImportFailure('mmpose.apis', f"ModuleNotFoundError: No module named '{name}'")
        for name in (*commands, 'shapely')
    ]
    problems = list(doctor.check_imports(failures, ['shapely']))
    assert [problem.fix for problem in problems] == [*commands.values()]


def test_module_without_a_distribution(site):
    (problem,) = doctor.check_imports([ImportFailure('xtcocotools.cocoeval', 'OSError: text')])
    assert problem.text == 'xtcocotools cannot be imported: OSError: text'


def test_disabled_replacements_explain_errors(site, monkeypatch):
    monkeypatch.setenv('POSE_BACKBONES_REPLACEMENTS', '0')
    install(site, 'mmcv-lite', '2.1.0')
    failures = [
        ImportFailure('mmcv.ops', "ModuleNotFoundError: No module named 'mmcv._ext'", 'mmcv-lite'),
        ImportFailure('xtcocotools.cocoeval', "ModuleNotFoundError: No module named 'xtcocotools'"),
        ImportFailure('mmpose.apis', f'ValueError: {NUMPY_ERROR}', 'xtcocotools'),
    ]
    assert lines(doctor.check_imports(failures)) == [
        'POSE_BACKBONES_REPLACEMENTS=0 disables the replacement of mmcv._ext, which cannot be '
        'imported | unset POSE_BACKBONES_REPLACEMENTS'
    ]


@pytest.mark.parametrize(
    ('failure', 'text', 'fix'),
    [
        (
            ImportFailure('scipy.stats', f'ValueError: {NUMPY_ERROR}'),
            'scipy 1.15.0 is compiled for another NumPy than 2.5.0',
            'pip install --upgrade --force-reinstall --no-deps scipy',
        ),
        (
            ImportFailure(
                'mmpose.apis', 'ImportError: libgthread-2.0.so.0: cannot open', 'opencv-python'
            ),
            'opencv-python 5.0.0 cannot be imported: ImportError: libgthread-2.0.so.0: cannot open',
            'pip uninstall -y opencv-python && pip install --no-deps '
            '"opencv-python-headless==5.0.0"',
        ),
        (
            ImportFailure('mmdet.apis', 'AssertionError: MMCV==2.2.0 is used but incompatible.'),
            'mmdet 3.3.0 cannot be imported: AssertionError: MMCV==2.2.0 is used but incompatible.',
            'pip uninstall -y mmcv && pip install --no-deps mmcv-lite==2.1.0',
        ),
        (
            ImportFailure('mmcv.ops', 'ImportError: _ext.so: undefined symbol: _ZN2', 'mmcv'),
            'mmcv 2.1.0 cannot be imported: ImportError: _ext.so: undefined symbol: _ZN2',
            'pip uninstall -y mmcv && pip install --no-deps mmcv-lite==2.1.0',
        ),
        (
            ImportFailure('timm', 'the interpreter crashed while importing it (exit status -11)'),
            'timm 1.0 cannot be imported: the interpreter crashed while importing it '
            '(exit status -11)',
            'pip install --force-reinstall --no-deps "timm==1.0"',
        ),
    ],
)
def test_modules_that_cannot_be_imported(site, failure, text, fix):
    for name, version in (
        ('numpy', '2.5.0'),
        ('scipy', '1.15.0'),
        ('opencv-python', '5.0.0'),
        ('mmcv', '2.1.0'),
        ('mmdet', '3.3.0'),
        ('timm', '1.0'),
    ):
        install(site, name, version)
    assert lines(doctor.check_imports([failure])) == [f'{text} | {fix}']


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Return a function that replaces `nvidia-smi` by a shell command."""

    def replace(shell: str) -> None:
        script = tmp_path / 'nvidia-smi'
        script.write_text(f'#!/bin/sh\n{shell}\n')
        script.chmod(0o755)
        monkeypatch.setenv('PATH', str(tmp_path), prepend=':')

    return replace


@pytest.mark.parametrize(
    ('torch', 'cuda', 'driver', 'text', 'build'),
    [
        ('2.11.0+cpu', None, '12.2', 'there is a GPU (driver for CUDA 12.2), but PyT', 'cu126'),
        ('2.11.0+cpu', None, '12.8', 'there is a GPU (driver for CUDA 12.8), but PyT', 'cu128'),
        ('2.6.0+cpu', None, '12.5', 'there is a GPU (driver for CUDA 12.5), but PyT', 'cu124'),
        ('2.15.0+cpu', None, '13.3', 'there is a GPU (driver for CUDA 13.3), but PyT', 'cu130'),
        ('2.14.1', '13.2', '12.2', 'PyTorch is built for CUDA 13.2, but the driver su', 'cu126'),
        ('2.6.0+cpu', None, '13.1', 'there is a GPU (driver for CUDA 13.1), but PyT', 'cu126'),
        ('2.7.1', '12.8', '11.4', 'PyTorch is built for CUDA 12.8, but the driver su', 'cu118'),
        ('2.15.0', '13.2', '12.9', 'PyTorch is built for CUDA 13.2, but the driver su', None),
    ],
)
def test_gpu_that_needs_another_build(site, nvidia_smi, torch, cuda, driver, text, build):
    install(site, 'torch', torch)
    install(site, 'torchvision', '0.26.0')
    nvidia_smi(f'echo "| Driver Version: 535.1   CUDA Version: {driver}   |"')
    (problem,) = doctor.check_cuda(dict(cuda=cuda, cuda_available=False), doctor.driver_version())
    assert problem.text.startswith(text)
    assert problem.fix == (
        'pip uninstall -y torch torchvision && '
        f'pip install torch=={torch.partition("+")[0]} torchvision==0.26.0 '
        f'--index-url https://download.pytorch.org/whl/{build}'
        if build
        else 'update the NVIDIA driver'
    )


def test_cuda_build_without_torchvision(site):
    install(site, 'torch', '2.9.1')
    assert doctor._install_cuda_build('12.8').startswith(
        'pip uninstall -y torch torchvision && pip install torch==2.9.1 --index-url https'
    )


def test_gpu_that_is_hidden(monkeypatch):
    facts = dict(cuda='12.8', cuda_available=False, cuda_error='unknown error')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert lines(doctor.check_cuda(facts, '12.9')) == [
        'PyTorch cannot use the GPU: unknown error | restart the computer'
    ]
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    (problem,) = doctor.check_cuda(facts, '12.9')
    assert problem.fix == 'unset CUDA_VISIBLE_DEVICES'
    assert not list(doctor.check_cuda(dict(facts, cuda_available=True), '12.9'))
    assert not list(doctor.check_cuda(facts, None))


def test_driver_that_does_not_respond(nvidia_smi, monkeypatch):
    nvidia_smi('exec sleep 20')
    monkeypatch.setattr(doctor, '_DRIVER_TIME', 0.1)
    assert lines(doctor.check_cuda({}, doctor.driver_version())) == [
        'the NVIDIA driver does not respond: nvidia-smi timed out after 0.1 s | '
        'restart the computer'
    ]


def test_probe_of_broken_modules(tmp_path, monkeypatch):
    # `outer` cannot be imported because `inner` cannot
    install(tmp_path, 'inner-package', '1.0', inner='raise ImportError("first line\\nsecond line")')
    install(tmp_path, 'outer', '1.0', outer='import inner')
    # `third` has no frame in the traceback, as a compiled module
    install(tmp_path, 'second', '1.0', second='import third')
    install(tmp_path, 'third', '1.0', third='(')
    (tmp_path / 'crashing.py').write_text('import os; os._exit(5)')
    (tmp_path / 'quiet.py').write_text('print("text")')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    modules = dict(numpy='quiet', torch='outer', scipy='second', timm='crashing', mmpose='never')
    monkeypatch.setattr(doctor, 'PACKAGES', modules)
    unclosed = "SyntaxError: '(' was never closed (__init__.py, line 1)"
    crashed = 'the interpreter crashed while importing it (exit status 5)'
    assert doctor.probe() == (
        [
            ImportFailure('outer', 'ImportError: first line', 'inner-package'),
            ImportFailure('second', unclosed, 'third'),
            ImportFailure('crashing', crashed),
        ],
        {},
    )


def test_probe_that_does_not_end(tmp_path, monkeypatch):
    (tmp_path / 'sleeping.py').write_text('import time; time.sleep(20)')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(doctor, 'PACKAGES', dict(numpy='json', torch='sleeping'))
    monkeypatch.setattr(doctor, '_PROBE_TIME', 1)
    assert doctor.probe() == ([ImportFailure('sleeping', 'timed out after 1 s')], {})


def test_this_environment_has_no_problems(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['pose-backbones', 'doctor'])
    with pytest.raises(SystemExit) as ended:
        command.main()
    output = capsys.readouterr().out
    assert ended.value.code == 0, output
    assert output.rstrip().endswith('no problems')
    assert f'  numpy                   {importlib.metadata.version("numpy")}\n' in output


def test_fix_acts_on_this_interpreter(monkeypatch):
    fix = 'pip uninstall -y mmcv && pip install --no-deps "mmcv-lite==2.1.0"'
    monkeypatch.setattr(sys, 'executable', '/a directory/python')
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    assert doctor._for_this_interpreter(fix) == (
        "'/a directory/python' -m pip uninstall -y mmcv && "
        '\'/a directory/python\' -m pip install --no-deps "mmcv-lite==2.1.0"'
    )
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert doctor._for_this_interpreter(fix) == (
        "uv pip uninstall --python '/a directory/python' -y mmcv && "
        'uv pip install --python \'/a directory/python\' --no-deps "mmcv-lite==2.1.0"'
    )


def run_doctor(python, folder, **environment: str) -> tuple[int, list[str]]:
    """Run the command as its script does; return the exit status and the lines of problems."""
    code = 'from pose_backbones_env.command import main; main()'
    variables = {key: value for key, value in os.environ.items() if not key.startswith('POSE_')}
    done = subprocess.run(
        [python, '-c', code, 'doctor'],
        cwd=folder,
        env={**variables, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return done.returncode, done.stdout.partition('\nproblems\n')[2].splitlines()


def numbered(*problems: tuple[str, str]) -> list[str]:
    """Return the lines that the command prints for problems and fixes."""
    return [
        line
        for number, (text, fix) in enumerate(problems, 1)
        for line in (f'  {number}. {text}', f'     fix: {fix}')
    ]


def test_command_in_a_broken_environment(tmp_path):
    venv.create(tmp_path / 'env', symlinks=True)
    python = tmp_path / 'env/bin/python'
    (site,) = (tmp_path / 'env/lib').glob('python*/site-packages')
    pip = f'uv pip install --python {python}'

    # without packages, not even `packaging`
    assert run_doctor(python, tmp_path, PYTHONPATH=str(REPOSITORY)) == (
        1,
        numbered(
            ('pose_backbones is not installed', f'{pip} --no-deps -e {REPOSITORY}'),
            ('packaging is missing', f'{pip} "packaging>=23"'),
            (
                "xtcocotools cannot be imported: ModuleNotFoundError: No module named 'numpy'",
                f'{pip} numpy',
            ),
        ),
    )

    shutil.copytree(Path(packaging.__file__).parent, site / 'packaging')
    install(site, 'packaging', packaging.__version__)
    lite = 'mmcv-lite<2.2; extra == "openmmlab-lite"'
    install(site, 'pose_backbones', '1.0', 'numpy>=2', 'timm>=1', 'hotcoco>=1.3', lite)
    install(site, 'numpy', '1.26.4', numpy='')
    install(site, 'contourpy', '1.0.1', contourpy=f'raise ValueError("{NUMPY_ERROR}")')
    install(site, 'matplotlib', '3.9.0', matplotlib='import contourpy')
    install(site, 'scipy', '1.15.0', scipy='import json_tricks')
    install(site, 'torch', '2.11.0', torch='')
    install(site, 'torchvision', '0.29.2', 'torch==2.14.1')
    install(site, 'mmcv', '2.2.0', mmcv='')
    incompatible = 'raise AssertionError("MMCV==2.2.0 is used but incompatible.")'
    install(site, 'mmdet', '3.3.0', mmdet=incompatible)
    install(site, 'pillow', '12.0', PIL='import os; os._exit(5)')
    copy = tmp_path / 'copy'
    install(copy, 'av', '15.0')
    install(site, 'av', '17.1', av='')
    (copy / 'pose_backbones').mkdir()
    (copy / 'pose_backbones/__init__.py').touch()
    paths = f'{copy}{os.pathsep}{REPOSITORY}'
    assert run_doctor(python, tmp_path, PYTHONPATH=paths) == (
        1,
        numbered(
            (
                'torchvision 0.29.2 is built for torch==2.14.1, but torch 2.11.0 is installed',
                f'{pip} "torch==2.14.1"',
            ),
            (
                'pose_backbones requires numpy>=2, but numpy 1.26.4 is installed',
                f'{pip} "numpy>=2"',
            ),
            ('timm is missing', f'{pip} "timm>=1"'),
            ('hotcoco is missing', f'{pip} "hotcoco>=1.3"'),
            (
                'pose_backbones requires mmcv-lite<2.2, but mmcv 2.2.0 is installed',
                f'uv pip uninstall --python {python} -y mmcv && {pip} --no-deps "mmcv-lite<2.2"',
            ),
            (
                f'av is installed twice: 15.0 in {copy} is used, 17.1 in {site} is hidden',
                f'export PYTHONPATH={REPOSITORY}',
            ),
            (
                f'there are two copies of pose_backbones: {copy}/pose_backbones is used, '
                f'{REPOSITORY}/pose_backbones is hidden',
                f'export PYTHONPATH={REPOSITORY}',
            ),
            (
                'scipy 1.15.0 cannot be imported: ModuleNotFoundError: No module named '
                "'json_tricks'",
                f'{pip} json-tricks',
            ),
            (
                'contourpy 1.0.1 is compiled for another NumPy than 1.26.4',
                f'{pip} --upgrade --force-reinstall --no-deps contourpy',
            ),
            (
                'pillow 12.0 cannot be imported: the interpreter crashed while importing it '
                '(exit status 5)',
                f'{pip} --force-reinstall --no-deps "pillow==12.0"',
            ),
        ),
    )


def test_command_in_this_environment_with_pythonpath(tmp_path):
    install(tmp_path, 'scipy', '1.15.0', scipy=f'raise ValueError("{NUMPY_ERROR}")')
    install(tmp_path, 'torchvision', '0.99.0', 'torch==2.99.0')
    paths = f'{tmp_path}{os.pathsep}{REPOSITORY}'
    version = importlib.metadata.version
    places = {
        name: Path(str(importlib.metadata.distribution(name).locate_file(''))).resolve()
        for name in ('scipy', 'torchvision')
    }
    problems = [
        (
            f'torchvision 0.99.0 is built for torch==2.99.0, but torch {version("torch")} is '
            'installed',
            'pip install "torch==2.99.0"',
        ),
        (
            f'scipy is installed twice: 1.15.0 in {tmp_path} is used, {version("scipy")} in '
            f'{places["scipy"]} is hidden',
            f'export PYTHONPATH={REPOSITORY}',
        ),
        (
            f'torchvision is installed twice: 0.99.0 in {tmp_path} is used, '
            f'{version("torchvision")} in {places["torchvision"]} is hidden',
            f'export PYTHONPATH={REPOSITORY}',
        ),
        (
            f'scipy 1.15.0 is compiled for another NumPy than {version("numpy")}',
            'pip install --upgrade --force-reinstall --no-deps scipy',
        ),
    ]
    for name in [name for name in ('mmcv._ext', 'xtcocotools') if name in finder.active()][:1]:
        text = f'POSE_BACKBONES_REPLACEMENTS=0 disables the replacement of {name}, which cannot be '
        problems.append((f'{text}imported', 'unset POSE_BACKBONES_REPLACEMENTS'))
    problems = [(text, doctor._for_this_interpreter(fix)) for text, fix in problems]
    result = run_doctor(sys.executable, tmp_path, PYTHONPATH=paths, POSE_BACKBONES_REPLACEMENTS='0')
    assert result == (1, numbered(*problems))


def test_package_that_cannot_be_imported(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['pose-backbones', 'train'])
    monkeypatch.setitem(sys.modules, 'pose_backbones.cli.__main__', None)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith('error: pose_backbones cannot be imported (')
