"""Run the scripts in `tools/` in separate processes, and provide a tiny config."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.fork_server import shared_server

ROOT = Path(__file__).resolve().parents[2]

TINY = """
_base_ = '{root}/configs/moganet/{base}'

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=(8, 16, 16, 32),
            depths=(1, 1, 1, 1),
            ffn_ratios=(2, 2, 2, 2))),
    head=dict(in_channels=(8, 16, 16, 32), conv_out_channels=(16, )))
max_iters = {iters}
train_cfg = dict(max_iters=max_iters, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=4, start_factor=0.1, by_epoch=False)]
optim_wrapper = dict(optimizer=dict(lr=5e-4))
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
default_hooks = dict(
    checkpoint=dict(interval=2, max_keep_ckpts=-1, save_best=None),
    logger=dict(interval=1))
"""


def free_port() -> str:
    """Return a port on which no process listens."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small file system; requires the permission to mount.

    Args:
        folder: Mount point, which is created.
        size: Size, such as `'64k'`.
    """
    folder.mkdir()
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f'cannot mount a file system: {mounted.stderr.strip()}')
    try:
        yield folder
    finally:
        subprocess.run(['umount', '-l', folder], check=True)


def tool_env(**extra: str) -> dict[str, str]:
    """Return the environment variables with which a user would run the tools."""
    env = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'}
    env['PYTHONPATH'] = f'{ROOT}:{env.get("PYTHONPATH", "")}'
    for name in (
        'RANK',
        'WORLD_SIZE',
        'LOCAL_RANK',
        'MASTER_ADDR',
        'MASTER_PORT',
        'NNODES',
        'NODE_RANK',
        'PORT',
    ):
        env.pop(name, None)
    return {**env, **extra}


def run_tool(*command, timeout: float = 240, real: bool = False, **env: str):
    """Run a script in `tools/`, and return the completed process with merged output.

    By default, the process is forked from one that has already imported PyTorch. For dist_*.sh, the
    forked process is the launcher, which forks its workers.

    Args:
        command: Name of the script, or its absolute path, and its arguments.
        timeout: Maximum time in seconds.
        real: Whether to start a new interpreter, which imports all modules again. Other shell
            scripts always do.
        env: Additional environment variables.
    """
    name, *arguments = map(str, command)
    start = [str(ROOT / 'tools' / name), *arguments]
    if name.startswith('dist_') and not real:
        tool, count = ('train', '1') if 'train' in name else ('test', '2')
        tools = ROOT / 'tools'
        start = [str(tools / '_launch.py'), str(tools / f'{tool}.py'), count, *arguments]
    elif name.endswith('.sh'):
        start, real = ['bash', *start], True
    if not real:
        return run_forked([start], [tool_env(**env)], timeout)[0]
    if name.endswith('.py'):
        start = [sys.executable, *start]
    return subprocess.run(
        start,
        env=tool_env(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_code(code: str, *arguments, **env: str):
    """Run Python code as a script, see `run_tool`."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, 'script.py')
        script.write_text(code)
        return run_tool(script, *arguments, **env)


def process_group(count: int) -> list[dict[str, str]]:
    """Return the environment variables that torchrun sets for each of several processes."""
    shared = dict(
        WORLD_SIZE=str(count),
        LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=free_port(),
    )
    return [dict(shared, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(count)]


def run_together(*commands: tuple, timeout: float = 240):
    """Run a process for each command, as torchrun would, see `run_tool`.

    Args:
        commands: Script and arguments of each process. Tools need `'--launcher', 'pytorch'`.
        timeout: Maximum time in seconds.
    """
    envs = [tool_env(**env) for env in process_group(len(commands))]
    starts = [[str(ROOT / 'tools' / name), *map(str, arguments)] for name, *arguments in commands]
    return run_forked(starts, envs, timeout)


def run_forked(starts: list[list[str]], envs: list[dict[str, str]], timeout: float = 240) -> list:
    """Run several scripts at the same time in forked processes, see `run_tool`.

    Args:
        starts: Path and arguments of each script.
        envs: Environment variables of each script.
        timeout: Maximum time in seconds.
    """
    server = shared_server()
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, f'{number}.txt') for number in range(len(starts))]
        pids = [server.start(*arguments) for arguments in zip(starts, logs, envs, strict=True)]
        statuses = [server.wait(pid, timeout) for pid in pids]
        outputs = [log.read_text(errors='replace') for log in logs]
    return list(map(subprocess.CompletedProcess, starts, statuses, outputs))
