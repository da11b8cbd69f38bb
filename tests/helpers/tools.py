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
    head=dict(in_channels=72, conv_out_channels=(16, )))
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

    By default, the process is forked from one that has already imported PyTorch.

    Args:
        command: Name of the script, and its arguments.
        timeout: Maximum time in seconds.
        real: Whether to start a new interpreter, which imports all modules again. Shell scripts
            always do.
        env: Additional environment variables.
    """
    name, *arguments = map(str, command)
    script = str(ROOT / 'tools' / name)
    if not real and name.endswith('.py'):
        server = shared_server()
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, 'log.txt')
            pid = server.start([script, *arguments], log, tool_env(**env))
            status = server.wait(pid, timeout)
            output = log.read_text(errors='replace')
        return subprocess.CompletedProcess([script, *arguments], status, output)
    interpreter = ['bash'] if name.endswith('.sh') else [sys.executable]
    return subprocess.run(
        [*interpreter, script, *arguments],
        env=tool_env(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
