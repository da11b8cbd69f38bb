"""Fixtures shared by the tests: tiny data, a tiny config, running tools."""

import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

import pose_backbones  # noqa: F401  (before mmpose, for mmcv-lite)
from tests.helpers.fork_server import shorten_logs
from tests.helpers.processes import Server
from tests.helpers.tools import ROOT, TINY

# One for each process of pytest-xdist; the models here are too small for more.
torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the slow modules where several processes share the tests."""
    if hasattr(config, 'workerinput'):
        items.sort(key=lambda item: item.get_closest_marker('slow') is None)


def pytest_collection_finish() -> None:
    """Exempt what is imported from garbage collection; MMEngine collects often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def _quick_runs() -> None:
    """Skip what takes MMEngine's runner a second for its log."""
    shorten_logs()


@pytest.fixture(scope='module', autouse=True)
def _nothing_of_other_runs() -> None:
    """MMEngine takes the visualizer and the scope of any run before."""
    Visualizer._instance_dict.clear()
    DefaultScope._instance_dict.clear()


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


@pytest.fixture(scope='session')
def server(tmp_path_factory) -> Iterator[Server]:
    """Starts tools in forked processes, which get signals."""
    server = Server(tmp_path_factory.mktemp('server'))
    yield server
    server.close()


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory) -> Path:
    """A config of a model of 40,000 parameters, six steps of four people."""
    path = tmp_path_factory.mktemp('configs') / 'tiny.py'
    path.write_text(
        TINY.format(root=ROOT, base='td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py', iters=6)
    )
    return path
