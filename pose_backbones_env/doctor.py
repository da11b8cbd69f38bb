"""`pose-backbones doctor`: print what is installed, and find what does not fit together.

It does not import `pose_backbones`, which cannot be imported in a broken environment. Modules are
imported in another process, since a module for another version can crash the interpreter.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import finder

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: distributions that are listed → the module that is imported, if any; the last distribution of a
#: module is installed if the module is missing
PACKAGES = {
    'numpy': 'numpy',
    'packaging': 'packaging.requirements',
    'torch': 'torch',
    'torchvision': 'torchvision',
    'opencv-python-headless': 'cv2',
    'opencv-python': 'cv2',
    'scipy': 'scipy.stats',
    'matplotlib': 'matplotlib.pyplot',
    'pillow': 'PIL.Image',
    'pyyaml': 'yaml',
    'shapely': 'shapely',
    'timm': 'timm',
    'mmengine': 'mmengine.runner',
    'mmcv': 'mmcv.ops',
    'mmcv-lite': 'mmcv.ops',
    'mmpretrain': 'mmpretrain',
    'mmpose': 'mmpose.apis',
    'mmdet': 'mmdet.apis',
    'xtcocotools': 'xtcocotools.cocoeval',
    'pycocotools': 'pycocotools.mask',
    'hotcoco': 'hotcoco',
    'av': 'av',
    'setuptools': None,
}
#: distributions that work only with each other's files if there is one of them
_ALTERNATIVES = (
    ('mmcv', 'mmcv-lite'),
    ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python'),
)
#: system libraries of OpenCV that it does not contain and that servers do not have
_GRAPHICS = re.compile(r'lib(GL|gthread|xcb|X11|Xext|SM)\b')
#: messages of modules compiled for another version of NumPy
_OTHER_NUMPY = re.compile(
    r'numpy\.dtype size changed|compiled using NumPy 1|_ARRAY_API not found|'
    r'numpy\.core\.multiarray failed to import'
)
#: extra with the packages that every command needs
_OPENMMLAB = 'openmmlab-lite'
#: mmcv cannot be built in pip's isolated build, which has a setuptools without pkg_resources
_MMCV_LITE = 'mmcv-lite==2.1.0'
#: CUDA version → the PyTorch versions 2.x that have wheels for it on download.pytorch.org
_CUDA_BUILDS = {
    11.8: range(6, 8),
    12.4: range(6, 7),
    12.6: range(6, 15),
    12.8: range(7, 12),
    13.0: range(9, 100),
}
_PROBE = Path(__file__).with_name('probe.py')
_PROBE_TIME = 300  # seconds
_DRIVER_TIME = 60  # seconds
_NO_RESPONSE = 'not responding'
_SWITCH = 'POSE_BACKBONES_REPLACEMENTS'


@dataclass(frozen=True)
class Problem:
    """Something that does not fit together.

    Attributes:
        text: Description of the problem, with the versions.
        fix: The command that fixes it, or what to do if there is none.
        cause: Distribution, variable or error. A cause is reported once by `check_imports`.
    """

    text: str
    fix: str
    cause: str = ''


class ImportFailure(NamedTuple):
    """A module that cannot be imported, with the error.

    `package` is the distribution of the last module in the traceback, '' if there is none.
    """

    module: str
    error: str
    package: str = ''


def version_of(name: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements(name: str) -> list[tuple['Requirement', str]]:
    """Return the requirements of a distribution, with the commands that install them."""
    try:
        from packaging.requirements import Requirement

        lines = importlib.metadata.requires(name) or ()
    except ImportError:  # of packaging, or the distribution is not installed
        return []
    requirements = []
    for line in lines:
        requirement = Requirement(line)
        marker, option = requirement.marker, ''
        if marker is not None and not marker.evaluate({'extra': ''}):
            if not marker.evaluate({'extra': _OPENMMLAB}):
                continue
            option = '--no-deps '  # MMPose requires chumpy, which cannot be built
        command = f'pip install {option}"{requirement.name}{requirement.specifier}"'
        requirements.append((requirement, command))
    return requirements


def check_requirements(name: str = 'pose_backbones') -> Iterator[Problem]:
    """Compare the installed versions with those that a distribution requires."""
    if version_of(name) is None:
        repository = shlex.quote(str(Path(__file__).parents[1]))
        yield Problem(f'{name} is not installed', f'pip install --no-deps -e {repository}')
    if version_of('packaging') is None:  # requirements cannot be read
        yield Problem('packaging is missing', 'pip install "packaging>=23"', 'packaging')
    for requirement, command in _requirements(name):
        required = f'{requirement.name}{requirement.specifier}'
        names = next(
            (names for names in _ALTERNATIVES if requirement.name in names), (requirement.name,)
        )
        installed = {name: version for name in names if (version := version_of(name))}
        if not installed:
            yield Problem(f'{requirement.name} is missing', command, requirement.name)
        elif not any(_contains(requirement, version) for version in installed.values()):
            other, version = next(iter(installed.items()))
            if other == 'mmcv':
                command = f'pip uninstall -y mmcv && {command}'
            else:
                command = command.replace(required, f'{other}{requirement.specifier}')
            text = f'{name} requires {required}, but {other} {version} is installed'
            yield Problem(text, command, other)


def check_torchvision() -> Iterator[Problem]:
    """Compare the version of PyTorch with the one for which torchvision was built."""
    torch = version_of('torch')
    for requirement, command in _requirements('torchvision'):
        if torch and requirement.name == 'torch' and not _contains(requirement, torch):
            yield Problem(
                f'torchvision {version_of("torchvision")} is built for '
                f'torch{requirement.specifier}, but torch {torch} is installed',
                command,
                'torchvision',
            )


def _contains(requirement: 'Requirement', version: str) -> bool:
    return requirement.specifier.contains(version, prereleases=True)


def check_alternatives() -> Iterator[Problem]:
    """Find distributions that overwrite each other's files."""
    for names in _ALTERNATIVES:
        versions = {name: version for name in names if (version := version_of(name))}
        if len(versions) < 2 or ('opencv-python' in versions and len(set(versions.values())) == 1):
            continue
        keep = 'opencv-python' if 'opencv-python' in versions else names[-1]
        listed = ' and '.join(f'{name} {version}' for name, version in versions.items())
        yield Problem(
            f'{listed} are installed in the same directory',
            f'pip uninstall -y {" ".join(versions)} && '
            f'pip install --no-deps "{keep}=={versions[keep]}"',
            names[0],
        )


