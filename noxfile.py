"""Tests in several environments, see docs/compatibility.md. Requires nox and uv (`make lint`).

    nox --list
    nox -s newest                  the whole test suite
    nox -s newest -- tests/env     some tests; not recorded
    nox -s smoke                   a short test in the oldest environment

A session writes its versions and the numbers of tests to `.nox/matrix/<session>.json`, from which
docs/scripts/make_matrix.py makes the table of the page.
"""

import os
from pathlib import Path

import nox

nox.options.default_venv_backend = 'uv'
nox.options.reuse_venv = 'yes'
nox.options.sessions = ['newest']

#: the dependencies that pyproject.toml declares, with mmcv-lite, and those of the tests
DECLARED = ('-r', 'pyproject.toml', *'--extra openmmlab-lite --extra video --group test'.split())
#: has wheels for Python 3.10 and 3.11, for NumPy 1; `--no-config`, since pyproject.toml excludes it
XTCOCOTOOLS = 'xtcocotools==1.14.3'
#: the versions that were pinned before
PREVIOUS = ('torch==2.11.0', 'torchvision==0.26.0', 'numpy==1.26.4')
RECORD = Path('.nox/matrix').resolve()


def install(session: nox.Session, *requirements: str) -> None:
    """Install requirements, and compile them: the tests start many interpreters."""
    session.run('uv', 'pip', 'install', '--compile-bytecode', *requirements, external=True)


def install_xtcocotools(session: nox.Session) -> None:
    install(session, '--no-config', '--no-deps', XTCOCOTOOLS)


def install_package(session: nox.Session) -> None:
    install(session, '--no-deps', '--no-build-isolation', '--editable', '.')


def run_tests(session: nox.Session) -> None:
    """Run the test suite, or the tests that the command line names."""
    install_package(session)
    install(session, 'pip')  # builds wheels in the tests; uv's environments have none
    env = {'OMP_NUM_THREADS': '1'}
    if session.posargs:
        session.run('python', '-m', 'pytest', *session.posargs, env=env)
        return
    RECORD.mkdir(parents=True, exist_ok=True)
    options = ['-n', os.environ.get('JOBS', 'logical'), '--maxprocesses=8', '--dist=loadfile']
    record = RECORD / f'{session.name}.xml'
    # a failed test is recorded as well
    session.run(
        'python', '-m', 'pytest', *options, f'--junitxml={record}', env=env, success_codes=[0, 1]
    )
    session.run('python', 'docs/scripts/make_matrix.py', 'record', record)


@nox.session(python=['3.14', '3.13', '3.12'])
def newest(session: nox.Session) -> None:
    """The pinned versions of requirements.txt: the environment that `make setup` creates."""
    install(session, '--no-deps', '-r', 'requirements.txt')
    run_tests(session)


@nox.session(python='3.11')
def previous(session: nox.Session) -> None:
    """The versions that were pinned before: NumPy 1 and the real xtcocotools."""
    install(session, *DECLARED, *PREVIOUS)
    install_xtcocotools(session)
    run_tests(session)


def install_oldest(session: nox.Session) -> None:
    install(session, *DECLARED, '--resolution', 'lowest-direct')
    install_xtcocotools(session)


@nox.session(python='3.10')
def oldest(session: nox.Session) -> None:
    """The lowest versions that pyproject.toml declares."""
    install_oldest(session)
    run_tests(session)


@nox.session(python='3.10')
def smoke(session: nox.Session) -> None:
    """Import, train, resume, test and predict in the oldest environment."""
    install_oldest(session)
    install_package(session)
    session.run('pose-backbones', 'doctor')
    session.run('python', '-m', 'pytest', '-m', 'smoke', env={'OMP_NUM_THREADS': '1'})


@nox.session(python='3.11')
def compiled(session: nox.Session) -> None:
    """The full mmcv with its compiled operators; requires a compiler, and about ten minutes."""
    install(session, *DECLARED, *PREVIOUS, 'ninja', 'setuptools<81')
    session.run('uv', 'pip', 'uninstall', 'mmcv-lite', external=True)
    session.env['MMCV_WITH_OPS'] = '1'
    install(session, '--no-deps', '--no-build-isolation', '--no-binary', 'mmcv', 'mmcv==2.1.0')
    install_xtcocotools(session)
    run_tests(session)
