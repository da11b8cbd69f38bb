"""Fixtures shared by the tests: a small dataset, a small config, log records, running tools."""

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

import pose_backbones  # noqa: F401  (patches MMEngine, registers the modules)
from tests.helpers.fork_server import shorten_logs
from tests.helpers.hypothesis_profiles import load_profiles
from tests.helpers.processes import Server
from tests.helpers.tools import ROOT, TINY

# One thread for each process of pytest-xdist: the models of the tests are too small for more.
torch.set_num_threads(1)
# Models are exported only in the tests of exported models.
os.environ['POSE_BACKBONES_BACKEND'] = 'torch'
# Pytest reads `--hypothesis-profile` next. A conftest.py in a subfolder would be imported later.
load_profiles()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run slow tests first if pytest-xdist distributes the tests over several processes."""
    if hasattr(config, 'workerinput'):
        items.sort(key=lambda item: item.get_closest_marker('slow') is None)


def pytest_collection_finish() -> None:
    """Exclude imported objects from garbage collection, which MMEngine runs often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def _fast_runner_setup() -> None:
    """Skip two slow steps of MMEngine's runner.

    These are the formatting of configs (in the log and in saved files) and the environment report.
    """
    shorten_logs()


@pytest.fixture(scope='module', autouse=True)
def _reset_mmengine() -> None:
    """Remove the visualizer, the scope and the loggers of runs in other modules.

    MMEngine keeps them in global registries. A logger of an earlier test may still write to a
    removed file or a full disk.
    """
    Visualizer._instance_dict.clear()
    DefaultScope._instance_dict.clear()
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            with suppress(OSError):  # the disk of a test was full
                handler.close()
    MMLogger._instance_dict.clear()


@pytest.fixture
def mmengine_log(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """Capture the log records of MMEngine's current logger from the level INFO."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger=logger.name):
        yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope='session')
def root() -> Path:
    """Return the root directory of the repository."""
    return ROOT


@pytest.fixture(scope='session')
def synthetic(tmp_path_factory) -> Path:
    """Generate a synthetic dataset in COCO's format: 24 training and 10 validation images."""
    from pose_backbones.synthetic import make_synthetic_coco

    folder = tmp_path_factory.mktemp('data') / 'synthetic'
    make_synthetic_coco(folder, 24, 10, seed=3)
    return folder


@pytest.fixture(scope='session')
def server(tmp_path_factory) -> Iterator[Server]:
    """Start a server that forks a process for each tool; tests can send signals to them."""
    server = Server(tmp_path_factory.mktemp('server'))
    yield server
    server.close()


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory) -> Path:
    """Write a config of a model with 40,000 parameters: six iterations, a batch size of 4."""
    path = tmp_path_factory.mktemp('configs') / 'tiny.py'
    path.write_text(
        TINY.format(root=ROOT, base='td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py', iters=6)
    )
    return path