def check_duplicates() -> Iterator[Problem]:
    """Find distributions that are installed twice on `sys.path`."""
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for distribution in importlib.metadata.distributions():
        name = (distribution.metadata['Name'] or '').lower().replace('_', '-')
        place = os.path.realpath(str(distribution.locate_file('')))
        if name in PACKAGES:
            places[name][place] = distribution.version
    for name, versions in sorted(places.items()):
        if len(versions) > 1:
            first, *others = versions
            pinned = _MMCV_LITE if name == 'mmcv' else f'{name}=={versions[first]}'
            yield Problem(
                f'{name} is installed twice: {versions[first]} in {first} is used, '
                + ', '.join(f'{versions[other]} in {other}' for other in others)
                + ' is hidden',
                _fix_of_path(first)
                or f'pip uninstall -y {name} && ' * len(versions)
                + f'pip install --no-deps "{pinned}"',
            )
    copies = []
    for folder in sys.path:
        package = os.path.realpath(os.path.join(folder or '.', 'pose_backbones'))
        if os.path.isfile(os.path.join(package, '__init__.py')) and package not in copies:
            copies.append(package)
    if len(copies) > 1:
        fixes = [_fix_of_path(os.path.dirname(copy)) for copy in copies]
        yield Problem(
            f'there are two copies of pose_backbones: {copies[0]} is used, {copies[1]} is hidden',
            next((fix for fix in fixes if fix), 'pip uninstall -y pose_backbones'),
        )


def _fix_of_path(folder: str) -> str | None:
    """Return the command that removes a directory from PYTHONPATH; None if it is not there."""
    folders = [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path]
    rest = [path for path in folders if os.path.realpath(path) != folder]
    if len(rest) == len(folders):
        return None
    value = shlex.quote(os.pathsep.join(rest))
    return f'export PYTHONPATH={value}' if rest else 'unset PYTHONPATH'


