"""`pose-backbones doctor`: print what is installed, and find what does not fit together.

It does not import `pose_backbones`, which does not import in a broken environment. Modules are
imported in another process, since a module for another version can end the interpreter.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import finder

#: distributions that are listed → the module that is imported, if any
PACKAGES = {
    'numpy': 'numpy',
    'torch': 'torch',
    'torchvision': 'torchvision',
    'opencv-python': 'cv2',
    'opencv-python-headless': 'cv2',
    'scipy': 'scipy.stats',
    'matplotlib': 'matplotlib.pyplot',
    'pillow': 'PIL.Image',
    'timm': 'timm',
    'mmengine': 'mmengine.runner',
    'mmcv': 'mmcv.ops',
    'mmcv-lite': 'mmcv.ops',
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
#: what a module says that was compiled for another version of NumPy
_OTHER_NUMPY = re.compile(
    r'numpy\.dtype size changed|compiled using NumPy 1|_ARRAY_API not found|'
    r'numpy\.core\.multiarray failed to import'
)
#: extra with the packages that every command needs
_OPENMMLAB = 'openmmlab-lite'
_PROBE = Path(__file__).with_name('probe.py')
_PROBE_TIME = 300  # seconds


@dataclass(frozen=True)
class Problem:
    """Something that does not fit together.

    Attributes:
        text: What was found, with the versions.
        fix: The command that fixes it.
    """

    text: str
    fix: str


def version_of(name: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_requirements(name: str = 'pose_backbones') -> Iterator[Problem]:
    """Compare the installed versions with those that a distribution requires."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        yield Problem(f'{name} is not installed', 'pip install --no-deps . (in its repository)')
        return
    for line in lines:
        requirement = Requirement(line)
        marker, option = requirement.marker, ''
        if marker is not None and not marker.evaluate({'extra': ''}):
            if not marker.evaluate({'extra': _OPENMMLAB}):
                continue
            option = '--no-deps '  # MMPose requires chumpy, which cannot be built
        if any(
            requirement.name in names and any(version_of(name) for name in names)
            for names in _ALTERNATIVES
        ) and not version_of(requirement.name):
            continue
        installed = version_of(requirement.name)
        wanted = f'{requirement.name}{requirement.specifier}'
        fix = f'pip install {option}"{wanted}"'
        if installed is None:
            yield Problem(f'{requirement.name} is missing', fix)
        elif not requirement.specifier.contains(installed, prereleases=True):
            yield Problem(f'{name} requires {wanted}, but {installed} is installed', fix)


def check_torchvision() -> Iterator[Problem]:
    """Compare the version of PyTorch with the one for which torchvision was built."""
    from packaging.requirements import Requirement

    torch = version_of('torch')
    if torch is None or version_of('torchvision') is None:
        return
    for line in importlib.metadata.requires('torchvision') or ():
        requirement = Requirement(line)
        if requirement.name == 'torch' and not requirement.specifier.contains(
            torch.partition('+')[0], prereleases=True
        ):
            yield Problem(
                f'torchvision {version_of("torchvision")} is built for '
                f'torch{requirement.specifier}, but torch {torch} is installed',
                f'pip install "torch{requirement.specifier}"',
            )


def check_alternatives() -> Iterator[Problem]:
    """Find distributions that overwrite each other's files."""
    for names in _ALTERNATIVES:
        versions = {name: version_of(name) for name in names}
        versions = {name: version for name, version in versions.items() if version}
        if len(versions) < 2 or ('opencv-python' in versions and len(set(versions.values())) == 1):
            continue
        keep = 'opencv-python' if 'opencv-python' in versions else names[-1]
        listed = ' and '.join(f'{name} {version}' for name, version in versions.items())
        yield Problem(
            f'{listed} are installed in the same directory',
            f'pip uninstall -y {" ".join(versions)} && '
            f'pip install "{keep}=={versions.get(keep, next(iter(versions.values())))}"',
        )


def check_duplicates() -> Iterator[Problem]:
    """Find distributions that are installed twice on `sys.path`."""
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for distribution in importlib.metadata.distributions():
        name = (distribution.metadata['Name'] or '').lower().replace('_', '-')
        place = os.path.realpath(str(distribution.locate_file('')))
        if name in (*PACKAGES, 'pose-backbones'):
            places[name][place] = distribution.version
    for name, versions in places.items():
        # An editable installation and its repository are the same package.
        if len(versions) > 1 and name != 'pose-backbones':
            first, *others = versions
            fix = _fix_of_path(first) or (
                f'pip uninstall {name} (until there is none), then '
                f'pip install "{name}=={versions[first]}"'
            )
            yield Problem(
                f'{name} is installed twice: {versions[first]} in {first} is used, '
                + ', '.join(f'{versions[other]} in {other}' for other in others)
                + ' is hidden',
                fix,
            )
    copies = []
    for folder in sys.path:
        package = os.path.realpath(os.path.join(folder or '.', 'pose_backbones'))
        if os.path.isfile(os.path.join(package, '__init__.py')) and package not in copies:
            copies.append(package)
    if len(copies) > 1:
        yield Problem(
            f'there are two copies of pose_backbones: {copies[0]} is used, {copies[1]} is hidden',
            'pip uninstall pose_backbones, or remove one of the directories from PYTHONPATH',
        )


