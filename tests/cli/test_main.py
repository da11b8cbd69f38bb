"""The `pose-backbones` command."""

import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from pose_backbones import __version__
from pose_backbones.cli import entry_point
from pose_backbones.cli.__main__ import COMMANDS, PARSED_FIRST, main
from tests.helpers.tools import tool_env


def command(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'pose_backbones.cli', *map(str, arguments)],
        env=tool_env(),
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize('name', COMMANDS)
def test_command_help(name, capsys, monkeypatch):
    """The usage line starts with the name of the subcommand."""
    with pytest.raises(SystemExit) as end:
        main([name, '--help'])
    assert end.value.code == 0
    out = ' '.join(capsys.readouterr().out.split())
    assert out.startswith(f'usage: pose-backbones {name} [-h]')
    assert callable(import_module(f'pose_backbones.cli.{COMMANDS[name][0]}').main)


def test_version_and_command_list(capsys):
    with pytest.raises(SystemExit):
        main(['--version'])
    assert capsys.readouterr().out.strip() == __version__
    with pytest.raises(SystemExit):
        main(['--help'])
    out = capsys.readouterr().out
    assert all(f'  {name:17}{text}' in out for name, (_, text) in COMMANDS.items())


def test_unknown_command_exits_with_2(capsys):
    with pytest.raises(SystemExit) as end:
        main(['trian'])
    assert end.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


def test_missing_command(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert 'error: expected a COMMAND: train, test, ' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['mmpose', 'mmdet'])
def test_missing_openmmlab_package(name, monkeypatch, capsys):
    """`import pose_backbones` works without it, but the command does not."""

    def missing(*_):
        raise ModuleNotFoundError(f'No module named {name!r}', name=name)

    monkeypatch.setattr(entry_point, '_exit', sys.exit)
    monkeypatch.setattr('pose_backbones.cli.__main__.import_module', missing)
    with pytest.raises(SystemExit) as end:
        main(['flops', 'config.py'])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f'error: {name} is not installed; pose-backbones doctor prints how to install it\n'
    )


def test_command_receives_arguments_and_sets_exit_status(tmp_path):
    folder = tmp_path / 'data'
    done = command('synthesize', folder, '--train', 2, '--val', 1)
    assert done.returncode == 0, done.stderr
    truth = json.loads((folder / 'annotations/person_keypoints_train.json').read_text())
    assert len(truth['images']) == 2
    done = command('synthesize', folder, '--train', 3, '--val', 1)
    assert done.returncode == 2
    assert 'error: ' in done.stderr
    assert str(folder) in done.stderr


def test_help_and_wrong_options_need_no_pytorch():
    """A process runs all commands; the first import of PyTorch would be that of a command."""
    code = (
        'import sys\nfrom pose_backbones_env.command import main\n'
        f'for name in [None, *{list(COMMANDS)}]:\n'
        '    for option in ("--help", "--no-such-option"):\n'
        '        sys.argv = ["pose-backbones", *([name] if name else []), option]\n'
        '        try:\n            main()\n'
        '        except SystemExit as end:\n'
        '            loaded = [m for m in ("torch", "mmpose", "mmcv") if m in sys.modules]\n'
        '            print("result:", name, option, end.code, loaded, file=sys.stderr)\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env=tool_env(),
        text=True,
        capture_output=True,
        check=True,
    )
    lines = [line[8:] for line in done.stderr.splitlines() if line.startswith('result: ')]
    names = [None, *COMMANDS]
    assert [line for line in lines if '--help' in line] == [f'{name} --help 0 []' for name in names]
    wrong = [line for line in lines if line.split()[1] == '--no-such-option']
    assert wrong == [f'{name} --no-such-option 2 []' for name in names]


@pytest.mark.parametrize('name', COMMANDS)
def test_options_are_parsed_first_if_they_have_a_module(name):
    module = COMMANDS[name][0]
    has_module = find_spec(f'pose_backbones.cli.{module}_options') is not None
    assert (name in PARSED_FIRST) == has_module
