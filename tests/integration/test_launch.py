"""Tests of launching processes: arguments, errors and signals."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import torch

from pose_backbones.cli import launch
from pose_backbones.engine import distributed
from pose_backbones.errors import ConfigError, LaunchError
from tests.helpers.processes import Process, children, runs
from tests.helpers.tools import ROOT, free_port, run_code, run_tool, tool_env

pytestmark = pytest.mark.slow


def test_torchrun_arguments_from_environment_variables(monkeypatch):
    for name, value in dict(
        NNODES='3', NODE_RANK='2', PORT='29001', MASTER_ADDR='10.0.0.7'
    ).items():
        monkeypatch.setenv(name, value)
    assert launch.torchrun_arguments('train.py', 8, ['c.py', '--amp']) == [
        '--nnodes=3',
        '--node_rank=2',
        '--master_addr=10.0.0.7',
        '--master_port=29001',
        '--nproc_per_node=8',
        'train.py',
        'c.py',
        '--amp',
        '--launcher',
        'pytorch',
    ]


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('NNODES', '0', 'NNODES=0: expected an integer of at least 1'),
        ('NODE_RANK', '1', 'NODE_RANK=1 with NNODES=1'),
        ('PORT', 'auto', 'PORT=auto'),
    ],
)
def test_invalid_environment_variables(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(LaunchError, match=message):
        launch.torchrun_arguments('train.py', 1, [])


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    distributed.check_devices(2)
    with pytest.raises(LaunchError, match='3 processes .* this machine has 2 GPUs'):
        distributed.check_devices(3)


def test_more_processes_than_gpus_in_a_new_process():
    code = (
        'import sys, torch\n'
        'torch.cuda.is_available = lambda: True\n'
        'torch.cuda.device_count = lambda: 1\n'
        'from pose_backbones.cli import entry_point, launch\n'
        'sys.argv = ["launch", "tools/train.py", "1", "config.py", "8"]\n'
        'entry_point.run(launch.main)\n'
    )
    done = run_code(code)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith(
        'error: 8 processes were requested, but this machine has 1 GPU: '
    )


@pytest.mark.parametrize('processes', ['0', 'two', '-1'])
def test_invalid_number_of_processes(processes):
    with pytest.raises(LaunchError, match=f"'{processes}' processes"):
        launch.main(['tools/train.py', '1', 'config.py', processes])


@pytest.mark.parametrize(
    ('arguments', 'usage'),
    [
        (['tools/train.py', '1', 'c.py'], 'dist_train.sh CONFIG GPUS'),
        (['tools/test.py', '2', 'c.py', 'w.pth'], 'dist_test.sh CONFIG CHECKPOINT GPUS'),
    ],
)
def test_missing_arguments_show_usage(arguments, usage):
    with pytest.raises(ConfigError, match=usage):
        launch.main(arguments)


@pytest.mark.parametrize(
    ('name', 'tool', 'positionals'),
    [('dist_train.sh', 'train.py', '1'), ('dist_test.sh', 'test.py', '2')],
)
def test_dist_scripts_become_the_launcher(tmp_path, name, tool, positionals):
    """Signals to the script reach the launcher, since it is the same process."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$$" "${PYTHONPATH%%:*}" "$@"\nexit 7\n')
    python.chmod(0o755)
    process = subprocess.Popen(
        ['bash', ROOT / 'tools' / name, 'config.py', '2', '--out', 'a b'],
        env=tool_env(PYTHON=str(python)),
        stdout=subprocess.PIPE,
        text=True,
    )
    pid, path, *arguments = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 7
    assert int(pid) == process.pid
    assert Path(path).resolve() == ROOT
    assert arguments == [
        str(ROOT / 'tools/_launch.py'),
        str(ROOT / 'tools' / tool),
        positionals,
        'config.py',
        '2',
        '--out',
        'a b',
    ]


@pytest.mark.parametrize('name', ['slurm_train.sh', 'slurm_test.sh'])
def test_slurm_scripts_show_usage(name):
    done = run_tool(name, 'partition')
    assert done.returncode == 2
    assert f'usage: {name} PARTITION JOB CONFIG' in done.stdout


