"""Starting processes: what is refused, and with which command line."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT, run_tool, tool_env

from pose_backbones.apis import launch, runner
from pose_backbones.utils.errors import ConfigError, LaunchError


def test_torchrun_gets_the_nodes_from_the_environment(monkeypatch):
    for name, value in dict(NNODES='3', NODE_RANK='2', PORT='29001',
                            MASTER_ADDR='10.0.0.7').items():
        monkeypatch.setenv(name, value)
    assert launch.torchrun_arguments('train.py', 8, ['c.py', '--amp']) == [
        '--nnodes=3', '--node_rank=2', '--master_addr=10.0.0.7',
        '--master_port=29001', '--nproc_per_node=8', 'train.py', 'c.py',
        '--amp', '--launcher', 'pytorch'
    ]


@pytest.mark.parametrize(('name', 'value', 'message'), [
    ('NNODES', '0', 'NNODES=0: expected a whole number of at least 1'),
    ('NODE_RANK', '1', 'NODE_RANK=1 of NNODES=1'),
    ('PORT', 'auto', 'PORT=auto'),
])
def test_numbers_that_make_no_sense(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(LaunchError, match=message):
        launch.torchrun_arguments('train.py', 1, [])


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    runner.check_devices(2)
    with pytest.raises(
            LaunchError, match='3 processes .* this machine has 2 GPUs'):
        runner.check_devices(3)


def test_more_processes_than_gpus_in_a_real_process():
    code = (
        'import sys, torch\n'
        'torch.cuda.is_available = lambda: True\n'
        'torch.cuda.device_count = lambda: 1\n'
        'from pose_backbones.apis import cli, launch\n'
        'sys.argv = ["launch", "tools/train.py", "1", "config.py", "8"]\n'
        'cli.run(launch.main)\n')
    done = subprocess.run([sys.executable, '-c', code], env=tool_env(),
                          capture_output=True, text=True, check=False,
                          cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        'error: 8 processes were asked for, but this machine has 1 GPU: ')


@pytest.mark.parametrize('processes', ['0', 'two', '-1'])
def test_processes_that_are_no_number(processes):
    with pytest.raises(LaunchError, match=f"'{processes}' processes"):
        launch.main(['tools/train.py', '1', 'config.py', processes])


@pytest.mark.parametrize(('arguments', 'usage'), [
    (['tools/train.py', '1', 'c.py'], 'dist_train.sh CONFIG GPUS'),
    (['tools/test.py', '2', 'c.py', 'w.pth'],
     'dist_test.sh CONFIG CHECKPOINT GPUS'),
])
def test_too_few_arguments_show_the_usage(arguments, usage):
    with pytest.raises(ConfigError, match=usage):
        launch.main(arguments)


@pytest.mark.parametrize('name', ['slurm_train.sh', 'slurm_test.sh'])
def test_slurm_scripts_show_their_usage(name):
    done = run_tool(name, 'partition')
    assert done.returncode == 2
    assert f'usage: {name} PARTITION JOB CONFIG' in done.stdout
