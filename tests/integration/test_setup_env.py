"""Tests of tools/setup_env.sh: one-line errors and locking."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.tools import ROOT

TOOLS = ('bash', 'dirname', 'cat', 'grep', 'tail', 'touch', 'sed')


@pytest.fixture
def project(tmp_path):
    """Copy of the files for the set-up, and a PATH with few commands.

    The command `sleep` is shorter than usual.
    """
    folder = tmp_path / 'project'
    (folder / 'tools').mkdir(parents=True)
    shutil.copy(ROOT / 'tools/setup_env.sh', folder / 'tools')
    for name in ('requirements.txt', 'pyproject.toml'):
        shutil.copy(ROOT / name, folder)
    commands = tmp_path / 'bin'
    commands.mkdir()
    for name in TOOLS:
        (commands / name).symlink_to(shutil.which(name))
    write_command(commands / 'sleep', f'exec {shutil.which("sleep")} 0.05')
    return folder, commands


def write_command(path, code: str) -> None:
    """Write a Bash script that can be run as a command."""
    path.write_text(f'#!{shutil.which("bash")}\n{code}\n')
    path.chmod(0o755)


def run_setup(project, **env):
    folder, commands = project
    clean = {'PATH': str(commands), 'HOME': str(folder), **env}
    return subprocess.run(
        [shutil.which('bash'), 'tools/setup_env.sh'],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_missing_python(project):
    done = run_setup(project)
    assert done.returncode == 2
    assert done.stderr.startswith('error: no Python 3.10 to 3.14 found')
    assert len(done.stderr.splitlines()) == 1
    assert not (project[0] / '.venv').exists()


def test_old_python(project):
    write_command(project[1] / 'python3.9', 'exit 1')
    done = run_setup(project, PYTHON='python3.9')
    assert done.returncode == 2
    assert 'PYTHON=python3.9 is not a Python of version 3.10' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_commands_that_fail_are_skipped(fake_python):
    """pyenv's commands fail for versions that are installed and not selected."""
    folder, commands = fake_python
    selected = folder / 'shims'
    selected.mkdir()
    for name in ('python3.14', 'python3.11'):
        write_command(selected / name, 'echo "command not found" >&2; exit 127')
    (folder / 'go').touch()
    done = run_setup(fake_python, PATH=f'{selected}:{commands}')
    assert done.returncode == 0, done.stderr
    assert '[setup] Python 3.11.7; environment in .venv' in done.stdout


def test_missing_network(project):
    done = run_setup(
        project,
        PYTHON=os.path.realpath(sys.executable),
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL='http://127.0.0.1:9/simple',
        PIP_NO_CACHE_DIR='1',
    )
    assert done.returncode == 2
    assert '[setup] installing the pinned requirements' in done.stdout
    assert done.stderr.startswith('error: the packages could not be downloaded: check the network')
    assert len(done.stderr.splitlines()) == 1
    assert not (project[0] / '.venv/.ready').exists()


@pytest.fixture
def fake_python(project):
    """Fake interpreter that creates an environment and writes a log.

    The interpreter of the environment is the same fake. Its pip prints messages, and logs its start
    and its end, for which it waits until the file `go` exists.
    """
    folder, commands = project
    write_command(
        commands / 'python3.11',
        f"""here={folder}
case "$*" in
    *"-m venv"*) {shutil.which('mkdir')} -p .venv/bin
        {shutil.which('cp')} "$0" .venv/bin/python ;;
    *"import pip"*) exit 1 ;;
    *"-m pip"*) echo "start $PPID" >>"$here/events"
        while [ ! -e "$here/go" ]; do sleep 1; done
        echo "Collecting all"; echo "end $PPID" >>"$here/events" ;;
    *platform*) echo 3.11.7 ;;
esac""",
    )
    (folder / 'pose_backbones').mkdir()
    (folder / 'pose_backbones/version.py').write_text('')
    return project


def start_setup(project):
    folder, commands = project
    return subprocess.Popen(
        [shutil.which('bash'), 'tools/setup_env.sh'],
        cwd=folder,
        env={'PATH': str(commands), 'HOME': str(folder)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize('command', ['flock', None])
def test_concurrent_setups_wait(fake_python, command):
    """The second set-up waits until the environment is ready."""
    folder, commands = fake_python
    if command:
        (commands / command).symlink_to(shutil.which(command))
    else:
        (commands / 'rm').symlink_to(shutil.which('rm'))
    first = start_setup(fake_python)
    while not (folder / 'events').exists():
        assert first.poll() is None, first.communicate()
    second = start_setup(fake_python)
    waiting = second.stdout.readline()
    (folder / 'go').touch()
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert [err for _, err in outputs] == ['', '']
    assert '[setup] ready after' in outputs[0][0]
    assert waiting == '[setup] another set-up of .venv is running: waiting\n'
    assert outputs[1][0] == '[setup] the other set-up has finished .venv\n'
    events = [line.split() for line in (folder / 'events').read_text().splitlines()]
    assert [name for name, _ in events] == ['start', 'end'] * 2
    assert 'Collecting all' in (folder / '.venv.setup.log').read_text()
    assert not (folder / '.venv.setup.lock').exists()


@pytest.mark.parametrize('command', ['flock', None])
def test_lock_of_a_killed_setup_is_released(fake_python, command):
    folder, commands = fake_python
    if command:
        (commands / command).symlink_to(shutil.which(command))
    first = start_setup(fake_python)
    while not (folder / 'events').exists():
        assert first.poll() is None, first.communicate()
    first.kill()
    (folder / 'go').touch()
    first.communicate()
    done = run_setup(fake_python)
    assert done.returncode == 0, done.stderr
    assert '[setup] ready after' in done.stdout
    assert (folder / '.venv/.ready').exists()