def _fix_of_path(folder: str) -> str | None:
    """Return the command that removes a directory from PYTHONPATH; None if it is not there."""
    folders = [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path]
    rest = [path for path in folders if os.path.realpath(path) != folder]
    if len(rest) == len(folders):
        return None
    return f'export PYTHONPATH={os.pathsep.join(rest)}' if rest else 'unset PYTHONPATH'


def probe() -> tuple[dict[str, str], dict]:
    """Import the modules of the installed packages in another process.

    Returns:
        Module → error, '' if it imports; and the facts about PyTorch and the replacements.
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
        output, status = done.stdout, f'exit status {done.returncode}'
    except subprocess.TimeoutExpired as error:
        output, status = (error.stdout or b'').decode(), f'no end after {_PROBE_TIME} s'
    errors, facts, running = {}, {}, None
    for line in output.splitlines():
        if not line.startswith('{"'):
            continue
        record = json.loads(line)
        if 'start' in record:
            running = record['start']
        elif 'module' in record:
            errors[record['module']], running = record['error'], None
        else:
            facts = record
    if running is not None:
        errors[running] = f'the interpreter ended while importing it ({status})'
    return errors, facts


def _cause(error: str) -> str:
    """Return the name of a package on which others fail, or the error."""
    if _OTHER_NUMPY.search(error):
        return 'NumPy'
    return 'torchvision' if 'operator torchvision::' in error else error


def check_imports(errors: dict[str, str], explained: Iterable[str] = ()) -> Iterator[Problem]:
    """Explain why modules do not import.

    Args:
        errors: From `probe`.
        explained: Causes that have been reported, see `_cause`.
    """
    reported = set(explained)
    for module, error in errors.items():
        # A module that does not import is the reason why others do not.
        cause = _cause(error)
        if not error or cause in reported:
            continue
        reported.add(cause)
        name = next(
            name for name, known in PACKAGES.items() if known == module and version_of(name)
        )
        text = f'{name} {version_of(name)} does not import: {error}'
        if cause == 'NumPy':
            text = (
                f'{name} {version_of(name)} is compiled for another NumPy than '
                f'{version_of("numpy")}'
            )
            yield Problem(text, f'pip install --upgrade --force-reinstall --no-deps {name}')
        elif _GRAPHICS.search(error):
            yield Problem(
                text,
                f'pip uninstall -y {name} && pip install --no-deps '
                f'"opencv-python-headless=={version_of(name)}"',
            )
        elif match := re.search(r'MMCV==(\S+) is used but incompatible', error):
            yield Problem(
                f'{name} {version_of(name)} does not accept mmcv {match[1]}',
                'pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0',
            )
        else:
            yield Problem(
                text, f'pip install --force-reinstall --no-deps "{name}=={version_of(name)}"'
            )


def check_cuda(facts: dict, driver: str | None) -> Iterator[Problem]:
    """Find out why PyTorch does not use a GPU that is there.

    Args:
        facts: From `probe`.
        driver: From `driver_version`.
    """
    if driver is None or facts.get('cuda_available', True):
        return
    if facts['cuda'] is None:
        yield Problem(
            f'there is a GPU (driver for CUDA {driver}), but PyTorch is built for the CPU only',
            'choose the CUDA build on https://pytorch.org/get-started/locally/',
        )
    else:
        yield Problem(
            f'PyTorch is built for CUDA {facts["cuda"]}, but the driver supports CUDA {driver}: '
            f'{facts.get("cuda_error") or "no GPU is visible"}',
            'update the driver, or choose an older CUDA build on '
            'https://pytorch.org/get-started/previous-versions/',
        )


def driver_version() -> str | None:
    """Return the CUDA version of the driver, or None without a GPU."""
    if shutil.which('nvidia-smi') is None:
        return None
    done = subprocess.run(['nvidia-smi'], capture_output=True, text=True, timeout=60, check=False)
    match = re.search(r'CUDA(?: UMD)? Version: *([\d.]+)', done.stdout)
    return match[1] if done.returncode == 0 and match else None


def _with_available_pip(fix: str) -> str:
    """Return the command with uv's pip if the environment has none, as those that uv creates."""
    if importlib.util.find_spec('pip') is not None:
        return fix
    return re.sub(r'\bpip (?=install|uninstall)', 'uv pip ', fix)


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
    errors, facts = probe()
    print('\nreplacements of modules')
    for name in finder.REPLACED:
        state = facts.get('replacements', {}).get(name, 'not needed')
        print(f'  {name:24}{state}')
    if os.environ.get('POSE_BACKBONES_REPLACEMENTS') == '0':
        print('  (disabled by POSE_BACKBONES_REPLACEMENTS=0)')
    driver = driver_version()
    print('\nCUDA')
    print(f'  PyTorch                 {facts.get("cuda") or "-"}')
    print(f'  driver                  {driver or "-"}')
    print(f'  GPU                     {facts.get("gpu") or "-"}')
    versions = list(check_torchvision())
    problems = [
        *versions,
        *check_requirements(),
        *check_alternatives(),
        *check_duplicates(),
        *check_imports(errors, ['torchvision'] if versions else []),
        *check_cuda(facts, driver),
    ]
    print('\nproblems' if problems else '\nno problems')
    for number, problem in enumerate(problems, 1):
        print(f'  {number}. {problem.text}\n     fix: {_with_available_pip(problem.fix)}')
    return int(bool(problems))