def probe() -> tuple[list[ImportFailure], dict]:
    """Import the modules of the installed packages in another process.

    Returns:
        The modules that cannot be imported, and the facts about PyTorch and the replacements.
    """
    modules = list(
        dict.fromkeys(
            module
            for name, module in PACKAGES.items()
            if module and (version_of(name) or name == 'xtcocotools')
        )
    )
    try:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', str(_PROBE), *modules],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIME,
            check=False,
        )
        output = done.stdout
        end = f'the interpreter crashed while importing it (exit status {done.returncode})'
    except subprocess.TimeoutExpired as error:
        output, end = (error.stdout or b'').decode(), f'timed out after {_PROBE_TIME} s'
    failures, facts, running = [], {}, None
    for line in output.splitlines():
        if not line.startswith('{"'):
            continue
        record = json.loads(line)
        if 'start' in record:
            running = record['start']
        elif 'module' in record:
            running = None
            if record['error']:
                failures.append(ImportFailure(**record))
        else:
            facts = record
    if running is not None:
        failures.append(ImportFailure(running, end))
    return failures, facts


def _explain(failure: ImportFailure) -> Problem:
    """Return the problem because of which a module cannot be imported."""
    module, error, package = failure
    names = [name for name, imported in PACKAGES.items() if imported == module and version_of(name)]
    name = names[0] if names else module.partition('.')[0]
    package = package or name
    match = re.search(r"No module named '([\w.]+)'", error)
    missing = match[1] if match else ''
    if os.environ.get(_SWITCH) == '0':
        for replaced in (missing, package, name):
            if replaced in finder.REPLACED:
                text = f'{_SWITCH}=0 disables the replacement of {replaced}'
                return Problem(f'{text}, which cannot be imported', f'unset {_SWITCH}', _SWITCH)
    if _OTHER_NUMPY.search(error) or _GRAPHICS.search(error):
        name = package
    cause, fix = error, _install(name)
    text = f'{name} {version_of(name) or ""}'.rstrip() + f' cannot be imported: {error}'
    if missing and '.' not in missing:
        distributions = {(path or key).partition('.')[0]: key for key, path in PACKAGES.items()}
        distributions['distutils'] = 'setuptools'  # removed from Python 3.12
        cause = distributions.get(missing, missing.replace('_', '-'))
        fix = _install(cause)
    elif 'mmcv' in (name, package) or re.search('MMCV==.* is used but incompatible', error):
        cause, fix = 'mmcv', f'pip uninstall -y mmcv && pip install --no-deps {_MMCV_LITE}'
    elif _OTHER_NUMPY.search(error):
        cause, fix = name, f'pip install --upgrade --force-reinstall --no-deps {name}'
        numpy = version_of('numpy')
        text = f'{name} {version_of(name)} is compiled for another NumPy than {numpy}'
    elif _GRAPHICS.search(error):
        headless = f'opencv-python-headless=={version_of(name)}'
        cause, fix = name, f'pip uninstall -y {name} && pip install --no-deps "{headless}"'
    elif 'operator torchvision::' in error:
        cause, fix = 'torchvision', _install('torchvision')
    return Problem(text, fix, cause)


def _install(name: str) -> str:
    """Return the command that installs a distribution, in the same version if there is one."""
    if version := version_of(name):
        return f'pip install --force-reinstall --no-deps "{name}=={version}"'
    for requirement, command in _requirements('pose_backbones'):
        if requirement.name == name:
            return command
    return f'pip install {name}'


def check_imports(
    failures: Iterable[ImportFailure], explained: Iterable[str] = ()
) -> Iterator[Problem]:
    """Explain why modules cannot be imported.

    Args:
        failures: From `probe`.
        explained: Causes that have been reported, see `Problem`.
    """
    reported = set(explained)
    for failure in failures:
        # A module that cannot be imported is the reason why others cannot.
        problem = _explain(failure)
        if problem.cause not in reported:
            reported.add(problem.cause)
            yield problem


def check_cuda(facts: dict, driver: str | None) -> Iterator[Problem]:
    """Find out why PyTorch does not use a GPU that is there.

    Args:
        facts: From `probe`.
        driver: From `driver_version`.
    """
    if driver == _NO_RESPONSE:
        text = f'the NVIDIA driver does not respond: nvidia-smi timed out after {_DRIVER_TIME} s'
        yield Problem(text, 'restart the computer')
        return
    if driver is None or facts.get('cuda_available', True):
        return
    if facts['cuda'] is None:
        text = f'there is a GPU (driver for CUDA {driver}), but PyTorch is built for the CPU only'
        fix = _install_cuda_build(driver)
    elif int(float(facts['cuda'])) > int(float(driver)):
        text = f'PyTorch is built for CUDA {facts["cuda"]}, but the driver supports CUDA {driver}'
        fix = _install_cuda_build(driver)
    else:
        text = f'PyTorch cannot use the GPU: {facts.get("cuda_error") or "no GPU is visible"}'
        hidden = 'CUDA_VISIBLE_DEVICES' in os.environ
        fix = 'unset CUDA_VISIBLE_DEVICES' if hidden else 'restart the computer'
    yield Problem(text, fix)


