"""Fixtures shared by the tests: tiny data, a tiny config, running tools."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

import pose_backbones  # noqa: F401  (before mmpose, for mmcv-lite)

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(2)


@pytest.fixture(scope='module', autouse=True)
def _nothing_of_other_runs() -> None:
    """MMEngine takes the visualizer and the scope of any run before."""
    Visualizer._instance_dict.clear()
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='module')
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring for maps of a few pixels."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture
def notes(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged, from the level INFO on."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger=logger.name):
        yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope='session')
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope='session')
def synthetic(tmp_path_factory) -> Path:
    """A synthetic data set of 24 training and 10 validation images."""
    from pose_backbones.synthetic import make_synthetic_coco

    folder = tmp_path_factory.mktemp('data') / 'synthetic'
    make_synthetic_coco(folder, 24, 10, seed=3)
    return folder


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


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory) -> Path:
    """A config of a model of 40,000 parameters, six steps of four people."""
    path = tmp_path_factory.mktemp('configs') / 'tiny.py'
    path.write_text(
        TINY.format(root=ROOT, base='td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py', iters=6)
    )
    return path


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A real file system that is soon full; needs the right to mount one.

    Args:
        folder: Where it is; made.
        size: Such as `'64k'`.
    """
    folder.mkdir()
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f'no disk can be mounted here: {mounted.stderr.strip()}')
    try:
        yield folder
    finally:
        subprocess.run(['umount', '-l', folder], check=True)


def tool_env(**extra: str) -> dict[str, str]:
    """The environment in which tools run as a user would run them."""
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


def run_tool(*command, timeout: float = 240, **env: str):
    """Run a script of tools/; returns the finished process, output merged.

    Args:
        command: The script's name and its arguments.
        timeout: Seconds.
        env: More environment variables.
    """
    name, *arguments = map(str, command)
    start = ['bash'] if name.endswith('.sh') else [sys.executable]
    return subprocess.run(
        [*start, str(ROOT / 'tools' / name), *arguments],
        env=tool_env(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