WORKER = """
import os, sys, time
import torch
import torch.distributed as dist
from datetime import timedelta
from pose_backbones.cli import stopping
from pose_backbones.cli.entry_point import run
from pose_backbones.errors import ConfigError

def main(argv):
    stopping.when_stopped(lambda: 'step 7 is saved')
    dist.init_process_group('gloo', timeout=timedelta(seconds=4))
    value = torch.zeros(1)
    if sys.argv[1] == 'error':
        raise ConfigError(f'wrong in {sys.argv[2]}'
                          if sys.argv[2] != 'each' else
                          f'rank {dist.get_rank()} is wrong')
    while True:
        dist.all_reduce(value)
        print('together', flush=True)
        time.sleep(0.05)

run(main)
"""


@pytest.fixture
def launched(server, tmp_path):
    """Function that launches two processes of a small tool and returns them once they run."""
    script, temporary = tmp_path / 'worker.py', tmp_path / 'tmp'
    script.write_text(WORKER)
    temporary.mkdir()

    def launch_two(*arguments) -> tuple[Process, list[int]]:
        env = dict(PORT=free_port(), TMPDIR=str(temporary))
        process = server.start('_launch.py', script, 0, 2, *arguments, env=env)
        if arguments[0] == 'error':
            return process, []
        process.wait_for('together')
        workers = sorted(children(process.pid))
        assert len(workers) == 2
        return process, workers

    yield launch_two
    left = {file.name.split('-')[0] for file in temporary.iterdir()}
    assert left <= {'torchinductor_root'}


@pytest.mark.parametrize(('number', 'group'), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_signal_ends_all_processes_with_one_message(launched, number, group):
    process, workers = launched('go')
    process.send(number, group)
    assert process.wait() == 128 + number
    assert process.user_messages() == ['stopped; step 7 is saved']
    assert 'Traceback' not in process.output
    assert not any(map(runs, workers))


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_killed_process_is_named(launched, number):
    process, workers = launched('go')
    os.kill(workers[1], number)
    assert process.wait() == 128 + number
    assert process.user_messages() == [
        f'error: rank 1 (process {workers[1]}) was ended by {number.name}; step 7 is saved'
    ]
    assert 'Traceback' not in process.output
    assert not any(map(runs, workers))


def test_unresponsive_process_is_named(launched):
    process, workers = launched('go')
    os.kill(workers[1], signal.SIGSTOP)
    assert process.wait() == 3
    assert process.user_messages() == [
        f'error: rank 1 (process {workers[1]}) did not respond in time; step 7 is saved'
    ]
    assert 'Traceback' not in process.output
    assert not any(map(runs, workers))


def test_each_error_is_printed_once(launched):
    process, _ = launched('error', 'all')
    assert process.wait() == 2
    assert process.user_messages() == ['error: wrong in all']
    process, _ = launched('error', 'each')
    assert process.wait() == 2
    assert 1 <= len(set(process.user_messages())) == len(process.user_messages())


@pytest.fixture
def short_tmpdir():
    """Temporary directory whose path leaves room for the Unix sockets of data workers."""
    with tempfile.TemporaryDirectory(prefix='pb-', dir='/tmp') as folder:
        yield Path(folder)


def test_processes_end_with_a_killed_launcher(
    server, tiny_config, synthetic, tmp_path, short_tmpdir
):
    process = server.start(
        '_launch.py',
        ROOT / 'tools/train.py',
        1,
        tiny_config,
        2,
        '--data-root',
        synthetic,
        '--work-dir',
        tmp_path / 'work',
        '--cfg-options',
        'train_cfg.max_iters=2000',
        'train_dataloader.num_workers=1',
        env=dict(PORT=free_port(), TMPDIR=str(short_tmpdir)),
    )
    process.wait_for('Saving checkpoint at 2 ')
    workers = children(process.pid)
    processes = workers + [child for worker in workers for child in children(worker)]
    assert len(processes) == 4
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    until = time.monotonic() + 8
    while any(map(runs, processes)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(runs, processes))
    assert len(process.user_messages()) == 1
    assert process.user_messages()[0].startswith(
        f'stopped, because the launcher (process {process.pid}) has ended; '
    )
    assert not list(short_tmpdir.glob('pose_backbones*'))
