"""The set-up script: one clear line when something is missing."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

TOOLS = ('bash', 'dirname', 'cat', 'grep', 'tail', 'sleep', 'touch', 'sed')


@pytest.fixture
def project(tmp_path):
    """A copy of what the set-up needs, and a PATH with few commands."""
    folder = tmp_path / 'project'
    (folder / 'tools').mkdir(parents=True)
    shutil.copy(ROOT / 'tools/setup_env.sh', folder / 'tools')
    for name in ('requirements.txt', 'setup.py'):
        shutil.copy(ROOT / name, folder)
    commands = tmp_path / 'bin'
    commands.mkdir()
    for name in TOOLS:
        (commands / name).symlink_to(shutil.which(name))
    return folder, commands


def run_setup(project, **env):
    folder, commands = project
    clean = {'PATH': str(commands), 'HOME': str(folder), **env}
    return subprocess.run(
        [shutil.which('bash'), 'tools/setup_env.sh'], cwd=folder, env=clean,
        capture_output=True, text=True, check=False, timeout=120)


def test_no_python(project):
    done = run_setup(project)
    assert done.returncode == 2
    assert done.stderr.startswith('error: no Python 3.10, 3.11 or 3.12 found')
    assert len(done.stderr.splitlines()) == 1
    assert not (project[0] / '.venv').exists()


def test_an_interpreter_that_is_too_old(project):
    old = project[1] / 'python3.9'
    old.write_text('#!/bin/sh\nexit 1\n')
    old.chmod(0o755)
    done = run_setup(project, PYTHON='python3.9')
    assert done.returncode == 2
    assert 'PYTHON=python3.9 is not a Python of version 3.10' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_network(project):
    done = run_setup(
        project,
        PYTHON=os.path.realpath(sys.executable),
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL='http://127.0.0.1:9/simple',
        PIP_NO_CACHE_DIR='1')
    assert done.returncode == 2
    assert '[setup] installing what packages are built with' in done.stdout
    assert done.stderr.startswith(
        'error: the packages could not be downloaded: is there a network')
    assert len(done.stderr.splitlines()) == 1
    assert not (project[0] / '.venv/.ready').exists()