def _install_cuda_build(driver: str) -> str:
    """Return the command that installs the newest CUDA build of PyTorch that a driver supports."""
    versions = [(name, version_of(name) or '') for name in ('torch', 'torchvision')]
    match = re.match(r'2\.(\d+)', versions[0][1])
    # A driver also supports the later CUDA versions with its major version, without some features:
    # https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    builds = [
        cuda
        for cuda, releases in _CUDA_BUILDS.items()
        if match and int(match[1]) in releases and int(cuda) <= int(float(driver))
    ]
    if not builds:
        return 'update the NVIDIA driver'
    build = max([cuda for cuda in builds if cuda <= float(driver)], default=builds[0])
    pins = [f'{name}=={version.partition("+")[0]}' for name, version in versions if version]
    # `pip install --force-reinstall` would upgrade NumPy, too.
    return (
        f'pip uninstall -y torch torchvision && pip install {" ".join(pins)} '
        f'--index-url https://download.pytorch.org/whl/cu{build * 10:.0f}'
    )


def driver_version() -> str | None:
    """Return the CUDA version of the driver, 'not responding', or None without a GPU."""
    if shutil.which('nvidia-smi') is None:
        return None
    try:
        done = subprocess.run(
            ['nvidia-smi'], capture_output=True, text=True, timeout=_DRIVER_TIME, check=False
        )
    except subprocess.TimeoutExpired:
        return _NO_RESPONSE
    match = re.search(r'CUDA(?: UMD)? Version: *([\d.]+)', done.stdout)
    return match[1] if done.returncode == 0 and match else None


def _for_this_interpreter(fix: str) -> str:
    """Return the command with the pip of this interpreter, or with uv's if it has none."""
    python = shlex.quote(sys.executable)
    if importlib.util.find_spec('pip') is not None:
        return re.sub(r'\bpip (?=install|uninstall)', lambda match: f'{python} -m pip ', fix)
    return re.sub(
        r'\bpip (install|uninstall)', lambda match: f'uv pip {match[1]} --python {python}', fix
    )


def main(argv: list[str] | None = None) -> int:
    """Print the report; the exit status is 1 if there is a problem, else 0."""
    argparse.ArgumentParser(
        prog='pose-backbones doctor',
        description='Print the installed packages, the replacements in use, and for each problem '
        'the command that fixes it. The output can be pasted into a bug report.',
    ).parse_args(argv)
    print(f'pose_backbones {version_of("pose_backbones")}  ({Path(__file__).parents[1]})')
    print(f'Python {platform.python_version()}  ({sys.executable})')
    print(platform.platform())
    print('\npackages')
    for name in PACKAGES:
        print(f'  {name:24}{version_of(name) or "-"}')
    failures, facts = probe()
    print('\nreplacements of modules')
    for name in finder.REPLACED:
        state = facts.get('replacements', {}).get(name, 'not needed')
        print(f'  {name:24}{state}')
    if os.environ.get(_SWITCH) == '0':
        print(f'  (disabled by {_SWITCH}=0)')
    driver = driver_version()
    print('\nCUDA')
    print(f'  PyTorch                 {facts.get("cuda") or "-"}')
    print(f'  driver                  {driver or "-"}')
    print(f'  GPU                     {facts.get("gpu") or "-"}')
    problems = [
        *check_torchvision(),
        *check_requirements(),
        *check_alternatives(),
        *check_duplicates(),
    ]
    problems += check_imports(failures, [problem.cause for problem in problems])
    problems += check_cuda(facts, driver)
    print('\nproblems' if problems else '\nno problems')
    for number, problem in enumerate(problems, 1):
        print(f'  {number}. {problem.text}\n     fix: {_for_this_interpreter(problem.fix)}')
    return int(bool(problems))
